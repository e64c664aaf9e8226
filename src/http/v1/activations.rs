//! Activation codes.

use axum::response::IntoResponse;

use super::{Answer, Effect, created};
use crate::http::extract::{Bound, Id, Json};
use crate::id::ActivationId;
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::ops::reason::Reason;

/// Makes a code for a terminal without a phone; an open one for the terminal is revoked.
#[utoipa::path(post, path = "/v1/activations", tag = "activations", params(Effect),
    request_body = ops::ActivationBody, responses((status = 201, body = ops::CreatedActivation)),
    extensions(("x-reasons" = json!([Reason::KeyState, Reason::TerminalUnknown, Reason::TerminalOccupied, Reason::AcquirerUnknown]))))]
pub(super) async fn create_activation(
    Bound(app): Bound,
    context: Context,
    Json(body): Json<ops::ActivationBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::create_activation(&app, &context, &body).await.map(created)
}

/// Reads an activation; never the code.
#[utoipa::path(get, path = "/v1/activations/{activation}", tag = "activations", params(("activation" = ActivationId, Path)),
    responses((status = 200, body = ops::Activation)), extensions(("x-reasons" = json!([Reason::ActivationUnknown]))))]
pub(super) async fn read_activation(Bound(app): Bound, context: Context, Id(activation): Id<ActivationId>) -> Answer<ops::Activation> {
    ops::read_activation(&app, &context, &activation).await.map(axum::Json)
}

/// Takes a code back; one that is revoked stays so.
#[utoipa::path(delete, path = "/v1/activations/{activation}", tag = "activations", params(("activation" = ActivationId, Path), Effect),
    responses((status = 200, body = ops::Activation)),
    extensions(("x-reasons" = json!([Reason::ActivationUnknown, Reason::StateConflict]))))]
pub(super) async fn revoke_activation(Bound(app): Bound, context: Context, Id(activation): Id<ActivationId>) -> Answer<ops::Activation> {
    ops::revoke_activation(&app, &context, &activation).await.map(axum::Json)
}
