//! Makes versions of managed keys. Token and database both change:
//!
//! 1. The row of the version is written as an intent. A crash leaves an intent, and no key.
//! 2. The token makes the key, proves it by use, and reads it back. A crash leaves an intent, and a key that nothing uses.
//! 3. The row is finished, the version taken into use. A crash before the commit leaves what step 2 leaves.
//!
//! What is left is finished by [`finish`], which asks step 2 again: a token that has the key tells of it and makes no other. So it is at every
//! start, and when the same is asked for again.

use tillward_hsm::Generated;

use super::context::Context;
use super::design_keys::{DesignKey, demand};
use super::error::OpError;
use super::reason::Reason;
use super::usable_key::key_ref;
use super::{for_real, refuse};
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::Permit;
use crate::key::{Intent, KeyState, Move};
use crate::store::{self, KeyVersion, Made, Tx};

/// Refuses what the token cannot make, before a row says that it will.
pub(super) async fn demand_offered(app: &App, context: &Context, permit: Permit, shape: crate::key::Shape) -> Result<Permit, OpError> {
    let (purpose, algorithm) = (shape.purpose, shape.algorithm);
    if !purpose.takes(algorithm) || !app.hsm.offers().await?.contains(&(purpose, algorithm)) {
        let refusal = Reason::AlgorithmNotOffered.with(format!("{} for {}", algorithm.name(), purpose.name()));
        return Err(refuse(app, context, permit, refusal).await);
    }
    demand_escrow(app, context, permit, shape).await
}

/// An exportable key is kept under `export-kek` when it is made.
async fn demand_escrow(app: &App, context: &Context, permit: Permit, shape: crate::key::Shape) -> Result<Permit, OpError> {
    if shape.exportable { demand(app, context, permit, &[DesignKey::ExportKek]).await } else { Ok(permit) }
}

/// Step 1: the next version of a key, in the caller's transaction, which holds the key.
pub(super) async fn intend(tx: &mut Tx, app: &App, key: &store::Key, intent: Intent) -> Result<KeyVersion, OpError> {
    let versions = tx.versions_of(&key.name).await?;
    let number = versions.last().map_or(0, |version| version.version).checked_add(1).ok_or(Reason::StateConflict)?;
    let label = key_ref(key, number).label();
    let mut version = KeyVersion::intended(key.name.clone(), number, label, intent, app.clock.now());
    version.uses_limit = key.uses_limit;
    tx.insert_version(&version, None).await?;
    Ok(version)
}

/// Steps 2 and 3. Answers with the version as it is then, whoever finished it.
pub(super) async fn finish(
    app: &App,
    context: &Context,
    permit: Permit,
    key: &store::Key,
    version: &KeyVersion,
) -> Result<KeyVersion, OpError> {
    let permit = demand_escrow(app, context, for_real(permit)?, key.shape).await?;
    // Step 2.
    let Generated { record, escrow } = app.hsm.generate_key(&key_ref(key, version.version), key.shape.exportable).await?;
    // Step 3.
    let made = Made { kcv: record.kcv.map(|kcv| data_encoding::HEXUPPER.encode(&kcv)), fingerprint: record.fingerprint, spki: record.spki };
    let now = app.clock.now();
    let mut tx = app.store.begin().await?;
    tx.hold_key(&key.name).await?;
    let finished = tx.finish_version(&key.name, version.version, &made, escrow.as_deref(), now).await?;
    let missing = || OpError::internal("finishing a version of a key", "its row is gone");
    let mut row = tx.find_version(&key.name, version.version).await?.ok_or_else(missing)?;
    if !finished {
        return Ok(row);
    }
    let mut event = AuditEvent::effect(permit, &context.occasion(app)).with("version", u64::from(row.version)).with("step", "made");
    if let Some(kcv) = &record.kcv {
        event = event.with("kcv", Fact::hex(kcv));
    }
    if let Some(fingerprint) = &made.fingerprint {
        event = event.with("fingerprint", Fact::hex(fingerprint));
    }
    // The escrow block went with a crash: the key works, and cannot leave.
    if key.shape.exportable && escrow.is_none() {
        event = event.with("escrow", "lost");
    }
    if version.intent == Some(Intent::MakeActive) {
        let (active, before) = take_into_use(&mut tx, app, &key.name, &row).await?;
        row = active;
        event = event.with("state", row.state.name());
        if let Some(before) = before {
            event = event.with("deactivated", u64::from(before));
        }
    }
    tx.commit(event).await?;
    // A backup does not know the version.
    app.anchor.note_key(app, key);
    Ok(row)
}

/// Activates a version and makes it the primary one; the version that was it stops protecting, and goes on processing what it protected. Answers
/// with the version, and the number of the one that was deactivated.
async fn take_into_use(
    tx: &mut Tx,
    app: &App,
    name: &tillward_hsm::KeyName,
    version: &KeyVersion,
) -> Result<(KeyVersion, Option<u32>), OpError> {
    let now = app.clock.now();
    let lost = || OpError::from(Reason::StateConflict);
    let mut key = tx.find_key(name, false).await?.ok_or_else(lost)?;
    let mut active = version.after(Move::Activate, now).map_err(|_| lost())?;
    active.validity = key.periods.validity(version.validity.not_before, now);
    if !tx.move_version(version, &active).await? {
        return Err(lost());
    }
    let mut deactivated = None;
    if let Some(before) = key.primary.filter(|before| *before != version.version) {
        let before = tx.find_version(name, before).await?.ok_or_else(lost)?;
        if before.state == KeyState::Active {
            let ended = before.after(Move::Deactivate, now).map_err(|_| lost())?;
            if !tx.move_version(&before, &ended).await? {
                return Err(lost());
            }
            deactivated = Some(before.version);
        }
    }
    key.primary = Some(version.version);
    tx.update_key(&key).await?;
    Ok((active, deactivated))
}
