//! Verifies a MAC of a managed key, on the token or in constant time.

use serde::Deserialize;
use tillward_hsm::{HsmError, KeyName, Refusal as HsmRefusal};
use utoipa::ToSchema;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::key_verify::Verdict;
use super::kms::{Batch, BatchAnswer, LONGEST, Verb, many, one};
use super::usable_key::{UsableKey, Use};
use crate::app::App;
use crate::authz::Action;
use crate::schema;
use crate::wire::b64url::Bounded;

/// A MAC, and what it covers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyMacBody {
    /// At most 32 KiB.
    #[schema(schema_with = schema::base64url::<0, 32768>)]
    pub message: Bounded<LONGEST>,
    /// The MAC, whole: a shorter one is wrong.
    #[schema(schema_with = schema::base64url::<0, 32>)]
    pub mac: Bounded<32>,
    /// The version that made it; without it, the primary one.
    #[schema(schema_with = schema::optional::key_version, required = false)]
    pub version: Option<u32>,
}

struct VerifyMac;

impl Verb for VerifyMac {
    type Item = VerifyMacBody;
    type Done = Verdict;
    const ACTION: Action = Action::KeyVerifyMac;
    const USE: Use = Use::Process;
    const AUDITED: bool = false;

    fn version(item: &VerifyMacBody) -> Result<Option<u32>, Refusal> {
        Ok(item.version)
    }

    async fn perform(app: &App, key: &UsableKey, item: &VerifyMacBody) -> Result<Verdict, OpError> {
        let (message, mac) = (item.message.as_bytes().to_vec(), item.mac.as_bytes().to_vec());
        let valid = match app.hsm.key_verify_mac(&key.key, message, mac).await {
            Ok(()) => true,
            Err(HsmError::Refused(HsmRefusal::MacMismatch)) => false,
            Err(error) => return Err(error.into()),
        };
        Ok(Verdict { key: key.key.name.clone(), version: key.key.version, valid })
    }
}

/// Verifies a MAC.
#[tracing::instrument(skip_all)]
pub async fn key_verify_mac(app: &App, context: &Context, key: &KeyName, body: VerifyMacBody) -> Result<Verdict, OpError> {
    one::<VerifyMac>(app, context, key, body).await
}

/// Verifies many.
#[tracing::instrument(skip_all)]
pub async fn key_verify_mac_batch(
    app: &App,
    context: &Context,
    key: &KeyName,
    body: Batch<VerifyMacBody>,
) -> Result<BatchAnswer<Verdict>, OpError> {
    many::<VerifyMac>(app, context, key, &body).await
}
