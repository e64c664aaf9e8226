//! How the second secret travels (docs/protocol.md §3.2 and §3.4): the service's transport keys, and wrapping to one of them.

use p256::elliptic_curve::Generate;
use p256::pkcs8::DecodePublicKey as _;
use rsa::traits::{PaddingScheme, PublicKeyParts};
use rsa::{Oaep, RsaPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::encoding::Base64Url;
use crate::key::{AesKey, Algorithm};
use crate::secret::SecondSecret;

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
    /// Key agreement on P-256 with the X9.63 derivation, then AES-KWP (RFC 5753, RFC 5649).
    #[serde(rename = "ECDH-X963-SHA256-A256KWP")]
    Ecdh,
    /// One of a later time.
    #[serde(other)]
    Unknown,
}

/// A transport key as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportClaims {
    /// base64url SHA-256 of `spki`.
    pub kid: String,
    /// How to encrypt.
    pub alg: TransportAlgorithm,
    /// `SubjectPublicKeyInfo`.
    pub spki: Base64Url,
}

/// Why a transport key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The parameters offer nothing that this phone knows.
    #[error("no transport key of a known algorithm")]
    NoneKnown,
    /// Not a key of the algorithm.
    #[error("the transport key is not an RSA key of 3072 bits, or not a P-256 key")]
    Key,
    /// `kid` is not the SHA-256 of the key.
    #[error("the transport key's id is not its SHA-256")]
    KeyId,
    /// Encryption failed.
    #[error("the second secret could not be encrypted")]
    Encryption,
}

/// The key that the phone encrypts its second secret to.
#[derive(Debug)]
pub struct TransportKey {
    kid: String,
    key: Key,
}

#[derive(Debug)]
enum Key {
    RsaOaep(RsaPublicKey),
    RsaOaep256(RsaPublicKey),
    Ecdh(p256::PublicKey),
}

impl TransportKey {
    /// The first key of a list, which is in the service's order of preference, whose algorithm this phone knows.
    ///
    /// # Errors
    /// [`TransportError`] if there is none, or the first one does not hold.
    pub fn choose(offered: &[TransportClaims]) -> Result<Self, TransportError> {
        let known = offered.iter().find(|key| key.alg != TransportAlgorithm::Unknown);
        known.ok_or(TransportError::NoneKnown).and_then(Self::parse)
    }

    /// Reads the `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`TransportError`] if it is no key of the algorithm, or `kid` is another key's.
    pub fn parse(claims: &TransportClaims) -> Result<Self, TransportError> {
        let TransportClaims { kid, alg, spki: Base64Url(spki) } = claims;
        if *kid != Base64Url::from(Sha256::digest(spki)).to_string() {
            return Err(TransportError::KeyId);
        }
        let rsa = || {
            let key = RsaPublicKey::from_public_key_der(spki).ok().filter(|key| key.n().bits() == 3072);
            key.ok_or(TransportError::Key)
        };
        let key = match alg {
            TransportAlgorithm::RsaOaep => Key::RsaOaep(rsa()?),
            TransportAlgorithm::RsaOaep256 => Key::RsaOaep256(rsa()?),
            TransportAlgorithm::Ecdh => Key::Ecdh(p256::PublicKey::from_public_key_der(spki).map_err(|_| TransportError::Key)?),
            TransportAlgorithm::Unknown => return Err(TransportError::NoneKnown),
        };
        Ok(Self { kid: kid.clone(), key })
    }

    /// The key's id: base64url of the SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// S for the service: an RSA-OAEP block with an empty label (384 bytes), or the ephemeral point and the wrapped S (105 bytes).
    ///
    /// # Errors
    /// [`TransportError::Encryption`] if the system has no random bytes.
    pub fn wrap(&self, secret: &SecondSecret) -> Result<Vec<u8>, TransportError> {
        let rng = &mut getrandom::SysRng;
        let wrapped = match &self.key {
            Key::RsaOaep(key) => Oaep::<sha1::Sha1>::new().encrypt(rng, key, secret.expose_bytes()),
            Key::RsaOaep256(key) => Oaep::<Sha256>::new().encrypt(rng, key, secret.expose_bytes()),
            Key::Ecdh(key) => {
                let ephemeral = p256::SecretKey::try_generate().map_err(|_| TransportError::Encryption)?;
                return Ok(wrap_by_agreement(key, &ephemeral, secret));
            }
        };
        wrapped.map_err(|_| TransportError::Encryption)
    }
}

/// DER of RFC 5753's `ECC-CMS-SharedInfo`: `keyInfo` is id-aes256-wrap-pad, `suppPubInfo` 256 bits.
pub(crate) const SHARED_INFO: &[u8] = b"\x30\x15\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x30\xa2\x06\x04\x04\x00\x00\x01\x00";

/// X9.63 with SHA-256 over the agreed value and [`SHARED_INFO`]; 32 bytes are one block of it.
pub(crate) fn agreed_key(private: &p256::SecretKey, public: &p256::PublicKey) -> AesKey {
    let agreed = p256::ecdh::diffie_hellman(private.to_nonzero_scalar(), public.as_affine());
    let mut hash = Sha256::new();
    for part in [agreed.raw_secret_bytes().as_slice(), &[0, 0, 0, 1], SHARED_INFO] {
        hash.update(part);
    }
    AesKey::new(Algorithm::Aes256, Zeroizing::new(hash.finalize().to_vec())).expect("32 bytes")
}

/// The ephemeral public key as an uncompressed point, then AES-KWP(KEK, S).
pub(crate) fn wrap_by_agreement(key: &p256::PublicKey, ephemeral: &p256::SecretKey, secret: &SecondSecret) -> Vec<u8> {
    let mut wrapped = ephemeral.public_key().to_sec1_bytes().to_vec();
    wrapped.extend(agreed_key(ephemeral, key).wrap(secret.expose_bytes()));
    wrapped
}
