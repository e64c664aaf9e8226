//! Suspends a device: no attestation, no clearance, no payment until it is resumed.

use super::context::Context;
use super::error::OpError;
use super::read_device::{Device, load_device};
use super::reason::Reason;
use super::refuse;
use super::stop_reason::{ReasonBody, StopReason};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::{Action, Permit};
use crate::enrolment::state::DeviceState;
use crate::id::DeviceId;
use crate::store;

/// Suspends a device.
#[tracing::instrument(skip_all)]
pub async fn suspend_device(app: &App, context: &Context, device: &DeviceId, body: &ReasonBody) -> Result<Device, OpError> {
    let (row, permit) = load_device(app, context, device, Action::SuspendDevice).await?;
    move_device(app, context, row, permit, DeviceState::Suspended, body.reason).await
}

/// Moves a device along its life cycle, in one transaction with what follows from the move: a retired device's certificates are
/// revoked, a resumed device has to attest afresh.
pub(super) async fn move_device(
    app: &App,
    context: &Context,
    mut row: store::Device,
    permit: Permit,
    to: DeviceState,
    reason: StopReason,
) -> Result<Device, OpError> {
    if row.state == to {
        return Ok(row.into());
    }
    if row.state.to(to).is_err() {
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    }
    let now = app.clock.now();
    let mut tx = app.store.begin().await?;
    if !tx.move_device(&row.id, row.state, to, reason.code(), now).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    }
    match to {
        DeviceState::Retired => {
            tx.revoke_certificates_of_device(&row.id, now, reason.revocation()).await?;
            row.retired = Some(now);
        }
        // The store has forgotten the results of a device that is active again.
        DeviceState::Active | DeviceState::Suspended => {}
    }
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("to", to.name()).with("reason", reason.code())).await?;
    if to != DeviceState::Active {
        app.anchor.note(&row.acquirer);
    }
    row.state = to;
    row.state_reason = Some(reason.code().to_owned());
    Ok(row.into())
}
