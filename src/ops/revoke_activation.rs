//! Takes an activation code back.

use super::context::Context;
use super::error::OpError;
use super::read_activation::{Activation, load_activation};
use super::reason::Reason;
use super::refuse;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::Action;
use crate::enrolment::state::ActivationState;
use crate::id::ActivationId;

/// Takes an activation code back; one that is revoked already stays so.
#[tracing::instrument(skip_all)]
pub async fn revoke_activation(app: &App, context: &Context, activation: &ActivationId) -> Result<Activation, OpError> {
    let (mut row, permit) = load_activation(app, context, activation, Action::RevokeActivation).await?;
    if row.state == ActivationState::Revoked {
        return Ok(Activation::of(app, row));
    }
    if row.state.to(ActivationState::Revoked).is_err() {
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    }
    let mut tx = app.store.begin().await?;
    if !tx.revoke_activation(&row.id).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    }
    tx.commit(AuditEvent::effect(permit, &context.occasion(app))).await?;
    app.anchor.note(&row.acquirer);
    row.state = ActivationState::Revoked;
    Ok(Activation::of(app, row))
}
