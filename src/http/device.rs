//! The device listener: what a phone can ask. docs/protocol.md is its page.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::extract::{Bound, Id, JsonBytes};
use crate::enrolment::package::ParametersForm;
use crate::id::DeviceId;
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::service::Service;

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/device/v1/trust", get(trust))
        .route("/device/v1/crl", get(crl))
        .route("/device/v1/enrolment/parameters", get(first_parameters))
        .route("/device/v2/enrolment/parameters", get(parameters))
        .route("/device/v1/enrolment/challenge", post(enrolment_challenge))
        .route("/device/v1/enrolment", post(enrol))
        .route("/device/v1/devices/{device}/challenge", post(device_challenge))
        .route("/device/v1/devices/{device}/attestation", post(attest))
        .route("/device/v1/devices/{device}/certificate", post(renew))
}

type Answer = Result<axum::Json<Value>, OpError>;

async fn trust(Bound(app): Bound) -> Result<impl IntoResponse, OpError> {
    Ok(axum::Json(ops::trust_bundle(&app).await?))
}

async fn crl(Bound(app): Bound) -> Result<impl IntoResponse, OpError> {
    let der = ops::current_crl(&app).await?;
    Ok(([(header::CONTENT_TYPE, "application/pkix-crl")], der))
}

async fn first_parameters(Bound(app): Bound) -> Answer {
    Ok(axum::Json(json!({"parameters": ops::enrolment_parameters(&app, ParametersForm::One).await?})))
}

async fn parameters(Bound(app): Bound) -> Answer {
    Ok(axum::Json(json!({"parameters": ops::enrolment_parameters(&app, ParametersForm::List).await?})))
}

async fn enrolment_challenge(Bound(app): Bound, context: Context, JsonBytes(body): JsonBytes) -> Answer {
    Ok(axum::Json(json!({"challenge": ops::enrolment_challenge(&app, &context, &body).await?})))
}

async fn enrol(Bound(app): Bound, context: Context, JsonBytes(body): JsonBytes) -> Answer {
    Ok(axum::Json(json!({"package": ops::enrol(&app, &context, &body).await?})))
}

async fn device_challenge(Bound(app): Bound, context: Context, Id(device): Id<DeviceId>, JsonBytes(body): JsonBytes) -> Answer {
    Ok(axum::Json(json!({"challenge": ops::device_challenge(&app, &context, &device, &body).await?})))
}

async fn attest(Bound(app): Bound, context: Context, Id(device): Id<DeviceId>, JsonBytes(body): JsonBytes) -> Answer {
    Ok(axum::Json(json!({"result": ops::attest(&app, &context, &device, &body).await?})))
}

async fn renew(Bound(app): Bound, context: Context, Id(device): Id<DeviceId>, JsonBytes(body): JsonBytes) -> Answer {
    Ok(axum::Json(json!({"certificate_chain": ops::renew_certificate(&app, &context, &device, &body).await?})))
}
