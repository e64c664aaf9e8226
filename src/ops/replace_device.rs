//! A new phone for a terminal: the old one is retired and its certificates are revoked, and a code for the new one is made, in one
//! transaction. The new phone gets its own IKID.

use serde::Serialize;

use super::context::Context;
use super::create_activation::{CreatedActivation, FreshActivation};
use super::design_keys::{DesignKey, demand};
use super::error::OpError;
use super::reason::Reason;
use super::register_terminal::load_terminal;
use super::stop_reason::ReasonBody;
use super::{for_real, refuse};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::Action;
use crate::enrolment::state::DeviceState;
use crate::id::{DeviceId, TerminalId};

/// The code for the new phone, and the phone that was retired.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Replaced {
    /// The fresh activation.
    #[serde(flatten)]
    pub activation: CreatedActivation,
    /// The retired phone, if the terminal had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired: Option<DeviceId>,
}

/// Retires the terminal's phone, if it has one, and makes a code for another.
#[tracing::instrument(skip_all)]
pub async fn replace_device(app: &App, context: &Context, terminal: &TerminalId, body: &ReasonBody) -> Result<Replaced, OpError> {
    let (terminal, permit) = load_terminal(app, context, terminal, Action::ReplaceDevice).await?;
    let permit = demand(app, context, permit, &[DesignKey::ActivationMac]).await?;
    let permit = for_real(permit)?;
    let fresh = FreshActivation::make(app, &terminal.id, &terminal.acquirer).await?;
    let now = app.clock.now();
    let mut tx = app.store.begin().await?;
    // The code before the phone: an enrolment that was under way has ended, and its phone is seen here, or it finds its code revoked.
    let supersedes = tx.open_activation(&fresh.row).await?;
    let old = tx.find_live_device_of_terminal(&terminal.id).await?;
    if let Some(old) = &old {
        if !tx.move_device(&old.id, old.state, DeviceState::Retired, body.reason.code(), now).await? {
            // Somebody moved it in between. Nothing was written; the caller looks again.
            drop(tx);
            return Err(refuse(app, context, permit, Reason::StateConflict).await);
        }
        tx.revoke_certificates_of_device(&old.id, now, body.reason.revocation()).await?;
    }
    let mut event = AuditEvent::effect(permit, &context.occasion(app)).with("activation", &fresh.row.id).with("reason", body.reason.code());
    if let Some(old) = &old {
        event = event.with("retired", &old.id);
    }
    tx.commit(event).await?;
    app.anchor.note(&terminal.acquirer);
    Ok(Replaced { activation: fresh.show(app, supersedes), retired: old.map(|old| old.id) })
}
