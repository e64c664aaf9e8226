//! Verifies a signature of a managed key. In the host: what signs here is verified by the same code everywhere, Ed25519 on the token.

use serde::{Deserialize, Serialize};
use tillward_hsm::{KeyName, SignatureScheme};
use utoipa::ToSchema;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::key_sign::{digest, input, scheme};
use super::kms::{Batch, BatchAnswer, LONGEST, Verb, many, one};
use super::usable_key::{UsableKey, Use};
use crate::app::App;
use crate::authz::Action;
use crate::schema;
use crate::wire::b64url::Bounded;

/// A signature, and what it is over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyBody {
    /// The message, at most 32 KiB.
    #[schema(schema_with = schema::optional::base64url::<0, 32768>, required = false)]
    pub message: Option<Bounded<LONGEST>>,
    /// Its digest.
    #[schema(schema_with = schema::optional::base64url::<32, 48>, required = false)]
    #[serde(default, deserialize_with = "digest")]
    pub digest: Option<Bounded<64>>,
    /// The signature.
    #[schema(schema_with = schema::base64url::<0, 512>)]
    pub signature: Bounded<512>,
    /// How it was made; without it, the key's own way (RSA: PS256).
    #[schema(schema_with = schema::optional::signature_scheme, required = false)]
    pub algorithm: Option<SignatureScheme>,
    /// The version that made it; without it, the primary one.
    #[schema(schema_with = schema::optional::key_version, required = false)]
    pub version: Option<u32>,
}

/// Whether it is right.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verdict {
    /// The key.
    #[schema(schema_with = schema::key_name)]
    pub key: KeyName,
    /// Its version.
    pub version: u32,
    /// Whether it is right.
    pub valid: bool,
}

struct Verify;

impl Verb for Verify {
    type Item = VerifyBody;
    type Done = Verdict;
    const ACTION: Action = Action::KeyVerify;
    const USE: Use = Use::Process;
    const AUDITED: bool = false;

    fn version(item: &VerifyBody) -> Result<Option<u32>, Refusal> {
        Ok(item.version)
    }

    async fn perform(app: &App, key: &UsableKey, item: &VerifyBody) -> Result<Verdict, OpError> {
        let algorithm = scheme(key.key.algorithm, item.algorithm)?;
        let input = input(algorithm, item.message.as_ref().map(Bounded::as_bytes), item.digest.as_ref().map(Bounded::as_bytes))?;
        let valid = app.hsm.key_verify(&key.key, algorithm, input, item.signature.as_bytes().to_vec()).await?;
        Ok(Verdict { key: key.key.name.clone(), version: key.key.version, valid })
    }
}

/// Verifies a signature.
#[tracing::instrument(skip_all)]
pub async fn key_verify(app: &App, context: &Context, key: &KeyName, body: VerifyBody) -> Result<Verdict, OpError> {
    one::<Verify>(app, context, key, body).await
}

/// Verifies many.
#[tracing::instrument(skip_all)]
pub async fn key_verify_batch(
    app: &App,
    context: &Context,
    key: &KeyName,
    body: Batch<VerifyBody>,
) -> Result<BatchAnswer<Verdict>, OpError> {
    many::<Verify>(app, context, key, &body).await
}
