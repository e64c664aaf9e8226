//! Managed keys: the life cycle. What needs a quorum (destroy, report as compromised, export, import) is a plan, and not here.

use axum::response::IntoResponse;

use super::{Answer, Effect, created};
use crate::http::extract::{Bound, Id, Ids, Json, Parameters};
use crate::key::VersionNumber;
use crate::ops;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::ops::reason::Reason;
use tillward_hsm::KeyName;

/// Makes a key and its first version. Asked again with the same properties, it answers with the key as it is.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", params(Effect),
    request_body = ops::KeyBody, responses((status = 201, body = ops::ManagedKey)),
    extensions(("x-reasons" = json!([Reason::AcquirerUnknown, Reason::KeyExists, Reason::KeyOfTheDesign, Reason::AlgorithmNotOffered,
        Reason::StateConflict, Reason::KeyUnknown, Reason::KeyState]))))]
pub(super) async fn create_key(Bound(app): Bound, context: Context, Json(body): Json<ops::KeyBody>) -> Result<impl IntoResponse, OpError> {
    ops::create_key(&app, &context, &body).await.map(created)
}

/// Lists keys of the caller's acquirers and, for those who keep keys, of the service; a page at a time.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", params(ops::KeyQuery), responses((status = 200, body = ops::KeyPage)))]
pub(super) async fn list_keys(Bound(app): Bound, context: Context, Parameters(query): Parameters<ops::KeyQuery>) -> Answer<ops::KeyPage> {
    ops::list_keys(&app, &context, &query).await.map(axum::Json)
}

/// Compares the keys on the token with those in the database. Reports, and changes nothing.
#[utoipa::path(get, path = "/v1/keys/reconciliation", tag = "keys", responses((status = 200, body = ops::Reconciliation)))]
pub(super) async fn reconcile_keys(Bound(app): Bound, context: Context) -> Answer<ops::Reconciliation> {
    ops::reconcile_keys(&app, &context).await.map(axum::Json)
}

/// Reads a key, by name or alias, with its versions.
#[utoipa::path(get, path = "/v1/keys/{key}", tag = "keys", params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")),
    responses((status = 200, body = ops::ManagedKey)), extensions(("x-reasons" = json!([Reason::KeyUnknown]))))]
pub(super) async fn read_key(Bound(app): Bound, context: Context, Id(key): Id<KeyName>) -> Answer<ops::ManagedKey> {
    ops::read_key(&app, &context, &key).await.map(axum::Json)
}

/// Changes aliases, periods, limits, or the version that protects. What is absent stays, what is null goes.
#[utoipa::path(patch, path = "/v1/keys/{key}", tag = "keys",
    params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), Effect),
    request_body = ops::KeyChange, responses((status = 200, body = ops::ManagedKey)),
    extensions(("x-reasons" = json!([Reason::KeyUnknown, Reason::KeyExists, Reason::KeyState, Reason::KeyLimit, Reason::KeyOfTheDesign]))))]
pub(super) async fn update_key(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::KeyChange>,
) -> Answer<ops::ManagedKey> {
    ops::update_key(&app, &context, &key, &body).await.map(axum::Json)
}

/// Makes the next version. It takes over; the version before goes on processing what it protected.
#[utoipa::path(post, path = "/v1/keys/{key}/rotate", tag = "keys",
    params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), Effect),
    request_body = ops::RotationBody, responses((status = 200, body = ops::ManagedKey)),
    extensions(("x-reasons" = json!([Reason::KeyUnknown, Reason::KeyPurpose, Reason::KeyOfTheDesign, Reason::AlgorithmNotOffered,
        Reason::StateConflict]))))]
pub(super) async fn rotate_key(
    Bound(app): Bound,
    context: Context,
    Id(key): Id<KeyName>,
    Json(body): Json<ops::RotationBody>,
) -> Answer<ops::ManagedKey> {
    ops::rotate_key(&app, &context, &key, &body).await.map(axum::Json)
}

/// Takes a version into use, or back into use after a suspension.
#[utoipa::path(post, path = "/v1/keys/{key}/versions/{version}/activate", tag = "keys",
    params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), ("version" = u32, Path, minimum = 1), Effect),
    responses((status = 200, body = ops::ManagedKey)),
    extensions(("x-reasons" = json!([Reason::KeyUnknown, Reason::KeyState, Reason::KeyOfTheDesign, Reason::StateConflict]))))]
pub(super) async fn activate_key(
    Bound(app): Bound,
    context: Context,
    Ids(key, version): Ids<KeyName, VersionNumber>,
) -> Answer<ops::ManagedKey> {
    ops::activate_key(&app, &context, &key, version.0).await.map(axum::Json)
}

/// Stops every use of a version for a while.
#[utoipa::path(post, path = "/v1/keys/{key}/versions/{version}/suspend", tag = "keys",
    params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), ("version" = u32, Path, minimum = 1), Effect),
    responses((status = 200, body = ops::ManagedKey)),
    extensions(("x-reasons" = json!([Reason::KeyUnknown, Reason::KeyState, Reason::KeyOfTheDesign, Reason::StateConflict]))))]
pub(super) async fn suspend_key(
    Bound(app): Bound,
    context: Context,
    Ids(key, version): Ids<KeyName, VersionNumber>,
) -> Answer<ops::ManagedKey> {
    ops::suspend_key(&app, &context, &key, version.0).await.map(axum::Json)
}

/// Ends the protecting of a version, for good; it goes on processing what it protected.
#[utoipa::path(post, path = "/v1/keys/{key}/versions/{version}/deactivate", tag = "keys",
    params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), ("version" = u32, Path, minimum = 1), Effect),
    responses((status = 200, body = ops::ManagedKey)),
    extensions(("x-reasons" = json!([Reason::KeyUnknown, Reason::KeyState, Reason::KeyOfTheDesign, Reason::StateConflict]))))]
pub(super) async fn deactivate_key(
    Bound(app): Bound,
    context: Context,
    Ids(key, version): Ids<KeyName, VersionNumber>,
) -> Answer<ops::ManagedKey> {
    ops::deactivate_key(&app, &context, &key, version.0).await.map(axum::Json)
}

/// Calls the destruction of a version off: it is suspended then, and nothing more.
#[utoipa::path(post, path = "/v1/keys/{key}/versions/{version}/restore", tag = "keys",
    params(("key" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), ("version" = u32, Path, minimum = 1), Effect),
    responses((status = 200, body = ops::ManagedKey)),
    extensions(("x-reasons" = json!([Reason::KeyUnknown, Reason::KeyState, Reason::KeyOfTheDesign, Reason::StateConflict]))))]
pub(super) async fn restore_key(
    Bound(app): Bound,
    context: Context,
    Ids(key, version): Ids<KeyName, VersionNumber>,
) -> Answer<ops::ManagedKey> {
    ops::restore_key(&app, &context, &key, version.0).await.map(axum::Json)
}
