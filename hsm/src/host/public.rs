//! Public halves: read from the token, written as `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7), used to verify what the token signed.

use cryptoki::error::Error;
use cryptoki::object::{AttributeType, ObjectHandle};
use der::asn1::{BitString, Null, OctetStringRef, UintRef};
use der::oid::ObjectIdentifier;
use der::{Any, Decode, Encode, Sequence};
use p256::pkcs8::EncodePublicKey;
use rsa::pkcs8::DecodePublicKey;
use sha2::Sha256;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::object::bytes;
use super::pool::Session;
use super::templates;
use crate::managed::SignatureScheme;
use crate::model::KeyKind;

/// A public key in its DER form; ECDSA and RSA keys can verify.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    pub(super) spki: Vec<u8>,
    verifying: Verifying,
}

#[derive(Debug, Clone)]
enum Verifying {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Rsa(Box<rsa::RsaPublicKey>),
    /// Verified on the token where needed.
    Elsewhere,
}

/// RFC 8017 A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// RFC 8017 A.1: rsaEncryption.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

impl PublicKey {
    /// Whether `signature` (`r` | `s`) is over `digest`. False for a key that is not ECDSA.
    pub(super) fn verifies(&self, digest: &[u8], signature: &[u8]) -> bool {
        use p256::ecdsa::signature::hazmat::PrehashVerifier;
        match &self.verifying {
            Verifying::P256(key) => {
                p256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
            }
            Verifying::P384(key) => {
                p384::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
            }
            Verifying::Rsa(_) | Verifying::Elsewhere => false,
        }
    }

    /// Whether `signature` is over `digest` by that scheme. False for a key of another, and for Ed25519.
    pub(super) fn verifies_as(&self, scheme: SignatureScheme, digest: &[u8], signature: &[u8]) -> bool {
        match (scheme, &self.verifying) {
            (SignatureScheme::Es256, Verifying::P256(_)) | (SignatureScheme::Es384, Verifying::P384(_)) => self.verifies(digest, signature),
            (SignatureScheme::Ps256, Verifying::Rsa(key)) => key.verify(rsa::Pss::<Sha256>::new(), digest, signature).is_ok(),
            (SignatureScheme::Rs256, Verifying::Rsa(key)) => key.verify(rsa::Pkcs1v15Sign::new::<Sha256>(), digest, signature).is_ok(),
            _ => false,
        }
    }

    /// The agreed value with a secret key in software, for the probe. `None` for a key that is not on P-256.
    pub(super) fn agree(&self, secret: &p256::SecretKey) -> Option<p256::ecdh::SharedSecret> {
        let Verifying::P256(key) = &self.verifying else { return None };
        Some(p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), key.as_affine()))
    }
}

/// Reads a public key object; `None` where its attributes are not a key of `kind`.
pub(super) fn read(session: &Session, object: ObjectHandle, kind: KeyKind) -> Result<Option<PublicKey>, Error> {
    Ok(match kind {
        KeyKind::Rsa => {
            let modulus = bytes(session, object, AttributeType::Modulus)?;
            let exponent = bytes(session, object, AttributeType::PublicExponent)?;
            modulus.zip(exponent).and_then(|(modulus, exponent)| rsa(&modulus, &exponent))
        }
        KeyKind::P256 | KeyKind::P384 | KeyKind::Ed25519 => {
            bytes(session, object, AttributeType::EcPoint)?.and_then(|point| ec(kind, &point))
        }
        KeyKind::GenericSecret | KeyKind::Aes => None,
    })
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<PublicKey> {
    let key = RsaPublicKey { modulus: UintRef::new(modulus).ok()?, exponent: UintRef::new(exponent).ok()? }.to_der().ok()?;
    let algorithm = AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(Any::from(Null)) };
    let public = info(algorithm, &key)?;
    let key = rsa::RsaPublicKey::from_public_key_der(&public.spki).ok()?;
    Some(PublicKey { verifying: Verifying::Rsa(Box::new(key)), ..public })
}

fn info(algorithm: AlgorithmIdentifierOwned, key: &[u8]) -> Option<PublicKey> {
    let info = SubjectPublicKeyInfoOwned { algorithm, subject_public_key: BitString::from_bytes(key).ok()? };
    Some(PublicKey { spki: info.to_der().ok()?, verifying: Verifying::Elsewhere })
}

/// `CKA_EC_POINT` is a DER OCTET STRING (PKCS#11 3.0 §6.3.3); some modules give the bare point.
fn ec(kind: KeyKind, point: &[u8]) -> Option<PublicKey> {
    let point = <&OctetStringRef>::from_der(point).map_or(point, OctetStringRef::as_bytes);
    match kind {
        KeyKind::P256 => {
            let key = p256::PublicKey::from_sec1_bytes(point).ok()?;
            let spki = key.to_public_key_der().ok()?.into_vec();
            Some(PublicKey { spki, verifying: Verifying::P256(key.into()) })
        }
        KeyKind::P384 => {
            let key = p384::PublicKey::from_sec1_bytes(point).ok()?;
            let spki = key.to_public_key_der().ok()?.into_vec();
            Some(PublicKey { spki, verifying: Verifying::P384(key.into()) })
        }
        // RFC 8410 §4: no parameters.
        KeyKind::Ed25519 if point.len() == 32 => info(AlgorithmIdentifierOwned { oid: templates::ID_ED25519, parameters: None }, point),
        _ => None,
    }
}
