//! The uses of managed keys: one item, or a batch of them.

use tillward_hsm::KeyName;

use super::{Answer, DryRun};
use crate::http::extract::{Bound, Id, Json, Parameters};
use crate::ops;
use crate::ops::context::Context;
use crate::ops::reason::Reason;

/// For which reasons a use of a managed key is refused.
const USE: [Reason; 6] =
    [Reason::KeyUnknown, Reason::KeyState, Reason::KeyOutsideTime, Reason::KeyLimit, Reason::KeyPurpose, Reason::KeyOfTheDesign];

/// Signs.
#[utoipa::path(post, path = "/v1/keys/{key}/sign", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::SignBody, responses((status = 200, body = ops::Signed)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_sign(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::SignBody>,
) -> Answer<ops::Signed> {
    ops::key_sign(&app, &context, &key, body).await.map(axum::Json)
}

/// The same for up to 100 items, with an outcome for each.
#[utoipa::path(post, path = "/v1/keys/{key}/sign/batch", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::Batch<ops::SignBody>, responses((status = 200, body = ops::BatchAnswer<ops::Signed>)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_sign_batch(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::Batch<ops::SignBody>>,
) -> Answer<ops::BatchAnswer<ops::Signed>> {
    ops::key_sign_batch(&app, &context, &key, body).await.map(axum::Json)
}

/// Verifies a signature.
#[utoipa::path(post, path = "/v1/keys/{key}/verify", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::VerifyBody, responses((status = 200, body = ops::Verdict)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_verify(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::VerifyBody>,
) -> Answer<ops::Verdict> {
    ops::key_verify(&app, &context, &key, body).await.map(axum::Json)
}

/// The same for up to 100 items, with an outcome for each.
#[utoipa::path(post, path = "/v1/keys/{key}/verify/batch", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::Batch<ops::VerifyBody>, responses((status = 200, body = ops::BatchAnswer<ops::Verdict>)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_verify_batch(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::Batch<ops::VerifyBody>>,
) -> Answer<ops::BatchAnswer<ops::Verdict>> {
    ops::key_verify_batch(&app, &context, &key, body).await.map(axum::Json)
}

/// Makes a MAC.
#[utoipa::path(post, path = "/v1/keys/{key}/mac", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::MacBody, responses((status = 200, body = ops::Mac)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_mac(Bound(app): Bound, context: Context, Id(key): Id<KeyName>, Json(body): Json<ops::MacBody>) -> Answer<ops::Mac> {
    ops::key_mac(&app, &context, &key, body).await.map(axum::Json)
}

/// The same for up to 100 items, with an outcome for each.
#[utoipa::path(post, path = "/v1/keys/{key}/mac/batch", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::Batch<ops::MacBody>, responses((status = 200, body = ops::BatchAnswer<ops::Mac>)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_mac_batch(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::Batch<ops::MacBody>>,
) -> Answer<ops::BatchAnswer<ops::Mac>> {
    ops::key_mac_batch(&app, &context, &key, body).await.map(axum::Json)
}

/// Verifies a MAC.
#[utoipa::path(post, path = "/v1/keys/{key}/verify-mac", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::VerifyMacBody, responses((status = 200, body = ops::Verdict)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_verify_mac(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::VerifyMacBody>,
) -> Answer<ops::Verdict> {
    ops::key_verify_mac(&app, &context, &key, body).await.map(axum::Json)
}

/// The same for up to 100 items, with an outcome for each.
#[utoipa::path(post, path = "/v1/keys/{key}/verify-mac/batch", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::Batch<ops::VerifyMacBody>, responses((status = 200, body = ops::BatchAnswer<ops::Verdict>)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_verify_mac_batch(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::Batch<ops::VerifyMacBody>>,
) -> Answer<ops::BatchAnswer<ops::Verdict>> {
    ops::key_verify_mac_batch(&app, &context, &key, body).await.map(axum::Json)
}

/// Encrypts.
#[utoipa::path(post, path = "/v1/keys/{key}/encrypt", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::EncryptBody, responses((status = 200, body = ops::Encrypted)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_encrypt(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::EncryptBody>,
) -> Answer<ops::Encrypted> {
    ops::key_encrypt(&app, &context, &key, body).await.map(axum::Json)
}

/// The same for up to 100 items, with an outcome for each.
#[utoipa::path(post, path = "/v1/keys/{key}/encrypt/batch", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::Batch<ops::EncryptBody>, responses((status = 200, body = ops::BatchAnswer<ops::Encrypted>)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_encrypt_batch(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::Batch<ops::EncryptBody>>,
) -> Answer<ops::BatchAnswer<ops::Encrypted>> {
    ops::key_encrypt_batch(&app, &context, &key, body).await.map(axum::Json)
}

