//! Derivation ids are never given twice, not after a crash, not after a restore (ADR 2). A block of them is taken for this process:
//!
//! 1. the database moves its mark past the block and commits. A crash here loses the block, nothing else.
//! 2. the token moves its own mark to the same number. A crash here loses the block; the database is ahead, as it may be.
//! 3. the block is given out from memory. A crash loses the rest of it.
//!
//! So the token's mark is never ahead of the database's, unless the database is an older one: start-up refuses that.

use std::collections::HashMap;

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

/// The blocks of this process, by acquirer.
#[derive(Debug, Default)]
pub struct DerivationIds(Mutex<HashMap<AcquirerId, std::ops::RangeInclusive<u32>>>);

impl DerivationIds {
    /// The next derivation id of an acquirer.
    ///
    /// # Errors
    /// The database's or the HSM's, when a new block is due.
    pub async fn next(&self, app: &App, acquirer: &AcquirerId) -> Result<DerivationId, OpError> {
        let mut blocks = self.0.lock().await;
        if let Some(id) = blocks.get_mut(acquirer).and_then(Iterator::next) {
            return Ok(DerivationId(id));
        }
        let mut block = take_block(app, acquirer).await?;
        let id = block.next().ok_or_else(|| OpError::internal("taking a block of derivation ids", "the block is empty"))?;
        blocks.insert(acquirer.clone(), block);
        Ok(DerivationId(id))
    }
}

async fn take_block(app: &App, acquirer: &AcquirerId) -> Result<std::ops::RangeInclusive<u32>, OpError> {
    let context = Context::of_the_service()?;
    let caller = Caller::System("derivation-ids");
    // 1
    let (before, mark) = loop {
        let permit = super::authorize(app, &context, &caller, Action::Reconcile, &Resource::service()).await?;
        let mut tx = app.store.begin().await?;
        let before = tx.find_derivation_mark(acquirer).await?.unwrap_or(0);
        let mark = before + u64::from(BLOCK);
        // False if another node has raised it in between: that node's block is not ours, we take the next one.
        if tx.raise_derivation_mark(acquirer, mark).await? {
            tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("acquirer", acquirer).with("mark", mark)).await?;
            break (before, mark);
        }
    };
    let exhausted = |error| OpError::internal("taking a block of derivation ids", error);
    let (before, mark) = (u32::try_from(before).map_err(exhausted)?, u32::try_from(mark).map_err(exhausted)?);
    // 2
    match app.hsm.reserve_derivation_ids(acquirer.as_str(), before, BLOCK).await {
        // Another node has moved the token's mark past this block already; the block is ours all the same, the database gave it once.
        Err(HsmError::Refused(Refusal::MarkAhead { token_mark })) if token_mark >= mark => {}
        other => {
            other?;
        }
    }
    // 3
    Ok(before.saturating_add(1)..=mark)
}
