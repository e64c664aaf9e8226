//! The back-end listener: what payment back ends and operators can ask, a file a resource. docs/api.md is its page.
//!
//! A handler says all of itself in `#[utoipa::path]`: method, path, tag, parameters, body, answer (its name is the `operationId`), and under
//! `x-reasons` for which reasons it refuses beyond those of every operation ([`Reason::OF_ALL`], `not-found` of a path parameter,
//! `unsupported-media-type` of a body). What has an effect also takes the parameters of [`Effect`]. Bodies and answers derive `utoipa::ToSchema`, with
//! the forms of [`crate::schema`]. `routes!` makes both the route and its place in the document, so that neither is without the other;
//! `docs/openapi.json` is the document, and a test compares it (`TILLWARD_WRITE_EXAMPLES=1` writes it anew).
//!
//! [`Reason::OF_ALL`]: crate::ops::reason::Reason::OF_ALL

mod activations;
mod devices;
mod dukpt;
mod key_sets;
mod keys;
mod kms;
mod merchants;
mod plans;
mod policies;
mod service;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::{DRY_RUN, IDEMPOTENCY_KEY};
use crate::ops::error::OpError;
use crate::service::Service;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::default()
        .routes(routes!(merchants::register_merchant, merchants::read_merchant))
        .routes(routes!(merchants::register_terminal, merchants::read_terminal))
        .routes(routes!(merchants::replace_device))
        .routes(routes!(activations::create_activation))
        .routes(routes!(activations::read_activation, activations::revoke_activation))
        .routes(routes!(devices::list_devices))
        .routes(routes!(devices::read_device))
        .routes(routes!(devices::suspend_device))
        .routes(routes!(devices::resume_device))
        .routes(routes!(devices::retire_device))
        .routes(routes!(devices::give_clearance))
        .routes(routes!(dukpt::verify_mac))
        .routes(routes!(dukpt::decrypt))
        .routes(routes!(key_sets::list_key_sets))
        .routes(routes!(key_sets::key_set_verify_mac))
        .routes(routes!(key_sets::key_set_verify_mac_batch))
        .routes(routes!(key_sets::key_set_decrypt))
        .routes(routes!(key_sets::key_set_decrypt_batch))
        .routes(routes!(service::read_audit))
        .routes(routes!(keys::create_key, keys::list_keys))
        .routes(routes!(keys::reconcile_keys))
        .routes(routes!(keys::read_key, keys::update_key))
        .routes(routes!(keys::rotate_key))
        .routes(routes!(keys::activate_key))
        .routes(routes!(keys::suspend_key))
        .routes(routes!(keys::deactivate_key))
        .routes(routes!(keys::restore_key))
        .routes(routes!(service::read_keys))
        .routes(routes!(service::read_hsm))
        .routes(routes!(service::read_openapi))
        .routes(routes!(kms::key_sign))
        .routes(routes!(kms::key_sign_batch))
        .routes(routes!(kms::key_verify))
        .routes(routes!(kms::key_verify_batch))
        .routes(routes!(kms::key_mac))
        .routes(routes!(kms::key_mac_batch))
        .routes(routes!(kms::key_verify_mac))
        .routes(routes!(kms::key_verify_mac_batch))
        .routes(routes!(kms::key_encrypt))
        .routes(routes!(kms::key_encrypt_batch))
        .routes(routes!(kms::key_decrypt))
        .routes(routes!(kms::key_decrypt_batch))
        .routes(routes!(kms::key_wrap))
        .routes(routes!(kms::key_wrap_batch))
        .routes(routes!(kms::key_unwrap))
        .routes(routes!(kms::key_unwrap_batch))
        .routes(routes!(kms::random))
        .routes(routes!(kms::read_public_key))
        .routes(routes!(kms::read_key_jwks))
        .routes(routes!(kms::read_jwks))
        .routes(routes!(policies::read_policy))
        .routes(routes!(plans::list_plans, plans::propose_plan))
        .routes(routes!(plans::read_plan))
        .routes(routes!(plans::read_plan_bundle))
        .routes(routes!(plans::approve_plan))
        .routes(routes!(plans::cancel_plan))
        .routes(routes!(plans::execute_plan))
}

type Answer<T> = Result<axum::Json<T>, OpError>;

fn created<T: Serialize>(value: T) -> impl IntoResponse {
    (StatusCode::CREATED, axum::Json(value))
}

/// The parameter of what policy could refuse: only say whether it would be done.
struct DryRun;

impl IntoParams for DryRun {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::Boolean).build();
        let words =
            "Ask for permission, look at the state, change nothing and use no key: 200 and what would be done, or the same refusal.";
        vec![ParameterBuilder::new().name(DRY_RUN).parameter_in(ParameterIn::Query).description(Some(words)).schema(Some(schema)).build()]
    }
}

/// The parameters of what has an effect.
struct Effect;

impl IntoParams for Effect {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema =
            ObjectBuilder::new().schema_type(Type::String).pattern(Some("^(?:[A-Za-z0-9_-]{1,64}|\"[A-Za-z0-9_-]{1,64}\")$")).build();
        let words = "Asked again with the same key and the same content, it gives the same answer and has no second effect. For 24 hours.";
        let key = ParameterBuilder::new().name(IDEMPOTENCY_KEY).parameter_in(ParameterIn::Header).description(Some(words));
        [vec![key.schema(Some(schema)).build()], DryRun::into_params(place)].concat()
    }
}
