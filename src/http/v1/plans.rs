//! Plans: proposed, approved, executed. docs/approvals.md is their page.

use axum::Extension;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::{Answer, Effect, created};
use crate::http::extract::{Bound, Id, Json, Parameters};
use crate::http::problem::OwnWords;
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::ops::reason::Reason;
use crate::store::PlanId;

/// Lists plans, the latest first.
#[utoipa::path(get, path = "/v1/plans", tag = "plans", params(ops::PlanQuery), responses((status = 200, body = ops::PlanPage)),
    extensions(("x-reasons" = json!([Reason::PlanUnknown]))))]
pub(super) async fn list_plans(
    Bound(app): Bound,
    context: Context,
    Parameters(query): Parameters<ops::PlanQuery>,
) -> Answer<ops::PlanPage> {
    ops::list_plans(&app, &context, &query).await.map(axum::Json)
}

/// Proposes what only a quorum may ask for; dry, says what the plan would be and what it would stop.
#[utoipa::path(post, path = "/v1/plans", tag = "plans", params(Effect), request_body = ops::PlanBody,
    responses((status = 201, body = ops::Proposed), (status = 200, body = ops::Proposed)),
    extensions(("x-reasons" = json!([Reason::QuorumMissing, Reason::ApprovalsMissing, Reason::KeyUnknown, Reason::KeyExists, Reason::KeyState,
        Reason::KeyOutsideTime, Reason::KeyPurpose, Reason::KeyOfTheDesign, Reason::KeyNotExportable, Reason::WouldStrand,
        Reason::AlgorithmNotOffered, Reason::StateConflict]))))]
pub(super) async fn propose_plan(
    Bound(app): Bound,
    context: Context,
    Json(mut body): Json<ops::PlanBody>,
) -> Result<impl IntoResponse, OpError> {
    body.dry_run |= context.dry_run;
    let status = if body.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    ops::propose_plan(&app, &context, &body).await.map(|proposed| (status, Extension(OwnWords), axum::Json(proposed)))
}

/// Reads a plan and how it stands.
#[utoipa::path(get, path = "/v1/plans/{plan}", tag = "plans", params(("plan" = String, Path, pattern = "^[0-9a-f]{32}$")),
    responses((status = 200, body = ops::PlanView)), extensions(("x-reasons" = json!([Reason::PlanUnknown, Reason::PlanChanged]))))]
pub(super) async fn read_plan(Bound(app): Bound, context: Context, Id(plan): Id<PlanId>) -> Answer<ops::PlanView> {
    ops::read_plan(&app, &context, plan).await.map(axum::Json)
}

/// Reads a plan and its approvals as a bundle that is verified without the service.
#[utoipa::path(get, path = "/v1/plans/{plan}/bundle", tag = "plans", params(("plan" = String, Path, pattern = "^[0-9a-f]{32}$")),
    responses((status = 200, body = ops::bundle::Bundle)),
    extensions(("x-reasons" = json!([Reason::PlanUnknown, Reason::PlanChanged]))))]
pub(super) async fn read_plan_bundle(Bound(app): Bound, context: Context, Id(plan): Id<PlanId>) -> Answer<ops::bundle::Bundle> {
    ops::read_plan_bundle(&app, &context, plan).await.map(axum::Json)
}

/// Approves a plan, as the officer who calls, with a signature over its hash.
#[utoipa::path(post, path = "/v1/plans/{plan}/approvals", tag = "plans", params(("plan" = String, Path, pattern = "^[0-9a-f]{32}$"), Effect),
    request_body = ops::ApprovalBody, responses((status = 201, body = ops::PlanView)),
    extensions(("x-reasons" = json!([Reason::PlanUnknown, Reason::PlanChanged, Reason::PlanClosed, Reason::PlanExpired, Reason::ApprovalOwn,
        Reason::ApprovalTwice, Reason::ApprovalForeign, Reason::ApprovalInvalid, Reason::StateConflict]))))]
pub(super) async fn approve_plan(
    Bound(app): Bound,
    context: Context,
    Id(plan): Id<PlanId>,
    Json(body): Json<ops::ApprovalBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::approve_plan(&app, &context, plan, &body).await.map(created)
}

/// Withdraws a plan that is open; one that is withdrawn stays so.
#[utoipa::path(post, path = "/v1/plans/{plan}/cancel", tag = "plans", params(("plan" = String, Path, pattern = "^[0-9a-f]{32}$"), Effect),
    responses((status = 200, body = ops::PlanView)),
    extensions(("x-reasons" = json!([Reason::PlanUnknown, Reason::PlanChanged, Reason::PlanClosed]))))]
pub(super) async fn cancel_plan(Bound(app): Bound, context: Context, Id(plan): Id<PlanId>) -> Answer<ops::PlanView> {
    ops::cancel_plan(&app, &context, plan).await.map(axum::Json)
}

/// Executes an approved plan as it was signed, once; dry, verifies everything and does nothing.
#[utoipa::path(post, path = "/v1/plans/{plan}/execute", tag = "plans", params(("plan" = String, Path, pattern = "^[0-9a-f]{32}$"), Effect),
    request_body = ops::ExecutionBody, responses((status = 200, body = ops::Executed)),
    extensions(("x-reasons" = json!([Reason::PlanUnknown, Reason::PlanChanged, Reason::PlanClosed, Reason::PlanExpired, Reason::ApprovalOwn,
        Reason::ApprovalTwice, Reason::ApprovalForeign, Reason::ApprovalInvalid, Reason::ApprovalsMissing, Reason::QuorumMissing,
        Reason::KeyUnknown, Reason::KeyExists, Reason::KeyState, Reason::KeyOutsideTime, Reason::KeyPurpose, Reason::KeyOfTheDesign, Reason::KeyNotExportable,
        Reason::WouldStrand, Reason::WrappedKeyRefused, Reason::AlgorithmNotOffered, Reason::StateConflict]))))]
pub(super) async fn execute_plan(
    Bound(app): Bound,
    context: Context,
    Id(plan): Id<PlanId>,
    Json(mut body): Json<ops::ExecutionBody>,
) -> Result<impl IntoResponse, OpError> {
    body.dry_run |= context.dry_run;
    ops::execute_plan(&app, &context, plan, body).await.map(|executed| (Extension(OwnWords), axum::Json(executed)))
}
