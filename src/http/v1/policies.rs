//! The policies in force.

use std::sync::Arc;

use axum::extract::State;

use super::Answer;
use crate::ops;
use crate::ops::context::Context;
use crate::service::Service;

/// Reads which policies are in force; works without the HSM.
#[utoipa::path(get, path = "/v1/policy", tag = "policies", responses((status = 200, body = ops::PolicyReport)))]
pub(super) async fn read_policy(State(service): State<Arc<Service>>, context: Context) -> Answer<ops::PolicyReport> {
    ops::read_policy(&service, &context).await.map(axum::Json)
}
