//! Decrypts what a managed key encrypted, with the version that the ciphertext names. The plaintext is given out after the audit entry is durable.

use serde::{Deserialize, Serialize};
use tillward_hsm::{HsmError, KeyName, Refusal as HsmRefusal};
use utoipa::ToSchema;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::key_encrypt::{MARK, MOST_ASSOCIATED};
use super::kms::{Batch, BatchAnswer, SecretText, Verb, associated, header, many, one, open_header};
use super::reason::Reason;
use super::usable_key::{UsableKey, Use};
use crate::app::App;
use crate::authz::Action;
use crate::schema;
use crate::wire::b64url::Bounded;

/// A ciphertext, and the associated data that it was made with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecryptBody {
    /// As it was answered to the encryption.
    #[schema(schema_with = schema::base64url::<0, 32804>)]
    pub ciphertext: Bounded<32_804>,
    /// The same as then.
    #[schema(schema_with = schema::optional::base64url::<0, 8192>, required = false)]
    pub associated_data: Option<Bounded<MOST_ASSOCIATED>>,
}

/// A plaintext.
#[derive(Serialize, ToSchema)]
pub struct Plain {
    /// The key.
    #[schema(schema_with = schema::key_name)]
    pub key: KeyName,
    /// Its version.
    pub version: u32,
    /// What was encrypted.
    #[schema(schema_with = schema::base64url::<0, 32768>)]
    plaintext: SecretText,
}

struct Decrypt;

impl Verb for Decrypt {
    type Item = DecryptBody;
    type Done = Plain;
    const ACTION: Action = Action::KeyDecrypt;
    const USE: Use = Use::Process;

    fn version(item: &DecryptBody) -> Result<Option<u32>, Refusal> {
        open_header(MARK, item.ciphertext.as_bytes()).map(|(version, _)| Some(version)).ok_or(Reason::DecryptionFailed.into())
    }

    async fn perform(app: &App, key: &UsableKey, item: &DecryptBody) -> Result<Plain, OpError> {
        let (version, sealed) = open_header(MARK, item.ciphertext.as_bytes()).ok_or(Reason::DecryptionFailed)?;
        // Nonce and tag: shorter is no ciphertext.
        if sealed.len() < 28 {
            return Err(Reason::DecryptionFailed.into());
        }
        let data = item.associated_data.as_ref().map_or(&[][..], Bounded::as_bytes);
        let associated = associated(header(MARK, version), &key.key.name, data);
        let plaintext = match app.hsm.key_decrypt(&key.key, associated, sealed.to_vec()).await {
            Err(HsmError::Refused(HsmRefusal::DecryptionFailed)) => return Err(Reason::DecryptionFailed.into()),
            other => other?,
        };
        Ok(Plain { key: key.key.name.clone(), version: key.key.version, plaintext: SecretText::of(&plaintext) })
    }
}

/// Decrypts.
#[tracing::instrument(skip_all)]
pub async fn key_decrypt(app: &App, context: &Context, key: &KeyName, body: DecryptBody) -> Result<Plain, OpError> {
    one::<Decrypt>(app, context, key, body).await
}

/// Decrypts many.
#[tracing::instrument(skip_all)]
pub async fn key_decrypt_batch(
    app: &App,
    context: &Context,
    key: &KeyName,
    body: Batch<DecryptBody>,
) -> Result<BatchAnswer<Plain>, OpError> {
    many::<Decrypt>(app, context, key, &body).await
}
