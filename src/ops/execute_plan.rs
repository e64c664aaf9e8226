//! Executes a plan: the stored bytes, byte for byte, with every approval verified again. Once.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tillward_hsm::approval;

use super::context::Context;
use super::error::OpError;
use super::plan::{PlanView, approved, find, quorum, refusal, resource, resource_of_none};
use super::reason::Reason;
use super::{authorize, authorize_as, deed, pins, refuse, turn_away};
use crate::app::App;
use crate::authz::{Action, Circumstances};
use crate::schema;
use crate::store::{PlanId, PlanState};

/// What the execution brings.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionBody {
    /// The key that comes in, base64url: its SHA-256 is the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::optional::base64url::<1, 16384>, required = false)]
    pub content: Option<String>,
    /// Verify everything, say what it would do, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Executed {
    /// The plan.
    #[serde(flatten)]
    pub plan: PlanView,
    /// Whether it only would be done.
    pub dry_run: bool,
    /// What it did; dry: what it would stop or strand.
    #[schema(value_type = serde_json::Value)]
    pub result: Value,
}

/// Executes a plan.
#[tracing::instrument(skip_all)]
pub async fn execute_plan(app: &App, context: &Context, id: PlanId, body: ExecutionBody) -> Result<Executed, OpError> {
    let caller = context.caller()?;
    let Some((row, stored)) = find(app, id).await? else {
        return Err(turn_away(app, context, caller, Action::ExecutePlan, &resource_of_none(id), Reason::PlanUnknown).await);
    };
    let permit = authorize(app, context, caller, Action::ExecutePlan, &resource(&row)).await?;
    let stored = match stored {
        Ok(stored) => stored,
        Err(refusal) => return Err(refuse(app, context, permit, refusal).await),
    };
    if row.state != PlanState::Open {
        return Err(refuse(app, context, permit, Reason::PlanClosed).await);
    }
    if let Some(refusal) = pins::behind(app).await? {
        return Err(refuse(app, context, permit, refusal).await);
    }
    let now = app.clock.now();
    let approvals = app.store.read().await?.approvals_of(id).await?;
    let approved = approved(&row, &approvals);
    let plan = match approval::verify(&approved, &app.officers.now().roster, now.0) {
        Ok(plan) if plan == stored.plan => plan,
        Ok(_) => return Err(refuse(app, context, permit, Reason::PlanChanged).await),
        Err(error) => return Err(refuse(app, context, permit, refusal(&error)).await),
    };
    if app.authz.identify(&plan.requester).is_none() {
        return Err(refuse(app, context, permit, Reason::NotPermitted.with("the requester is no principal any more")).await);
    }
    let given = u32::try_from(approvals.len()).unwrap_or(u32::MAX);
    match quorum(app, &plan.deed) {
        Ok(quorum) if given >= quorum => {}
        Ok(quorum) => {
            let detail = format!("{given} of {quorum} approvals, by the policies of today");
            return Err(refuse(app, context, permit, Reason::ApprovalsMissing.with(detail)).await);
        }
        Err(refusal) => return Err(refuse(app, context, permit, refusal).await),
    }
    let decoded = body.content.as_deref().map(|text| data_encoding::BASE64URL_NOPAD.decode(text.as_bytes())).transpose();
    let Ok(brought) = decoded else {
        return Err(refuse(app, context, permit, Reason::Malformed.with("content: base64url without padding")).await);
    };
    let target = deed::resource(app, &plan.deed).await?;
    let circumstances = Circumstances { at: now, approvals: given };
    let permit = authorize_as(app, context, caller, deed::action(&plan.deed), &target, circumstances).await?;
    let (result, row) = if body.dry_run {
        drop(permit);
        (deed::check(app, context, &plan.deed).await?, stored.row)
    } else {
        let result = deed::perform(app, context, permit, &plan.deed, &approved, brought).await?;
        let row = app.store.read().await?.find_plan(id).await?;
        (result, row.ok_or_else(|| OpError::internal("reading an executed plan", "it is gone"))?)
    };
    Ok(Executed { plan: PlanView::of(&row, &plan, &approvals, now), dry_run: body.dry_run, result })
}
