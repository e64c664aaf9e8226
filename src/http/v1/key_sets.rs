//! DUKPT by key set: an acquirer's pair of base derivation keys.

use super::{Answer, DryRun};
use crate::http::extract::{Bound, Id, Json, JsonBytes};
use crate::id::AcquirerId;
use crate::ops;
use crate::ops::context::Context;
use crate::ops::reason::Reason;
use crate::payment::message::{MacRequest, PaymentMessage};
use serde_json::Value;

/// Lists the key sets of the caller's acquirers.
#[utoipa::path(get, path = "/v1/key-sets", tag = "key-sets", responses((status = 200, body = ops::KeySets)))]
pub(super) async fn list_key_sets(Bound(app): Bound, context: Context) -> Answer<ops::KeySets> {
    ops::list_key_sets(&app, &context).await.map(axum::Json)
}

/// Verifies a phone's MAC under this set.
#[utoipa::path(post, path = "/v1/key-sets/{acquirer}/verify-mac", tag = "key-sets", params(("acquirer" = AcquirerId, Path), DryRun),
    request_body = MacRequest, responses((status = 200, body = ops::Verified)),
    extensions(("x-reasons" = json!([Reason::AcquirerUnknown, Reason::KsnUnknown, Reason::DeviceSuspended, Reason::DeviceRetired,
        Reason::MacMismatch]))))]
pub(super) async fn key_set_verify_mac(
    Bound(app): Bound,
    context: Context,
    Id(set): Id<AcquirerId>,
    JsonBytes(body): JsonBytes,
) -> Answer<ops::Verified> {
    ops::key_set_verify_mac(&app, &context, &set, &body).await.map(axum::Json)
}

/// Verifies and decrypts a phone's payment message under this set.
#[utoipa::path(post, path = "/v1/key-sets/{acquirer}/decrypt", tag = "key-sets", params(("acquirer" = AcquirerId, Path), DryRun),
    request_body = PaymentMessage, responses((status = 200, body = ops::Decrypted)),
    extensions(("x-reasons" = json!([Reason::AcquirerUnknown, Reason::KsnUnknown, Reason::DeviceSuspended, Reason::DeviceRetired,
        Reason::MacMismatch, Reason::DecryptionFailed]))))]
pub(super) async fn key_set_decrypt(
    Bound(app): Bound,
    context: Context,
    Id(set): Id<AcquirerId>,
    JsonBytes(body): JsonBytes,
) -> Answer<ops::Decrypted> {
    ops::key_set_decrypt(&app, &context, &set, &body).await.map(axum::Json)
}

/// Verifies up to 100 MACs, with an outcome for each.
#[utoipa::path(post, path = "/v1/key-sets/{acquirer}/verify-mac/batch", tag = "key-sets", params(("acquirer" = AcquirerId, Path)),
    request_body = ops::Batch<MacRequest>, responses((status = 200, body = ops::BatchAnswer<ops::Verified>)))]
pub(super) async fn key_set_verify_mac_batch(
    Bound(app): Bound,
    context: Context,
    Id(set): Id<AcquirerId>,
    Json(body): Json<ops::Batch<Value>>,
) -> Answer<ops::BatchAnswer<ops::Verified>> {
    ops::key_set_verify_mac_batch(&app, &context, &set, &body).await.map(axum::Json)
}

/// Verifies and decrypts up to 100 payment messages, with an outcome for each.
#[utoipa::path(post, path = "/v1/key-sets/{acquirer}/decrypt/batch", tag = "key-sets", params(("acquirer" = AcquirerId, Path)),
    request_body = ops::Batch<PaymentMessage>, responses((status = 200, body = ops::BatchAnswer<ops::Decrypted>)))]
pub(super) async fn key_set_decrypt_batch(
    Bound(app): Bound,
    context: Context,
    Id(set): Id<AcquirerId>,
    Json(body): Json<ops::Batch<Value>>,
) -> Answer<ops::BatchAnswer<ops::Decrypted>> {
    ops::key_set_decrypt_batch(&app, &context, &set, &body).await.map(axum::Json)
}
