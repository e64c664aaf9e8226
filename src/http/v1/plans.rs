//! Plans: proposed, approved, executed. docs/approvals.md is their page.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};

use super::super::extract::{Bound, Id, Json, Parameters};
use super::Answer;
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::service::Service;
use crate::store::PlanId;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/plans", get(list_plans).post(propose_plan))
        .route("/v1/plans/{plan}", get(read_plan))
        .route("/v1/plans/{plan}/bundle", get(read_plan_bundle))
        .route("/v1/plans/{plan}/approvals", post(approve_plan))
        .route("/v1/plans/{plan}/cancel", post(cancel_plan))
        .route("/v1/plans/{plan}/execute", post(execute_plan))
}

async fn list_plans(Bound(app): Bound, context: Context, Parameters(query): Parameters<ops::PlanQuery>) -> Answer<ops::PlanPage> {
    ops::list_plans(&app, &context, &query).await.map(axum::Json)
}

/// 201 for a plan that is kept, 200 for one that only would be.
async fn propose_plan(Bound(app): Bound, context: Context, Json(body): Json<ops::PlanBody>) -> Result<impl IntoResponse, OpError> {
    let status = if body.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    ops::propose_plan(&app, &context, &body).await.map(|proposed| (status, axum::Json(proposed)))
}

async fn read_plan(Bound(app): Bound, context: Context, Id(plan): Id<PlanId>) -> Answer<ops::PlanView> {
    ops::read_plan(&app, &context, plan).await.map(axum::Json)
}

async fn read_plan_bundle(Bound(app): Bound, context: Context, Id(plan): Id<PlanId>) -> Answer<ops::bundle::Bundle> {
    ops::read_plan_bundle(&app, &context, plan).await.map(axum::Json)
}

async fn approve_plan(
    Bound(app): Bound,
    context: Context,
    Id(plan): Id<PlanId>,
    Json(body): Json<ops::ApprovalBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::approve_plan(&app, &context, plan, &body).await.map(super::created)
}

async fn cancel_plan(Bound(app): Bound, context: Context, Id(plan): Id<PlanId>) -> Answer<ops::PlanView> {
    ops::cancel_plan(&app, &context, plan).await.map(axum::Json)
}

async fn execute_plan(
    Bound(app): Bound,
    context: Context,
    Id(plan): Id<PlanId>,
    Json(body): Json<ops::ExecutionBody>,
) -> Answer<ops::Executed> {
    ops::execute_plan(&app, &context, plan, body).await.map(axum::Json)
}
