//! Makes a MAC with a managed key: AES-CMAC (SP 800-38B) or HMAC-SHA-256 (FIPS 198-1).

use serde::{Deserialize, Serialize};
use tillward_hsm::KeyName;
use utoipa::ToSchema;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::kms::{Batch, BatchAnswer, LONGEST, Verb, many, one};
use super::usable_key::{UsableKey, Use};
use crate::app::App;
use crate::authz::Action;
use crate::schema;
use crate::wire::b64url::{self, Bounded};

/// What the MAC is to cover.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacBody {
    /// At most 32 KiB.
    #[schema(schema_with = schema::base64url::<0, 32768>)]
    pub message: Bounded<LONGEST>,
    /// With which version; without it, the primary one.
    #[schema(schema_with = schema::optional::key_version, required = false)]
    pub version: Option<u32>,
}

/// A MAC.
#[derive(Debug, Serialize, ToSchema)]
pub struct Mac {
    /// The key.
    #[schema(schema_with = schema::key_name)]
    pub key: KeyName,
    /// Its version.
    pub version: u32,
    /// 16 bytes (CMAC) or 32 (HMAC).
    #[serde(with = "b64url")]
    #[schema(schema_with = schema::base64url::<16, 32>)]
    pub mac: Vec<u8>,
}

struct Make;

impl Verb for Make {
    type Item = MacBody;
    type Done = Mac;
    const ACTION: Action = Action::KeyMac;
    const USE: Use = Use::Protect;

    fn version(item: &MacBody) -> Result<Option<u32>, Refusal> {
        Ok(item.version)
    }

    async fn perform(app: &App, key: &UsableKey, item: &MacBody) -> Result<Mac, OpError> {
        let mac = app.hsm.key_mac(&key.key, item.message.as_bytes().to_vec()).await?;
        Ok(Mac { key: key.key.name.clone(), version: key.key.version, mac })
    }
}

/// Makes a MAC.
#[tracing::instrument(skip_all)]
pub async fn key_mac(app: &App, context: &Context, key: &KeyName, body: MacBody) -> Result<Mac, OpError> {
    one::<Make>(app, context, key, body).await
}

/// Makes many.
#[tracing::instrument(skip_all)]
pub async fn key_mac_batch(app: &App, context: &Context, key: &KeyName, body: Batch<MacBody>) -> Result<BatchAnswer<Mac>, OpError> {
    many::<Make>(app, context, key, &body).await
}
