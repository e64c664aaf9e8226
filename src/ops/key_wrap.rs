//! Wraps key material that the caller brings: AES-KWP (RFC 5649). The blob says which version opens it:
//! `TWW1` | version, 32 bits big endian | KWP.

use serde::{Deserialize, Serialize};
use tillward_hsm::KeyName;
use utoipa::ToSchema;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::kms::{Batch, BatchAnswer, Verb, header, many, one};
use super::reason::Reason;
use super::usable_key::{UsableKey, Use};
use crate::app::App;
use crate::authz::Action;
use crate::schema;
use crate::wire::Secret;
use crate::wire::b64url;

/// The form of a wrapped key.
pub(super) const MARK: [u8; 4] = *b"TWW1";

/// Key material that is to be wrapped.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WrapBody {
    /// 16, 24 or 32 bytes.
    #[schema(schema_with = schema::base64url::<16, 32>)]
    pub material: Secret<16, 32>,
    /// With which version; without it, the primary one.
    #[schema(schema_with = schema::optional::key_version, required = false)]
    pub version: Option<u32>,
}

/// A wrapped key.
#[derive(Debug, Serialize, ToSchema)]
pub struct Wrapped {
    /// The key that wraps.
    #[schema(schema_with = schema::key_name)]
    pub key: KeyName,
    /// Its version.
    pub version: u32,
    /// Opaque; says the version itself.
    #[serde(with = "b64url")]
    #[schema(schema_with = schema::base64url::<32, 48>)]
    pub wrapped: Vec<u8>,
}

struct Wrap;

impl Verb for Wrap {
    type Item = WrapBody;
    type Done = Wrapped;
    const ACTION: Action = Action::KeyWrap;
    const USE: Use = Use::Protect;

    fn version(item: &WrapBody) -> Result<Option<u32>, Refusal> {
        Ok(item.version)
    }

    async fn perform(app: &App, key: &UsableKey, item: &WrapBody) -> Result<Wrapped, OpError> {
        let material = item.material.expose_secret();
        if ![16, 24, 32].contains(&material.len()) {
            return Err(Reason::Malformed.with("material: 16, 24 or 32 bytes").into());
        }
        let blob = app.hsm.key_wrap(&key.key, material).await?;
        let wrapped = [&header(MARK, key.key.version)[..], &blob].concat();
        Ok(Wrapped { key: key.key.name.clone(), version: key.key.version, wrapped })
    }
}

/// Wraps key material.
#[tracing::instrument(skip_all)]
pub async fn key_wrap(app: &App, context: &Context, key: &KeyName, body: WrapBody) -> Result<Wrapped, OpError> {
    one::<Wrap>(app, context, key, body).await
}

/// Wraps many.
#[tracing::instrument(skip_all)]
pub async fn key_wrap_batch(app: &App, context: &Context, key: &KeyName, body: Batch<WrapBody>) -> Result<BatchAnswer<Wrapped>, OpError> {
    many::<Wrap>(app, context, key, &body).await
}
