//! A software key in the place of the HSM's and of the phone's: fuzzed content is signed, so that it gets past the signature
//! to the parser behind it.

use der::asn1::{BitString, ObjectIdentifier, SetOfVec};
use der::{Decode, Encode};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::request::{CertReq, CertReqInfo, Version};

use crate::clock::UnixTime;
use crate::jose::{Thumbprint, Typ};
use crate::pki::key::PublicKey;
use crate::wire::b64url;

/// `iss` of every challenge made here.
pub const ISSUER: &str = "https://t.example";
/// The device that every challenge made here is for.
pub const DEVICE: &str = "dev_0123456789abcdefghjkmnpqrs";
/// `iat` of every challenge made here.
pub const NOW: UnixTime = UnixTime(1_763_823_600);

/// RFC 5758 §3.2.
pub const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

fn key() -> SigningKey {
    SigningKey::from_slice(&[1; 32]).expect("a scalar in range")
}

fn sign(message: &[u8]) -> Signature {
    key().sign_prehash(&Sha256::digest(message)).expect("32 bytes are enough to sign")
}

/// What verifies everything that is signed here.
pub fn verifying_key() -> VerifyingKey {
    *key().verifying_key()
}

/// A compact JWS over any payload, JSON or not.
pub fn jws(typ: Typ, payload: &[u8]) -> String {
    let kid = Thumbprint::of(&verifying_key());
    let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"{}"}}"#, typ.as_str());
    let input = format!("{}.{}", b64url::encode(header.as_bytes()), b64url::encode(payload));
    let signature = b64url::encode(&sign(input.as_bytes()).to_bytes());
    format!("{input}.{signature}")
}

/// The claims of an attestation challenge that demands these.
pub fn challenge_claims(demanded: &[&str]) -> Value {
    json!({"iss": ISSUER, "sub": DEVICE, "purpose": "attest", "nonce": b64url::encode(&[9; 32]), "iat": NOW.0, "exp": NOW.0 + 300,
        "ikid": "0123456789ABCDEF", "level": "standard", "format": "software", "claims": demanded, "signature": false})
}

/// A request for [`verifying_key`], without its signature.
///
/// # Panics
/// Never.
pub fn unsigned_request() -> CertReq {
    let public_key = SubjectPublicKeyInfoOwned::from_der(&PublicKey::P256(verifying_key()).to_der()).expect("a key");
    let info = CertReqInfo {
        version: Version::V1,
        subject: "CN=tillward-device".parse().expect("a name"),
        public_key,
        attributes: SetOfVec::new(),
    };
    let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None };
    CertReq { info, algorithm, signature: BitString::from_bytes(&[]).expect("empty") }
}

/// The request with a signature that fits it, whatever it says; `None` if it has no DER.
///
/// # Panics
/// Never.
pub fn signed_request(mut request: CertReq) -> Option<Vec<u8>> {
    let signature = sign(&request.info.to_der().ok()?).to_der();
    request.signature = BitString::from_bytes(signature.as_bytes()).expect("72 bytes");
    request.to_der().ok()
}
