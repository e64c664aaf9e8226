//! The second secret S (docs/protocol.md §3.4 and §5): what the phone made, and what follows from it.

use rsa::pkcs8::DecodePublicKey;
use rsa::traits::{PaddingScheme, PublicKeyParts};
use rsa::{Oaep, RsaPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::derivation::{Usage, derive};
use crate::encoding::Base64Url;
use crate::key::{AesKey, Algorithm};
use crate::ksn::Ikid;
use crate::random::{self, RandomError};

/// 32 random bytes that leave the phone only under the transport key.
pub struct SecondSecret(AesKey);

impl std::fmt::Debug for SecondSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecondSecret(not shown)")
    }
}

impl SecondSecret {
    /// A new one.
    ///
    /// # Errors
    /// [`RandomError`] if the system has no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self::from_bytes(&Zeroizing::new(random::bytes()?)))
    }

    /// From bytes that were kept, or stolen.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes.to_vec());
        Self(AesKey::new(Algorithm::Aes256, bytes).expect("32 bytes are an AES-256 key"))
    }

    /// The secret itself.
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.expose_bytes()
    }

    /// `K_mac`: usage 2002, identifier = IKID of the data key.
    pub fn mac_key(&self, ikid: Ikid) -> AesKey {
        derive(&self.0, Usage::Mac, ikid.bytes())
    }

    /// `K_kek`: usage 0002, identifier = IKID of the data key.
    pub fn personalization_kek(&self, ikid: Ikid) -> AesKey {
        derive(&self.0, Usage::KeyEncryption, ikid.bytes())
    }
}

/// How S is encrypted to the transport key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransportAlgorithm {
    /// RSAES-OAEP with SHA-1 and MGF1-SHA-1 (RFC 8017 §7.1): the only one some tokens have. OAEP does not need
    /// collision resistance.
    #[serde(rename = "RSA-OAEP")]
    RsaOaep,
    /// RSAES-OAEP with SHA-256 for both.
    #[serde(rename = "RSA-OAEP-256")]
    RsaOaep256,
}

/// Why a transport key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Not an RSA key of 3072 bits.
    #[error("the transport key is not an RSA key of 3072 bits")]
    Key,
    /// `kid` is not the SHA-256 of the key.
    #[error("the transport key's id is not its SHA-256")]
    KeyId,
    /// Encryption failed.
    #[error("the second secret could not be encrypted")]
    Encryption,
}

/// The key that phones encrypt second secrets to.
#[derive(Debug)]
pub struct TransportKey {
    kid: String,
    algorithm: TransportAlgorithm,
    key: RsaPublicKey,
}

impl TransportKey {
    /// Reads the `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`TransportError`] if it is no RSA-3072 key, or `kid` is another key's.
    pub fn parse(kid: &str, algorithm: TransportAlgorithm, spki: &[u8]) -> Result<Self, TransportError> {
        if kid != Base64Url::from(Sha256::digest(spki)).to_string() {
            return Err(TransportError::KeyId);
        }
        let key = RsaPublicKey::from_public_key_der(spki).map_err(|_| TransportError::Key)?;
        if key.n().bits() != 3072 {
            return Err(TransportError::Key);
        }
        Ok(Self { kid: kid.to_owned(), algorithm, key })
    }

    /// The key's id: base64url of the SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// RSA-OAEP(transport key, S) with an empty label: 384 bytes.
    ///
    /// # Errors
    /// [`TransportError::Encryption`] if the system has no random bytes.
    pub fn wrap(&self, secret: &SecondSecret) -> Result<Vec<u8>, TransportError> {
        let rng = &mut getrandom::SysRng;
        let wrapped = match self.algorithm {
            TransportAlgorithm::RsaOaep => Oaep::<sha1::Sha1>::new().encrypt(rng, &self.key, secret.expose_bytes()),
            TransportAlgorithm::RsaOaep256 => Oaep::<Sha256>::new().encrypt(rng, &self.key, secret.expose_bytes()),
        };
        wrapped.map_err(|_| TransportError::Encryption)
    }
}
