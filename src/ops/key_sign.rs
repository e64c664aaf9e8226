//! Signs with a managed key.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha384};
use tillward_hsm::{KeyAlgorithm, KeyName, SignatureScheme};
use utoipa::ToSchema;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::kms::{Batch, BatchAnswer, LONGEST, Verb, many, one};
use super::reason::Reason;
use super::usable_key::{UsableKey, Use};
use crate::app::App;
use crate::authz::Action;
use crate::schema;
use crate::wire::b64url::{self, Bounded};

/// What is to be signed: the message or its digest.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignBody {
    /// The message, at most 32 KiB; it is hashed as the algorithm says.
    #[schema(schema_with = schema::optional::base64url::<0, 32768>, required = false)]
    pub message: Option<Bounded<LONGEST>>,
    /// Its digest: SHA-256, for ES384 SHA-384. `EdDSA` signs messages only.
    #[schema(schema_with = schema::optional::base64url::<32, 48>, required = false)]
    #[serde(default, deserialize_with = "digest")]
    pub digest: Option<Bounded<64>>,
    /// How; without it, the key's own way (RSA: PS256).
    #[schema(schema_with = schema::optional::signature_scheme, required = false)]
    pub algorithm: Option<SignatureScheme>,
    /// With which version; without it, the primary one.
    #[schema(schema_with = schema::optional::key_version, required = false)]
    pub version: Option<u32>,
}

/// A signature.
#[derive(Debug, Serialize, ToSchema)]
pub struct Signed {
    /// The key.
    #[schema(schema_with = schema::key_name)]
    pub key: KeyName,
    /// Its version.
    pub version: u32,
    /// How it was made.
    #[schema(schema_with = schema::signature_scheme)]
    pub algorithm: SignatureScheme,
    /// As in a JWS (RFC 7515): for ECDSA `r` | `s`.
    #[serde(with = "b64url")]
    #[schema(schema_with = schema::base64url::<64, 512>)]
    pub signature: Vec<u8>,
}

struct Sign;

impl Verb for Sign {
    type Item = SignBody;
    type Done = Signed;
    const ACTION: Action = Action::KeySign;
    const USE: Use = Use::Protect;

    fn version(item: &SignBody) -> Result<Option<u32>, Refusal> {
        Ok(item.version)
    }

    async fn perform(app: &App, key: &UsableKey, item: &SignBody) -> Result<Signed, OpError> {
        let algorithm = scheme(key.key.algorithm, item.algorithm)?;
        let input = input(algorithm, item.message.as_ref().map(Bounded::as_bytes), item.digest.as_ref().map(Bounded::as_bytes))?;
        let signature = app.hsm.key_sign(&key.key, algorithm, input).await?;
        Ok(Signed { key: key.key.name.clone(), version: key.key.version, algorithm, signature })
    }
}

/// Signs.
#[tracing::instrument(skip_all)]
pub async fn key_sign(app: &App, context: &Context, key: &KeyName, body: SignBody) -> Result<Signed, OpError> {
    one::<Sign>(app, context, key, body).await
}

/// Signs many.
#[tracing::instrument(skip_all)]
pub async fn key_sign_batch(app: &App, context: &Context, key: &KeyName, body: Batch<SignBody>) -> Result<BatchAnswer<Signed>, OpError> {
    many::<Sign>(app, context, key, &body).await
}

/// The scheme that was asked for, if the key has it.
pub(super) fn scheme(algorithm: KeyAlgorithm, asked: Option<SignatureScheme>) -> Result<SignatureScheme, Refusal> {
    let all = SignatureScheme::of(algorithm);
    let scheme = asked.or_else(|| all.first().copied()).filter(|scheme| all.contains(scheme));
    scheme.ok_or_else(|| Reason::KeyPurpose.with(format!("algorithm: not one of a key {}", algorithm.name())))
}

/// SHA-256 or SHA-384; which one is the key's affair.
pub(super) fn digest<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Bounded<64>>, D::Error> {
    let digest = Option::<Bounded<64>>::deserialize(deserializer)?;
    match digest.as_ref().map(|digest| digest.as_bytes().len()) {
        None | Some(32 | 48) => Ok(digest),
        Some(_) => Err(serde::de::Error::custom("a digest of 32 or 48 bytes")),
    }
}

/// What the token signs: a digest, for Ed25519 the message.
pub(super) fn input(scheme: SignatureScheme, message: Option<&[u8]>, digest: Option<&[u8]>) -> Result<Vec<u8>, Refusal> {
    let length = match scheme {
        SignatureScheme::Es256 | SignatureScheme::Ps256 | SignatureScheme::Rs256 => 32,
        SignatureScheme::Es384 => 48,
        SignatureScheme::EdDsa => 0,
    };
    match (message, digest) {
        (Some(message), None) => Ok(match scheme {
            SignatureScheme::EdDsa => message.to_vec(),
            SignatureScheme::Es384 => Sha384::digest(message).to_vec(),
            SignatureScheme::Es256 | SignatureScheme::Ps256 | SignatureScheme::Rs256 => Sha256::digest(message).to_vec(),
        }),
        (None, Some(_)) if length == 0 => Err(Reason::Malformed.with("digest: EdDSA signs messages")),
        (None, Some(digest)) if digest.len() == length => Ok(digest.to_vec()),
        (None, Some(_)) => Err(Reason::Malformed.with(format!("digest: {length} bytes for {}", scheme.name()))),
        _ => Err(Reason::Malformed.with("message or digest: one of them")),
    }
}
