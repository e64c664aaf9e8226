//! The phone's own P-256 key, behind its merchant certificate.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::EncodePublicKey;
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Decode, Encode};
use x509_cert::request::{CertReq, CertReqInfo, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use zeroize::Zeroizing;

use crate::certificate::ECDSA_WITH_SHA256;
use crate::random::RandomError;

/// Bytes that are no P-256 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 private key")]
pub struct NotAKey;

/// The private key. Wiped when dropped, never shown.
pub struct MerchantKey(SigningKey);

impl std::fmt::Debug for MerchantKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MerchantKey(P-256, not shown)")
    }
}

impl MerchantKey {
    /// A new key.
    ///
    /// # Errors
    /// [`RandomError`] if the system has no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self(SigningKey::try_generate()?))
    }

    /// The key with this scalar.
    ///
    /// # Errors
    /// [`NotAKey`] if it is zero, too large or not 32 bytes.
    pub fn from_bytes(scalar: &[u8]) -> Result<Self, NotAKey> {
        let scalar: &[u8; 32] = scalar.try_into().map_err(|_| NotAKey)?;
        SigningKey::from_slice(scalar).map(Self).map_err(|_| NotAKey)
    }

    /// The scalar.
    pub fn expose_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.to_bytes().to_vec())
    }

    /// The public key.
    pub fn public(&self) -> &VerifyingKey {
        self.0.verifying_key()
    }

    /// ECDSA-P256-SHA256, `r` ‖ `s`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.0.sign(message);
        signature.to_bytes().into()
    }

    /// A PKCS #10 request (RFC 2986): subject CN = `tillward-device`, no attributes, ECDSA-SHA256. It is put together here
    /// because the crate's builder always adds an extension request, empty if need be, which RFC 5280 §4.1 does not allow.
    pub fn certificate_request(&self) -> Vec<u8> {
        let spki = self.public().to_public_key_der().expect("a P-256 key has an encoding");
        let info = CertReqInfo {
            version: Version::V1,
            subject: "CN=tillward-device".parse().expect("a constant name"),
            public_key: SubjectPublicKeyInfoOwned::from_der(spki.as_bytes()).expect("it was just encoded"),
            attributes: x509_cert::attr::Attributes::default(),
        };
        let signature: DerSignature = self.0.sign(&info.to_der().expect("a short request has an encoding"));
        let request = CertReq {
            info,
            algorithm: AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None },
            signature: BitString::from_bytes(signature.as_bytes()).expect("a signature is short"),
        };
        request.to_der().expect("a short request has an encoding")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::Verifier;

    #[test]
    fn a_request_proves_its_own_key_and_asks_for_nothing() {
        let key = MerchantKey::generate().expect("random bytes");
        let request = CertReq::from_der(&key.certificate_request()).expect("PKCS #10");
        let spki = request.info.public_key.to_der().expect("encodes");
        assert_eq!(spki, key.public().to_public_key_der().expect("encodes").as_bytes());
        assert_eq!(request.info.subject.to_string(), "CN=tillward-device");
        assert!(request.info.attributes.is_empty());
        let signature = DerSignature::try_from(request.signature.raw_bytes()).expect("ECDSA signature");
        key.public().verify(&request.info.to_der().expect("encodes"), &signature).expect("proof of possession");
    }

    #[test]
    fn a_key_survives_its_bytes_and_bad_ones_are_refused() {
        let key = MerchantKey::generate().expect("random bytes");
        let again = MerchantKey::from_bytes(&key.expose_bytes()).expect("a key");
        assert_eq!(again.public(), key.public());
        for bad in [&[0; 32][..], &[0xFF; 32], &[1; 31], &[1; 33], b""] {
            assert_eq!(MerchantKey::from_bytes(bad).err(), Some(NotAKey));
        }
    }
}