/// Decrypts, with the version that the ciphertext names.
#[utoipa::path(post, path = "/v1/keys/{key}/decrypt", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::DecryptBody, responses((status = 200, body = ops::Plain)), extensions(("x-reasons" = json!([&USE[..], &[Reason::DecryptionFailed]].concat()))))]
pub(super) async fn key_decrypt(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::DecryptBody>,
) -> Answer<ops::Plain> {
    ops::key_decrypt(&app, &context, &key, body).await.map(axum::Json)
}

/// The same for up to 100 items, with an outcome for each.
#[utoipa::path(post, path = "/v1/keys/{key}/decrypt/batch", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::Batch<ops::DecryptBody>, responses((status = 200, body = ops::BatchAnswer<ops::Plain>)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_decrypt_batch(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::Batch<ops::DecryptBody>>,
) -> Answer<ops::BatchAnswer<ops::Plain>> {
    ops::key_decrypt_batch(&app, &context, &key, body).await.map(axum::Json)
}

/// Wraps key material of the caller.
#[utoipa::path(post, path = "/v1/keys/{key}/wrap", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::WrapBody, responses((status = 200, body = ops::Wrapped)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_wrap(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::WrapBody>,
) -> Answer<ops::Wrapped> {
    ops::key_wrap(&app, &context, &key, body).await.map(axum::Json)
}

/// The same for up to 100 items, with an outcome for each.
#[utoipa::path(post, path = "/v1/keys/{key}/wrap/batch", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::Batch<ops::WrapBody>, responses((status = 200, body = ops::BatchAnswer<ops::Wrapped>)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_wrap_batch(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::Batch<ops::WrapBody>>,
) -> Answer<ops::BatchAnswer<ops::Wrapped>> {
    ops::key_wrap_batch(&app, &context, &key, body).await.map(axum::Json)
}

/// Unwraps key material, with the version that the blob names.
#[utoipa::path(post, path = "/v1/keys/{key}/unwrap", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::UnwrapBody, responses((status = 200, body = ops::Unwrapped)), extensions(("x-reasons" = json!([&USE[..], &[Reason::WrappedKeyRefused]].concat()))))]
pub(super) async fn key_unwrap(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::UnwrapBody>,
) -> Answer<ops::Unwrapped> {
    ops::key_unwrap(&app, &context, &key, body).await.map(axum::Json)
}

/// The same for up to 100 items, with an outcome for each.
#[utoipa::path(post, path = "/v1/keys/{key}/unwrap/batch", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), DryRun),
    request_body = ops::Batch<ops::UnwrapBody>, responses((status = 200, body = ops::BatchAnswer<ops::Unwrapped>)), extensions(("x-reasons" = json!(USE))))]
pub(super) async fn key_unwrap_batch(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::Batch<ops::UnwrapBody>>,
) -> Answer<ops::BatchAnswer<ops::Unwrapped>> {
    ops::key_unwrap_batch(&app, &context, &key, body).await.map(axum::Json)
}

/// Draws random bytes from the token.
#[utoipa::path(post, path = "/v1/random", tag = "kms", params(DryRun), request_body = ops::RandomBody, responses((status = 200, body = ops::Random)))]
pub(super) async fn random(Bound(app): Bound, context: Context, Json(body): Json<ops::RandomBody>) -> Answer<ops::Random> {
    ops::random(&app, &context, &body).await.map(axum::Json)
}

/// Reads a public key.
#[utoipa::path(get, path = "/v1/keys/{key}/public", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), ops::VersionQuery),
    responses((status = 200, body = ops::PublicKeyView)), extensions(("x-reasons" = json!([Reason::KeyUnknown, Reason::KeyPurpose]))))]
pub(super) async fn read_public_key(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Parameters(query): Parameters<ops::VersionQuery>,
) -> Answer<ops::PublicKeyView> {
    ops::read_public_key(&app, &context, &key, &query).await.map(axum::Json)
}

/// Reads the public keys of a key's versions that may still verify, as a JWK set.
#[utoipa::path(get, path = "/v1/keys/{key}/jwks.json", tag = "kms", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")),
    responses((status = 200, body = ops::Jwks)), extensions(("x-reasons" = json!([Reason::KeyUnknown, Reason::KeyPurpose]))))]
pub(super) async fn read_key_jwks(Bound(app): Bound, context: Context, Id(key): Id<KeyName>) -> Answer<ops::Jwks> {
    ops::read_key_jwks(&app, &context, &key).await.map(axum::Json)
}

/// Reads the public keys of all signing keys that the caller may read, as a JWK set.
#[utoipa::path(get, path = "/v1/jwks.json", tag = "kms", responses((status = 200, body = ops::Jwks)))]
pub(super) async fn read_jwks(Bound(app): Bound, context: Context) -> Answer<ops::Jwks> {
    ops::read_jwks(&app, &context).await.map(axum::Json)
}
