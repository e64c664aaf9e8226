//! The service itself: audit log, token, HSM hosts, this API.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde_json::Value;

use super::Answer;
use crate::http::extract::{Bound, Parameters};
use crate::http::openapi::Document;
use crate::ops;
use crate::ops::context::Context;
use crate::service::Service;

/// Reads the audit log in its own order.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(ops::AuditQuery), responses((status = 200, body = ops::AuditPage)))]
pub(super) async fn read_audit(
    Bound(app): Bound,
    context: Context,
    Parameters(query): Parameters<ops::AuditQuery>,
) -> Answer<ops::AuditPage> {
    ops::read_audit(&app, &context, &query).await.map(axum::Json)
}

/// Reads the inventory of the token.
#[utoipa::path(get, path = "/v1/hsm/keys", tag = "hsm", responses((status = 200, body = ops::KeyInventory)))]
pub(super) async fn read_keys(Bound(app): Bound, context: Context) -> Answer<ops::KeyInventory> {
    ops::read_keys(&app, &context).await.map(axum::Json)
}

/// Reads how the HSM hosts are; works without the HSM.
#[utoipa::path(get, path = "/v1/hsm", tag = "hsm", responses((status = 200, body = ops::HsmReport)))]
pub(super) async fn read_hsm(State(service): State<Arc<Service>>, context: Context) -> Answer<ops::HsmReport> {
    ops::read_hsm(&service, &context).await.map(axum::Json)
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "api", responses((status = 200, body = Object)))]
pub(super) async fn read_openapi(Extension(document): Extension<Arc<Document>>) -> axum::Json<Value> {
    axum::Json(document.json().clone())
}
