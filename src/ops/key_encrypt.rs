//! Encrypts with a managed key: AES-GCM, the nonce drawn by the token. The ciphertext says which version opens it:
//! `TWC1` | version, 32 bits big endian | nonce, 12 bytes | ciphertext | tag, 16 bytes.

use serde::{Deserialize, Serialize};
use tillward_hsm::KeyName;
use utoipa::ToSchema;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::kms::{Batch, BatchAnswer, LONGEST, Verb, associated, header, many, one};
use super::usable_key::{UsableKey, Use};
use crate::app::App;
use crate::authz::Action;
use crate::schema;
use crate::wire::Secret;
use crate::wire::b64url::{self, Bounded};

/// The form of a ciphertext.
pub(super) const MARK: [u8; 4] = *b"TWC1";
/// Longest associated data.
pub(super) const MOST_ASSOCIATED: usize = 8 * 1024;

/// What is to be encrypted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EncryptBody {
    /// At most 32 KiB.
    #[schema(schema_with = schema::base64url::<0, 32768>)]
    pub plaintext: Secret<0, LONGEST>,
    /// Authenticated and not kept: it has to be given again to decrypt. At most 8 KiB.
    #[schema(schema_with = schema::optional::base64url::<0, 8192>, required = false)]
    pub associated_data: Option<Bounded<MOST_ASSOCIATED>>,
    /// With which version; without it, the primary one.
    #[schema(schema_with = schema::optional::key_version, required = false)]
    pub version: Option<u32>,
}

/// A ciphertext.
#[derive(Debug, Serialize, ToSchema)]
pub struct Encrypted {
    /// The key.
    #[schema(schema_with = schema::key_name)]
    pub key: KeyName,
    /// Its version.
    pub version: u32,
    /// Opaque; says the version itself.
    #[serde(with = "b64url")]
    #[schema(schema_with = schema::base64url::<36, 32804>)]
    pub ciphertext: Vec<u8>,
}

struct Encrypt;

impl Verb for Encrypt {
    type Item = EncryptBody;
    type Done = Encrypted;
    const ACTION: Action = Action::KeyEncrypt;
    const USE: Use = Use::Protect;

    fn version(item: &EncryptBody) -> Result<Option<u32>, Refusal> {
        Ok(item.version)
    }

    async fn perform(app: &App, key: &UsableKey, item: &EncryptBody) -> Result<Encrypted, OpError> {
        let header = header(MARK, key.key.version);
        let data = item.associated_data.as_ref().map_or(&[][..], Bounded::as_bytes);
        let sealed = app.hsm.key_encrypt(&key.key, associated(header, &key.key.name, data), item.plaintext.expose_secret()).await?;
        Ok(Encrypted { key: key.key.name.clone(), version: key.key.version, ciphertext: [&header[..], &sealed].concat() })
    }
}

/// Encrypts.
#[tracing::instrument(skip_all)]
pub async fn key_encrypt(app: &App, context: &Context, key: &KeyName, body: EncryptBody) -> Result<Encrypted, OpError> {
    one::<Encrypt>(app, context, key, body).await
}

/// Encrypts many.
#[tracing::instrument(skip_all)]
pub async fn key_encrypt_batch(
    app: &App,
    context: &Context,
    key: &KeyName,
    body: Batch<EncryptBody>,
) -> Result<BatchAnswer<Encrypted>, OpError> {
    many::<Encrypt>(app, context, key, &body).await
}
