//! Public keys of the merchant PKI: P-256 for all but the root, which is P-384.

use der::asn1::{Any, BitString};
use der::{Decode, Encode};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest as _, Sha256, Sha384};
use spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};

/// RFC 5480 §2.1.1.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// RFC 5758 §3.2.
pub(super) const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");

/// Which curve; it decides hash and signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// ECDSA with SHA-256.
    P256,
    /// ECDSA with SHA-384.
    P384,
}

/// A point on its curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// On P-256.
    P256(p256::ecdsa::VerifyingKey),
    /// On P-384.
    P384(p384::ecdsa::VerifyingKey),
}

/// Not an uncompressed point on P-256 or P-384 in a `SubjectPublicKeyInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an uncompressed EC public key on P-256 or P-384")]
pub struct KeyError;

/// The signature is not `r ‖ s` of this curve, or does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify under the signer's public key")]
pub struct SignatureError;

/// What the signer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// For P-256.
    Sha256([u8; 32]),
    /// For P-384.
    Sha384([u8; 48]),
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha384(bytes) => bytes,
        }
    }
}

impl PublicKey {
    /// Parses a `SubjectPublicKeyInfo` in DER, whole input.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        SubjectPublicKeyInfoOwned::from_der(der).map_err(|_| KeyError).and_then(|spki| Self::from_spki(&spki))
    }

    /// RFC 5480: `id-ecPublicKey`, named curve, uncompressed point (one key has one encoding here).
    pub(super) fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        let curve = spki.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
        let point = spki.subject_public_key.as_bytes().ok_or(KeyError)?;
        if spki.algorithm.oid != EC_PUBLIC_KEY || point.first() != Some(&4) {
            return Err(KeyError);
        }
        match (curve, point.len()) {
            (Some(SECP256R1), 65) => p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P256).map_err(|_| KeyError),
            (Some(SECP384R1), 97) => p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P384).map_err(|_| KeyError),
            _ => Err(KeyError),
        }
    }

    fn point(&self) -> Vec<u8> {
        match self {
            Self::P256(key) => key.to_sec1_point(false).as_bytes().to_vec(),
            Self::P384(key) => key.to_sec1_point(false).as_bytes().to_vec(),
        }
    }

    /// Its curve.
    pub fn curve(&self) -> Curve {
        match self {
            Self::P256(_) => Curve::P256,
            Self::P384(_) => Curve::P384,
        }
    }

    /// The `SubjectPublicKeyInfo`.
    pub(super) fn to_spki(self) -> SubjectPublicKeyInfoOwned {
        let curve = match self {
            Self::P256(_) => SECP256R1,
            Self::P384(_) => SECP384R1,
        };
        let curve = Any::encode_from(&curve).expect("an OID encodes");
        SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid: EC_PUBLIC_KEY, parameters: Some(curve) },
            subject_public_key: BitString::from_bytes(&self.point()).expect("97 bytes at most"),
        }
    }

    /// The `SubjectPublicKeyInfo` in DER.
    ///
    /// # Panics
    /// Never: it is short.
    pub fn to_der(self) -> Vec<u8> {
        self.to_spki().to_der().expect("a short SPKI encodes")
    }

    /// RFC 7093 §2, method 1: the leftmost 160 bits of SHA-256 of the public key (RFC 5280's own method is SHA-1).
    pub fn identifier(&self) -> [u8; 20] {
        let hash: [u8; 32] = Sha256::digest(self.point()).into();
        let mut identifier = [0; 20];
        identifier.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        identifier
    }

    /// How this key signs (RFC 5758 §3.2: parameters absent).
    pub(super) fn algorithm(&self) -> AlgorithmIdentifierOwned {
        let oid = match self {
            Self::P256(_) => ECDSA_SHA256,
            Self::P384(_) => ECDSA_SHA384,
        };
        AlgorithmIdentifierOwned { oid, parameters: None }
    }

    /// The digest of `message` that this key signs.
    pub fn digest(&self, message: &[u8]) -> Digest {
        match self {
            Self::P256(_) => Digest::Sha256(Sha256::digest(message).into()),
            Self::P384(_) => Digest::Sha384(Sha384::digest(message).into()),
        }
    }

    /// Verifies the signer's `r ‖ s` and gives its DER form (RFC 5480 appendix A, `ECDSA-Sig-Value`).
    pub(super) fn verify_raw(&self, message: &[u8], raw: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let der = match self {
            Self::P256(_) => p256::ecdsa::Signature::from_slice(raw).map(|s| s.to_der().as_bytes().to_vec()),
            Self::P384(_) => p384::ecdsa::Signature::from_slice(raw).map(|s| s.to_der().as_bytes().to_vec()),
        }
        .map_err(|_| SignatureError)?;
        self.verify(message, &der)?;
        Ok(der)
    }

    /// Verifies a signature in DER.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, message: &[u8], der: &[u8]) -> Result<(), SignatureError> {
        let digest = self.digest(message);
        match self {
            Self::P256(key) => p256::ecdsa::Signature::from_der(der).and_then(|s| key.verify_prehash(digest.as_ref(), &s)),
            Self::P384(key) => p384::ecdsa::Signature::from_der(der).and_then(|s| key.verify_prehash(digest.as_ref(), &s)),
        }
        .map_err(|_| SignatureError)
    }
}

impl From<p256::ecdsa::VerifyingKey> for PublicKey {
    fn from(key: p256::ecdsa::VerifyingKey) -> Self {
        Self::P256(key)
    }
}

impl From<p384::ecdsa::VerifyingKey> for PublicKey {
    fn from(key: p384::ecdsa::VerifyingKey) -> Self {
        Self::P384(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::tests::key;
    use proptest::prelude::*;

    #[test]
    fn a_key_encodes_as_p256_does_and_parses_back() {
        use p256::pkcs8::EncodePublicKey;
        let key = *key(1).verifying_key();
        let der = key.to_public_key_der().expect("encodes").into_vec();
        assert_eq!(PublicKey::from(key).to_der(), der);
        assert_eq!(PublicKey::from_der(&der), Ok(PublicKey::P256(key)));
    }

    #[test]
    fn other_encodings_of_a_key_are_refused() {
        let der = PublicKey::from(*key(1).verifying_key()).to_der();
        assert_eq!(PublicKey::from_der(&[&der[..], &[0]].concat()), Err(KeyError));
        let mut off_curve = der.clone();
        *off_curve.last_mut().expect("long") ^= 1;
        assert_eq!(PublicKey::from_der(&off_curve), Err(KeyError));
        let mut compressed = PublicKey::from(*key(1).verifying_key()).to_spki();
        compressed.subject_public_key = BitString::from_bytes(key(1).verifying_key().to_sec1_point(true).as_bytes()).expect("33 bytes");
        assert_eq!(PublicKey::from_spki(&compressed), Err(KeyError));
        let mut other_curve = PublicKey::from(*key(1).verifying_key()).to_spki();
        other_curve.algorithm.parameters = Some(Any::encode_from(&SECP384R1).expect("OID"));
        assert_eq!(PublicKey::from_spki(&other_curve), Err(KeyError));
    }

    proptest! {
        #[test]
        fn no_changed_key_panics_and_what_parses_encodes_to_itself(at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut der = PublicKey::from(*key(3).verifying_key()).to_der();
            let at = at.index(der.len());
            der[at] = with;
            if let Ok(key) = PublicKey::from_der(&der) { prop_assert_eq!(key.to_der(), der); }
        }
    }
}
