//! The policies in force.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::Answer;
use crate::ops;
use crate::ops::context::Context;
use crate::service::Service;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new().route("/v1/policy", get(read_policy))
}

/// Reads which policies are in force; works without the HSM.
async fn read_policy(State(service): State<Arc<Service>>, context: Context) -> Answer<ops::PolicyReport> {
    ops::read_policy(&service, &context).await.map(axum::Json)
}
