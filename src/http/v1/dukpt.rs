//! AES DUKPT on a phone's messages.

use axum::response::IntoResponse;

use super::{Answer, DryRun};
use crate::http::extract::{Bound, JsonBytes};
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::ops::reason::Reason;
use crate::payment::message::{MacRequest, PaymentMessage};

/// Verifies a phone's MAC.
#[utoipa::path(post, path = "/v1/dukpt/verify-mac", tag = "dukpt", params(DryRun), request_body = MacRequest,
    responses((status = 200, body = ops::Verified)),
    extensions(("x-reasons" = json!([Reason::KeyState, Reason::KsnUnknown, Reason::DeviceSuspended, Reason::DeviceRetired, Reason::MacMismatch]))))]
pub(super) async fn verify_mac(Bound(app): Bound, context: Context, JsonBytes(body): JsonBytes) -> Answer<ops::Verified> {
    ops::verify_mac(&app, &context, &body).await.map(axum::Json)
}

/// Verifies and decrypts a phone's payment message.
#[utoipa::path(post, path = "/v1/dukpt/decrypt", tag = "dukpt", params(DryRun), request_body = PaymentMessage,
    responses((status = 200, body = ops::Decrypted)),
    extensions(("x-reasons" = json!([Reason::KeyState, Reason::KsnUnknown, Reason::DeviceSuspended, Reason::DeviceRetired, Reason::MacMismatch,
        Reason::DecryptionFailed]))))]
pub(super) async fn decrypt(Bound(app): Bound, context: Context, JsonBytes(body): JsonBytes) -> Result<impl IntoResponse, OpError> {
    ops::decrypt(&app, &context, &body).await.map(axum::Json)
}
