//! Reads a plan: how it stands; and as a bundle that can be verified without the service.

use super::bundle::{Bundle, BundledApproval};
use super::context::Context;
use super::error::OpError;
use super::plan::{PlanView, StoredPlan, find, resource, resource_of_none};
use super::reason::Reason;
use super::{authorize, refuse, turn_away};
use crate::app::App;
use crate::authz::Action;
use crate::store::{ApprovalRow, PlanId};

/// Reads a plan.
#[tracing::instrument(skip_all)]
pub async fn read_plan(app: &App, context: &Context, id: PlanId) -> Result<PlanView, OpError> {
    let (stored, approvals) = load(app, context, id).await?;
    Ok(PlanView::of(&stored.row, &stored.plan, &approvals, app.clock.now()))
}

/// Reads a plan and its approvals as a bundle.
#[tracing::instrument(skip_all)]
pub async fn read_plan_bundle(app: &App, context: &Context, id: PlanId) -> Result<Bundle, OpError> {
    let (stored, approvals) = load(app, context, id).await?;
    let view = PlanView::of(&stored.row, &stored.plan, &approvals, app.clock.now());
    let officers = app.officers.now();
    let approvals = approvals.into_iter().map(|approval| BundledApproval {
        signature: data_encoding::BASE64URL_NOPAD.encode(&approval.signature),
        at: approval.at.rfc3339(),
        public_key: officers.roster.spki(&approval.officer).map(|der| data_encoding::BASE64.encode(&der)),
        officer: approval.officer,
    });
    Ok(Bundle { kind: Bundle::KIND.to_owned(), plan: view.plan, hash: view.hash, state: view.state, approvals: approvals.collect() })
}

async fn load(app: &App, context: &Context, id: PlanId) -> Result<(StoredPlan, Vec<ApprovalRow>), OpError> {
    let caller = context.caller()?;
    let Some((row, stored)) = find(app, id).await? else {
        return Err(turn_away(app, context, caller, Action::ReadPlan, &resource_of_none(id), Reason::PlanUnknown).await);
    };
    let permit = authorize(app, context, caller, Action::ReadPlan, &resource(&row)).await?;
    match stored {
        Ok(stored) => Ok((stored, app.store.read().await?.approvals_of(id).await?)),
        Err(refusal) => Err(refuse(app, context, permit, refusal).await),
    }
}
