//! What is due with keys: creations that a crash left, rotations, destructions. Every minute, on every node; of each piece one node does the work.

use super::authorize;
use super::context::Context;
use super::error::{OpError, chain};
use super::finish_destruction::finish_destruction;
use super::make_version::finish;
use super::reason::Reason;
use super::rotate_key::next_version;
use super::usable_key::resource;
use crate::app::App;
use crate::authz::{Action, Caller};
use crate::clock::UnixTime;
use crate::key::{Intent, Origin};
use crate::store::{Key, KeyVersion};

const SYSTEM: Caller = Caller::System("key-schedule");

/// An intent this young may be at work in a request, seconds: RSA-4096 on a slow token takes a minute.
const YOUNG: i64 = 120;

/// What was done, and what could not be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyWork {
    /// Versions whose making was finished.
    pub finished: u32,
    /// Keys that were rotated.
    pub rotated: u32,
    /// Versions that were destroyed.
    pub destroyed: u32,
    /// Pieces of work that failed, and stay due.
    pub failed: u32,
}

/// Does what is due. One piece that fails keeps no other from being done.
///
/// # Errors
/// The database does not answer.
pub async fn do_key_work(app: &App) -> Result<KeyWork, OpError> {
    let now = app.clock.now();
    let mut reads = app.store.read().await?;
    let unfinished = reads.unfinished_versions().await?;
    let rotations = reads.keys_to_rotate(now).await?;
    let destructions = reads.versions_to_destroy(now).await?;
    drop(reads);
    let mut work = KeyWork::default();
    for version in unfinished.iter().filter(|version| is_ours(version, now)) {
        count(finish_version(app, version).await.map(|()| true), &mut work.finished, &mut work.failed, "making a key");
    }
    for key in &rotations {
        count(rotate(app, key).await.map(|()| true), &mut work.rotated, &mut work.failed, "rotating a key");
    }
    for version in &destructions {
        count(finish_destruction(app, version).await, &mut work.destroyed, &mut work.failed, "destroying a key");
    }
    Ok(work)
}

/// An import cannot be finished without what the partner sent.
fn is_ours(version: &KeyVersion, now: UnixTime) -> bool {
    version.origin == Origin::Generated && version.label.starts_with("key:") && now.since(version.times.created) >= YOUNG
}

fn count(outcome: Result<bool, OpError>, done: &mut u32, failed: &mut u32, doing: &'static str) {
    match outcome {
        Ok(true) => *done += 1,
        Ok(false) => {}
        Err(error) => {
            *failed += 1;
            tracing::error!(error = %chain(&error), "{doing} failed; it stays due");
        }
    }
}

async fn finish_version(app: &App, version: &KeyVersion) -> Result<(), OpError> {
    let context = Context::of_the_service()?;
    let key = app.store.read().await?.find_key(&version.key, false).await?.ok_or(Reason::KeyUnknown)?;
    let permit = authorize(app, &context, &SYSTEM, Action::RotateKey, &resource(&key)).await?;
    finish(app, &context, permit, &key, version).await.map(drop)
}

async fn rotate(app: &App, key: &Key) -> Result<(), OpError> {
    let context = Context::of_the_service()?;
    let permit = authorize(app, &context, &SYSTEM, Action::RotateKey, &resource(key)).await?;
    next_version(app, &context, &SYSTEM, permit, key, Intent::MakeActive, true).await
}
