//! Merchants and their terminals.

use axum::response::IntoResponse;

use super::{Answer, Effect, created};
use crate::http::extract::{Bound, Id, Json};
use crate::id::{MerchantId, TerminalId};
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::ops::reason::Reason;

/// Registers a merchant; the same content again changes nothing.
#[utoipa::path(put, path = "/v1/merchants/{merchant}", tag = "merchants", params(("merchant" = MerchantId, Path), Effect),
    request_body = ops::MerchantBody, responses((status = 200, body = ops::Merchant)),
    extensions(("x-reasons" = json!([Reason::AcquirerUnknown, Reason::AlreadyRegistered]))))]
pub(super) async fn register_merchant(
    Bound(app): Bound,
    context: Context,
    Id(merchant): Id<MerchantId>,
    Json(body): Json<ops::MerchantBody>,
) -> Answer<ops::Merchant> {
    ops::register_merchant(&app, &context, merchant, body).await.map(axum::Json)
}

/// Reads a merchant.
#[utoipa::path(get, path = "/v1/merchants/{merchant}", tag = "merchants", params(("merchant" = MerchantId, Path)),
    responses((status = 200, body = ops::Merchant)), extensions(("x-reasons" = json!([Reason::MerchantUnknown]))))]
pub(super) async fn read_merchant(Bound(app): Bound, context: Context, Id(merchant): Id<MerchantId>) -> Answer<ops::Merchant> {
    ops::read_merchant(&app, &context, &merchant).await.map(axum::Json)
}

/// Registers a terminal of a merchant; the same content again changes nothing.
#[utoipa::path(put, path = "/v1/terminals/{terminal}", tag = "terminals", params(("terminal" = TerminalId, Path), Effect),
    request_body = ops::TerminalBody, responses((status = 200, body = ops::Terminal)),
    extensions(("x-reasons" = json!([Reason::MerchantUnknown, Reason::LevelUnknown, Reason::AlreadyRegistered]))))]
pub(super) async fn register_terminal(
    Bound(app): Bound,
    context: Context,
    Id(terminal): Id<TerminalId>,
    Json(body): Json<ops::TerminalBody>,
) -> Answer<ops::Terminal> {
    ops::register_terminal(&app, &context, terminal, body).await.map(axum::Json)
}

/// Reads a terminal.
#[utoipa::path(get, path = "/v1/terminals/{terminal}", tag = "terminals", params(("terminal" = TerminalId, Path)),
    responses((status = 200, body = ops::Terminal)), extensions(("x-reasons" = json!([Reason::TerminalUnknown]))))]
pub(super) async fn read_terminal(Bound(app): Bound, context: Context, Id(terminal): Id<TerminalId>) -> Answer<ops::Terminal> {
    ops::read_terminal(&app, &context, &terminal).await.map(axum::Json)
}

/// Retires the terminal's phone, if it has one, and makes a code for another.
#[utoipa::path(post, path = "/v1/terminals/{terminal}/replace", tag = "terminals", params(("terminal" = TerminalId, Path), Effect),
    request_body = ops::ReasonBody, responses((status = 201, body = ops::Replaced)),
    extensions(("x-reasons" = json!([Reason::KeyState, Reason::TerminalUnknown, Reason::StateConflict, Reason::AcquirerUnknown]))))]
pub(super) async fn replace_device(
    Bound(app): Bound,
    context: Context,
    Id(terminal): Id<TerminalId>,
    Json(body): Json<ops::ReasonBody>,
) -> Result<impl IntoResponse, OpError> {
    ops::replace_device(&app, &context, &terminal, &body).await.map(created)
}
