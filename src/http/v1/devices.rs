//! Devices and their clearances.

use axum::response::IntoResponse;

use super::{Answer, Effect, created};
use crate::http::extract::{Bound, Id, Json, Parameters};
use crate::id::DeviceId;
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::ops::reason::Reason;

/// Lists the devices of the caller's acquirers, a page at a time.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", params(ops::DeviceQuery),
    responses((status = 200, body = ops::DevicePage)))]
pub(super) async fn list_devices(
    Bound(app): Bound,
    context: Context,
    Parameters(filter): Parameters<ops::DeviceQuery>,
) -> Answer<ops::DevicePage> {
    ops::list_devices(&app, &context, &filter).await.map(axum::Json)
}

/// Reads a device.
#[utoipa::path(get, path = "/v1/devices/{device}", tag = "devices", params(("device" = DeviceId, Path)),
    responses((status = 200, body = ops::Device)), extensions(("x-reasons" = json!([Reason::DeviceUnknown]))))]
pub(super) async fn read_device(Bound(app): Bound, context: Context, Id(device): Id<DeviceId>) -> Answer<ops::Device> {
    ops::read_device(&app, &context, &device).await.map(axum::Json)
}

/// Stops a device until it is resumed.
#[utoipa::path(post, path = "/v1/devices/{device}/suspend", tag = "devices", params(("device" = DeviceId, Path), Effect),
    request_body = ops::ReasonBody, responses((status = 200, body = ops::Device)),
    extensions(("x-reasons" = json!([Reason::DeviceUnknown, Reason::StateConflict]))))]
pub(super) async fn suspend_device(
    Bound(app): Bound,
    context: Context,
    Id(device): Id<DeviceId>,
    Json(body): Json<ops::ReasonBody>,
) -> Answer<ops::Device> {
    ops::suspend_device(&app, &context, &device, &body).await.map(axum::Json)
}

/// Lets a suspended device work again; it has to attest afresh.
#[utoipa::path(post, path = "/v1/devices/{device}/resume", tag = "devices", params(("device" = DeviceId, Path), Effect),
    request_body = ops::ReasonBody, responses((status = 200, body = ops::Device)),
    extensions(("x-reasons" = json!([Reason::DeviceUnknown, Reason::StateConflict]))))]
pub(super) async fn resume_device(
    Bound(app): Bound,
    context: Context,
    Id(device): Id<DeviceId>,
    Json(body): Json<ops::ReasonBody>,
) -> Answer<ops::Device> {
    ops::resume_device(&app, &context, &device, &body).await.map(axum::Json)
}

/// Ends a device for ever and revokes its certificates.
#[utoipa::path(post, path = "/v1/devices/{device}/retire", tag = "devices", params(("device" = DeviceId, Path), Effect),
    request_body = ops::ReasonBody, responses((status = 200, body = ops::Device)),
    extensions(("x-reasons" = json!([Reason::DeviceUnknown, Reason::StateConflict]))))]
pub(super) async fn retire_device(
    Bound(app): Bound,
    context: Context,
    Id(device): Id<DeviceId>,
    Json(body): Json<ops::ReasonBody>,
) -> Answer<ops::Device> {
    ops::retire_device(&app, &context, &device, &body).await.map(axum::Json)
}

/// Says whether a phone may take a payment now.
#[utoipa::path(post, path = "/v1/clearances", tag = "clearances", params(Effect),
    request_body = ops::ClearanceBody, responses((status = 201, body = ops::Clearance)),
    extensions(("x-reasons" = json!([Reason::KeyState, Reason::DeviceUnknown, Reason::DeviceSuspended, Reason::DeviceRetired, Reason::AttestationStale,
        Reason::LevelUnknown, Reason::StateConflict]))))]
pub(super) async fn give_clearance(
    Bound(app): Bound,
    context: Context,
    Json(body): Json<ops::ClearanceBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::give_clearance(&app, &context, &body).await.map(created)
}
