//! Destroys what was waiting for it, on the token and for good. Token and database both change:
//!
//! 1. The row says that its destruction has begun, and by when another node takes over. A crash leaves a key that nobody restores any more.
//! 2. The token destroys the key; the host verifies the approved plan itself. A crash leaves a row that is behind: step 1 finds it again.
//! 3. The row says that it is destroyed, and its escrow block goes.

use tillward_hsm::Approved;

use super::authorize;
use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use super::usable_key::{key_ref, resource};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::{Action, Caller};
use crate::key::Move;
use crate::store::KeyVersion;

/// A node that did not come back from the token in this time does not come back, seconds.
const LEASE: i64 = 600;

/// Who does it.
const SYSTEM: Caller = Caller::System("key-schedule");

/// Finishes the destruction of one version. `false`: another node is at it.
#[tracing::instrument(skip_all)]
pub(super) async fn finish_destruction(app: &App, waiting: &KeyVersion) -> Result<bool, OpError> {
    let context = Context::of_the_service()?;
    let key = app.store.read().await?.find_key(&waiting.key, false).await?.ok_or(Reason::KeyUnknown)?;
    let number = u64::from(waiting.version);
    let order = waiting.waits.as_ref().map(|(_, order)| order.as_str()).unwrap_or_default();
    let approved: Approved = serde_json::from_str(order).map_err(|error| OpError::internal("reading an order", error))?;
    if key_ref(&key, waiting.version).label() != waiting.label {
        return Err(OpError::internal("finishing a destruction", "the row is of another label than what would be destroyed"));
    }
    // What the host would refuse now (an officer has left) is not begun: it waits on, and can be called off.
    let now = app.clock.now();
    let verified = tillward_hsm::approval::verify_after_waiting(&approved, &app.officers.now().roster, now.0);
    verified.map_err(|error| OpError::internal("verifying the order of a destruction", error))?;
    // Step 1.
    let permit = authorize(app, &context, &SYSTEM, Action::FinishDestruction, &resource(&key)).await?;
    let mut tx = app.store.begin().await?;
    if !tx.take_to_destroy(&waiting.key, waiting.version, app.clock.now(), LEASE).await? {
        return Ok(false);
    }
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("version", number).with("step", "begun")).await?;
    // Step 2.
    app.hsm.destroy_key(&key_ref(&key, waiting.version), &approved).await?;
    // Step 3.
    let permit = authorize(app, &context, &SYSTEM, Action::FinishDestruction, &resource(&key)).await?;
    let mut tx = app.store.begin().await?;
    let version = tx.find_version(&waiting.key, waiting.version).await?.ok_or(Reason::KeyUnknown)?;
    let destroyed = version.after(Move::Destroy, app.clock.now()).map_err(|error| OpError::internal("finishing a destruction", error))?;
    if !tx.move_version(&version, &destroyed).await? {
        return Err(Reason::StateConflict.into());
    }
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("version", number).with("step", "destroyed")).await?;
    Ok(true)
}
