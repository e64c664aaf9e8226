//! Unwraps key material, with the version that the blob names. It is given out after the audit entry is durable.

use serde::{Deserialize, Serialize};
use tillward_hsm::{HsmError, KeyName, Refusal as HsmRefusal};
use utoipa::ToSchema;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::key_wrap::MARK;
use super::kms::{Batch, BatchAnswer, SecretText, Verb, many, one, open_header};
use super::reason::Reason;
use super::usable_key::{UsableKey, Use};
use crate::app::App;
use crate::authz::Action;
use crate::schema;
use crate::wire::b64url::Bounded;

/// A wrapped key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnwrapBody {
    /// As it was answered to the wrapping.
    #[schema(schema_with = schema::base64url::<0, 48>)]
    pub wrapped: Bounded<48>,
}

/// Key material.
#[derive(Serialize, ToSchema)]
pub struct Unwrapped {
    /// The key that unwraps.
    #[schema(schema_with = schema::key_name)]
    pub key: KeyName,
    /// Its version.
    pub version: u32,
    /// What was wrapped.
    #[schema(schema_with = schema::base64url::<16, 32>)]
    material: SecretText,
}

struct Unwrap;

impl Verb for Unwrap {
    type Item = UnwrapBody;
    type Done = Unwrapped;
    const ACTION: Action = Action::KeyUnwrap;
    const USE: Use = Use::Process;

    fn version(item: &UnwrapBody) -> Result<Option<u32>, Refusal> {
        open_header(MARK, item.wrapped.as_bytes()).map(|(version, _)| Some(version)).ok_or(Reason::WrappedKeyRefused.into())
    }

    async fn perform(app: &App, key: &UsableKey, item: &UnwrapBody) -> Result<Unwrapped, OpError> {
        let (_, blob) = open_header(MARK, item.wrapped.as_bytes()).ok_or(Reason::WrappedKeyRefused)?;
        if ![24, 32, 40].contains(&blob.len()) {
            return Err(Reason::WrappedKeyRefused.into());
        }
        let material = match app.hsm.key_unwrap(&key.key, blob.to_vec()).await {
            Err(HsmError::Refused(HsmRefusal::UnwrapFailed)) => return Err(Reason::WrappedKeyRefused.into()),
            other => other?,
        };
        Ok(Unwrapped { key: key.key.name.clone(), version: key.key.version, material: SecretText::of(&material) })
    }
}

/// Unwraps key material.
#[tracing::instrument(skip_all)]
pub async fn key_unwrap(app: &App, context: &Context, key: &KeyName, body: UnwrapBody) -> Result<Unwrapped, OpError> {
    one::<Unwrap>(app, context, key, body).await
}

/// Unwraps many.
#[tracing::instrument(skip_all)]
pub async fn key_unwrap_batch(
    app: &App,
    context: &Context,
    key: &KeyName,
    body: Batch<UnwrapBody>,
) -> Result<BatchAnswer<Unwrapped>, OpError> {
    many::<Unwrap>(app, context, key, &body).await
}
