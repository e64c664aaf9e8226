//! Derivation ids are never given twice, not after a crash, not after a restore (docs/adr/0002). Ids are taken in blocks:
//!
//! 1. the database moves its mark past the block and commits. A crash here loses the block, nothing else.
//! 2. the token moves its own mark to the same number. A crash here loses the block; the database is ahead, as it may be.
//! 3. the block is given out from memory. A crash loses the rest of it.
//!
//! So the token's mark is never ahead of the database's, unless the database is an older one: start-up refuses that. And whatever the
//! database says, an id at or below the token's mark at the start of this process is not used for an enrolment any more
//! ([`DerivationIds::is_of_this_run`]): an older database may say that it is free.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tillward_hsm::ksn::DerivationId;
use tillward_hsm::{HsmError, Refusal};
use tokio::sync::Mutex;

use super::context::Context;
use super::error::OpError;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::{Action, Caller, Resource};
use crate::id::AcquirerId;

/// Ids in a block: lost at each start, so small against 2^32; written on the token once a block, so large against one.
const BLOCK: u32 = 256;

/// The ids of this process, by acquirer.
#[derive(Debug, Default)]
pub struct DerivationIds(Mutex<HashMap<AcquirerId, Run>>);

/// What one acquirer has given out since this process started.
#[derive(Debug)]
struct Run {
    /// Ids up to here belong to earlier processes.
    floor: u32,
    /// What is left of the present block.
    block: RangeInclusive<u32>,
}

impl DerivationIds {
    /// Takes the first block of this process for every acquirer. It moves the marks, so that a backup from before this start is
    /// known for one.
    pub(crate) async fn open(&self, app: &App) -> Result<(), OpError> {
        let mut runs = self.0.lock().await;
        for acquirer in &app.settings.acquirers {
            let block = take(app, &acquirer.name, BLOCK).await?;
            runs.insert(acquirer.name.clone(), Run { floor: block.start().saturating_sub(1), block });
        }
        Ok(())
    }

    /// The next derivation id of an acquirer.
    ///
    /// # Errors
    /// The database's or the HSM's, when a new block is due.
    pub async fn next(&self, app: &App, acquirer: &AcquirerId) -> Result<DerivationId, OpError> {
        let mut runs = self.0.lock().await;
        let run = runs.get_mut(acquirer).ok_or_else(|| OpError::internal("giving a derivation id", "the acquirer has no run"))?;
        if let Some(id) = run.block.next() {
            return Ok(DerivationId(id));
        }
        run.block = take(app, acquirer, BLOCK).await?;
        let id = run.block.next().ok_or_else(|| OpError::internal("giving a derivation id", "the block is empty"))?;
        Ok(DerivationId(id))
    }

    /// Whether an id was given after the start of this process, by this or another node.
    pub async fn is_of_this_run(&self, acquirer: &AcquirerId, id: u32) -> bool {
        self.0.lock().await.get(acquirer).is_some_and(|run| id > run.floor)
    }
}

/// Moves the marks of database and token by `count`; the ids in between belong to the caller.
pub(super) async fn take(app: &App, acquirer: &AcquirerId, count: u32) -> Result<RangeInclusive<u32>, OpError> {
    let context = Context::of_the_service()?;
    let caller = Caller::System("derivation-ids");
    // 1
    let (before, mark) = loop {
        let permit = super::authorize(app, &context, &caller, Action::Reconcile, &Resource::service()).await?;
        let mut tx = app.store.begin().await?;
        let before = tx.find_derivation_mark(acquirer).await?.unwrap_or(0);
        let mark = before.saturating_add(u64::from(count));
        // False if another node has raised it in between: that node's ids are not ours, we take the next ones.
        if tx.raise_derivation_mark(acquirer, mark).await? {
            tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("acquirer", acquirer).with("mark", mark)).await?;
            break (before, mark);
        }
    };
    let exhausted = |error| OpError::internal("taking derivation ids", error);
    let (before, mark) = (u32::try_from(before).map_err(exhausted)?, u32::try_from(mark).map_err(exhausted)?);
    // 2
    match app.hsm.reserve_derivation_ids(acquirer.as_str(), before, count).await {
        // Another node has moved the token's mark past these already; they are ours all the same, the database gave them once.
        Err(HsmError::Refused(Refusal::MarkAhead { token_mark })) if token_mark >= mark => {}
        other => {
            other?;
        }
    }
    // 3
    Ok(before.saturating_add(1)..=mark)
}
