//! The back-end listener: what payment back ends and operators can ask, by resource. docs/api.md is its page.

mod plans;
mod policies;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use serde::Serialize;

use super::extract::{Bound, Id, Json, JsonBytes, Parameters};
use crate::id::{ActivationId, DeviceId, MerchantId, TerminalId};
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::service::Service;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/merchants/{merchant}", put(register_merchant).get(read_merchant))
        .route("/v1/terminals/{terminal}", put(register_terminal).get(read_terminal))
        .route("/v1/terminals/{terminal}/replace", post(replace_device))
        .route("/v1/activations", post(create_activation))
        .route("/v1/activations/{activation}", get(read_activation).delete(revoke_activation))
        .route("/v1/devices", get(list_devices))
        .route("/v1/devices/{device}", get(read_device))
        .route("/v1/devices/{device}/suspend", post(suspend_device))
        .route("/v1/devices/{device}/resume", post(resume_device))
        .route("/v1/devices/{device}/retire", post(retire_device))
        .route("/v1/clearances", post(give_clearance))
        .route("/v1/dukpt/verify-mac", post(verify_mac))
        .route("/v1/dukpt/decrypt", post(decrypt))
        .route("/v1/audit", get(read_audit))
        .route("/v1/keys", get(read_keys))
        .route("/v1/hsm", get(read_hsm))
        .merge(policies::routes())
        .merge(plans::routes())
}

type Answer<T> = Result<axum::Json<T>, OpError>;

fn created<T: Serialize>(value: T) -> impl IntoResponse {
    (StatusCode::CREATED, axum::Json(value))
}

async fn register_merchant(
    Bound(app): Bound,
    context: Context,
    Id(merchant): Id<MerchantId>,
    Json(body): Json<ops::MerchantBody>,
) -> Answer<ops::Merchant> {
    ops::register_merchant(&app, &context, merchant, body).await.map(axum::Json)
}

async fn read_merchant(Bound(app): Bound, context: Context, Id(merchant): Id<MerchantId>) -> Answer<ops::Merchant> {
    ops::read_merchant(&app, &context, &merchant).await.map(axum::Json)
}

async fn register_terminal(
    Bound(app): Bound,
    context: Context,
    Id(terminal): Id<TerminalId>,
    Json(body): Json<ops::TerminalBody>,
) -> Answer<ops::Terminal> {
    ops::register_terminal(&app, &context, terminal, body).await.map(axum::Json)
}

async fn read_terminal(Bound(app): Bound, context: Context, Id(terminal): Id<TerminalId>) -> Answer<ops::Terminal> {
    ops::read_terminal(&app, &context, &terminal).await.map(axum::Json)
}

async fn replace_device(
    Bound(app): Bound,
    context: Context,
    Id(terminal): Id<TerminalId>,
    Json(body): Json<ops::ReasonBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::replace_device(&app, &context, &terminal, &body).await.map(created)
}

async fn create_activation(
    Bound(app): Bound,
    context: Context,
    Json(body): Json<ops::ActivationBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::create_activation(&app, &context, &body).await.map(created)
}

async fn read_activation(Bound(app): Bound, context: Context, Id(activation): Id<ActivationId>) -> Answer<ops::Activation> {
    ops::read_activation(&app, &context, &activation).await.map(axum::Json)
}

async fn revoke_activation(Bound(app): Bound, context: Context, Id(activation): Id<ActivationId>) -> Answer<ops::Activation> {
    ops::revoke_activation(&app, &context, &activation).await.map(axum::Json)
}

async fn list_devices(Bound(app): Bound, context: Context, Parameters(filter): Parameters<ops::DeviceQuery>) -> Answer<ops::DevicePage> {
    ops::list_devices(&app, &context, &filter).await.map(axum::Json)
}

async fn read_device(Bound(app): Bound, context: Context, Id(device): Id<DeviceId>) -> Answer<ops::Device> {
    ops::read_device(&app, &context, &device).await.map(axum::Json)
}

async fn suspend_device(
    Bound(app): Bound,
    context: Context,
    Id(device): Id<DeviceId>,
    Json(body): Json<ops::ReasonBody>,
) -> Answer<ops::Device> {
    ops::suspend_device(&app, &context, &device, &body).await.map(axum::Json)
}

async fn resume_device(
    Bound(app): Bound,
    context: Context,
    Id(device): Id<DeviceId>,
    Json(body): Json<ops::ReasonBody>,
) -> Answer<ops::Device> {
    ops::resume_device(&app, &context, &device, &body).await.map(axum::Json)
}

async fn retire_device(
    Bound(app): Bound,
    context: Context,
    Id(device): Id<DeviceId>,
    Json(body): Json<ops::ReasonBody>,
) -> Answer<ops::Device> {
    ops::retire_device(&app, &context, &device, &body).await.map(axum::Json)
}

async fn give_clearance(Bound(app): Bound, context: Context, Json(body): Json<ops::ClearanceBody>) -> Result<impl IntoResponse, OpError> {
    ops::give_clearance(&app, &context, &body).await.map(created)
}

async fn verify_mac(Bound(app): Bound, context: Context, JsonBytes(body): JsonBytes) -> Answer<ops::Verified> {
    ops::verify_mac(&app, &context, &body).await.map(axum::Json)
}

async fn decrypt(Bound(app): Bound, context: Context, JsonBytes(body): JsonBytes) -> Result<impl IntoResponse, OpError> {
    ops::decrypt(&app, &context, &body).await.map(axum::Json)
}

async fn read_audit(Bound(app): Bound, context: Context, Parameters(query): Parameters<ops::AuditQuery>) -> Answer<ops::AuditPage> {
    ops::read_audit(&app, &context, &query).await.map(axum::Json)
}

async fn read_keys(Bound(app): Bound, context: Context) -> Answer<ops::KeyInventory> {
    ops::read_keys(&app, &context).await.map(axum::Json)
}

async fn read_hsm(State(service): State<Arc<Service>>, context: Context) -> Answer<ops::HsmReport> {
    ops::read_hsm(&service, &context).await.map(axum::Json)
}
