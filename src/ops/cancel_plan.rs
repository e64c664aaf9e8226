//! Withdraws a plan that is open. Approvals that it has are void with it.

use super::context::Context;
use super::error::OpError;
use super::plan::{PlanView, find, resource, resource_of_none};
use super::reason::Reason;
use super::{authorize, refuse, turn_away};
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::Action;
use crate::store::{PlanId, PlanState};

/// Withdraws a plan. One that is withdrawn already stays so.
#[tracing::instrument(skip_all)]
pub async fn cancel_plan(app: &App, context: &Context, id: PlanId) -> Result<PlanView, OpError> {
    let caller = context.caller()?;
    let Some((row, stored)) = find(app, id).await? else {
        return Err(turn_away(app, context, caller, Action::CancelPlan, &resource_of_none(id), Reason::PlanUnknown).await);
    };
    let permit = authorize(app, context, caller, Action::CancelPlan, &resource(&row)).await?;
    let mut stored = match stored {
        Ok(stored) => stored,
        Err(refusal) => return Err(refuse(app, context, permit, refusal).await),
    };
    let now = app.clock.now();
    let by = caller.principal().ok_or(Reason::NotPermitted)?.uri().to_string();
    let mut tx = app.store.begin().await?;
    let approvals = tx.approvals_of(id).await?;
    if row.state == PlanState::Cancelled {
        return Ok(PlanView::of(&stored.row, &stored.plan, &approvals, now));
    }
    if !tx.cancel_plan(id, &by, now).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::PlanClosed).await);
    }
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("plan_hash", Fact::hex(&row.hash))).await?;
    stored.row.state = PlanState::Cancelled;
    stored.row.closed = Some((by, now));
    Ok(PlanView::of(&stored.row, &stored.plan, &approvals, now))
}
