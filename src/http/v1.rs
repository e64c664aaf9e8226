//! The back-end listener: what payment back ends and operators can ask, by resource. docs/api.md is its page.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use serde::Serialize;

use super::extract::{Id, Json, JsonBytes, Parameters};
use crate::app::App;
use crate::id::{ActivationId, DeviceId, MerchantId, TerminalId};
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;

pub(super) fn routes() -> Router<Arc<App>> {
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
}

type Answer<T> = Result<axum::Json<T>, OpError>;

fn created<T: Serialize>(value: T) -> impl IntoResponse {
    (StatusCode::CREATED, axum::Json(value))
}

async fn register_merchant(
    State(app): State<Arc<App>>,
    context: Context,
    Id(merchant): Id<MerchantId>,
    Json(body): Json<ops::MerchantBody>,
) -> Answer<ops::Merchant> {
    ops::register_merchant(&app, &context, merchant, body).await.map(axum::Json)
}

async fn read_merchant(State(app): State<Arc<App>>, context: Context, Id(merchant): Id<MerchantId>) -> Answer<ops::Merchant> {
    ops::read_merchant(&app, &context, &merchant).await.map(axum::Json)
}

async fn register_terminal(
    State(app): State<Arc<App>>,
    context: Context,
    Id(terminal): Id<TerminalId>,
    Json(body): Json<ops::TerminalBody>,
) -> Answer<ops::Terminal> {
    ops::register_terminal(&app, &context, terminal, body).await.map(axum::Json)
}

async fn read_terminal(State(app): State<Arc<App>>, context: Context, Id(terminal): Id<TerminalId>) -> Answer<ops::Terminal> {
    ops::read_terminal(&app, &context, &terminal).await.map(axum::Json)
}

async fn replace_device(
    State(app): State<Arc<App>>,
    context: Context,
    Id(terminal): Id<TerminalId>,
    Json(body): Json<ops::ReasonBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::replace_device(&app, &context, &terminal, &body).await.map(created)
}

async fn create_activation(
    State(app): State<Arc<App>>,
    context: Context,
    Json(body): Json<ops::ActivationBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::create_activation(&app, &context, &body).await.map(created)
}

async fn read_activation(State(app): State<Arc<App>>, context: Context, Id(activation): Id<ActivationId>) -> Answer<ops::Activation> {
    ops::read_activation(&app, &context, &activation).await.map(axum::Json)
}

async fn revoke_activation(State(app): State<Arc<App>>, context: Context, Id(activation): Id<ActivationId>) -> Answer<ops::Activation> {
    ops::revoke_activation(&app, &context, &activation).await.map(axum::Json)
}

async fn list_devices(
    State(app): State<Arc<App>>,
    context: Context,
    Parameters(filter): Parameters<ops::DeviceQuery>,
) -> Answer<ops::DevicePage> {
    ops::list_devices(&app, &context, &filter).await.map(axum::Json)
}

async fn read_device(State(app): State<Arc<App>>, context: Context, Id(device): Id<DeviceId>) -> Answer<ops::Device> {
    ops::read_device(&app, &context, &device).await.map(axum::Json)
}

async fn suspend_device(
    State(app): State<Arc<App>>,
    context: Context,
    Id(device): Id<DeviceId>,
    Json(body): Json<ops::ReasonBody>,
) -> Answer<ops::Device> {
    ops::suspend_device(&app, &context, &device, &body).await.map(axum::Json)
}

async fn resume_device(
    State(app): State<Arc<App>>,
    context: Context,
    Id(device): Id<DeviceId>,
    Json(body): Json<ops::ReasonBody>,
) -> Answer<ops::Device> {
    ops::resume_device(&app, &context, &device, &body).await.map(axum::Json)
}

async fn retire_device(
    State(app): State<Arc<App>>,
    context: Context,
    Id(device): Id<DeviceId>,
    Json(body): Json<ops::ReasonBody>,
) -> Answer<ops::Device> {
    ops::retire_device(&app, &context, &device, &body).await.map(axum::Json)
}

async fn give_clearance(
    State(app): State<Arc<App>>,
    context: Context,
    Json(body): Json<ops::ClearanceBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::give_clearance(&app, &context, &body).await.map(created)
}

async fn verify_mac(State(app): State<Arc<App>>, context: Context, JsonBytes(body): JsonBytes) -> Answer<ops::Verified> {
    ops::verify_mac(&app, &context, &body).await.map(axum::Json)
}

async fn decrypt(State(app): State<Arc<App>>, context: Context, JsonBytes(body): JsonBytes) -> Result<impl IntoResponse, OpError> {
    ops::decrypt(&app, &context, &body).await.map(axum::Json)
}

async fn read_audit(
    State(app): State<Arc<App>>,
    context: Context,
    Parameters(query): Parameters<ops::AuditQuery>,
) -> Answer<ops::AuditPage> {
    ops::read_audit(&app, &context, &query).await.map(axum::Json)
}

async fn read_keys(State(app): State<Arc<App>>, context: Context) -> Answer<ops::KeyInventory> {
    ops::read_keys(&app, &context).await.map(axum::Json)
}
