//! Certificate requests (PKCS#10, RFC 2986): proof that the phone holds the key it wants certified. Nothing else is taken.

use der::{Decode, Encode};
use sha2::{Digest, Sha256};
use x509_cert::request::CertReq;

use super::key::{ECDSA_SHA256, PublicKey};
use crate::enrolment::request::MAX_CSR;
use crate::enrolment::transcript::MacVerified;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one PKCS#10 request in DER of at most 4096 bytes.
    #[error("not a certificate request in DER")]
    Form,
    /// Another key than an EC key on P-256.
    #[error("the request's key is not an uncompressed P-256 key")]
    Key,
    /// Another algorithm than ecdsa-with-SHA256, or the signature does not verify.
    #[error("the request's signature does not verify as ECDSA with SHA-256")]
    Signature,
    /// The phone's MAC was over another request.
    #[error("the MAC covers another request")]
    Mac,
    /// A renewal with another key than the enrolled one.
    #[error("the request holds another key than the enrolled one")]
    KeyChanged,
}

/// A P-256 key whose holder signed the request. Subject, attributes and extensions of the request are gone.
#[derive(Debug)]
pub struct ProvenRequest {
    key: p256::ecdsa::VerifyingKey,
    sha256: [u8; 32],
}

impl ProvenRequest {
    /// Parses the whole of `der` and verifies its proof of possession.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn prove(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_CSR {
            return Err(RequestError::Form);
        }
        let request = CertReq::from_der(der).map_err(|_| RequestError::Form)?;
        // The signature is verified over our encoding; it is theirs only if theirs is DER.
        if request.to_der().ok().as_deref() != Some(der) {
            return Err(RequestError::Form);
        }
        let key = PublicKey::from_spki(&request.info.public_key).map_err(|_| RequestError::Key)?;
        let PublicKey::P256(point) = key else { return Err(RequestError::Key) };
        // RFC 5758 §3.2: no parameters.
        if request.algorithm.oid != ECDSA_SHA256 || request.algorithm.parameters.is_some() {
            return Err(RequestError::Signature);
        }
        let info = request.info.to_der().map_err(|_| RequestError::Form)?;
        let signature = request.signature.as_bytes().ok_or(RequestError::Signature)?;
        key.verify(&info, signature).map_err(|_| RequestError::Signature)?;
        Ok(Self { key: point, sha256: Sha256::digest(der).into() })
    }

    /// The key.
    pub fn key(&self) -> &p256::ecdsa::VerifyingKey {
        &self.key
    }

    /// At an enrolment: the MAC covered this very request.
    ///
    /// # Errors
    /// [`RequestError::Mac`].
    pub fn at_enrolment(self, mac: &MacVerified) -> Result<VouchedRequest, RequestError> {
        if mac.covers_request(&self.sha256) { Ok(VouchedRequest(self.key)) } else { Err(RequestError::Mac) }
    }

    /// At a renewal: the same, and the key is the enrolled one.
    ///
    /// # Errors
    /// [`RequestError::Mac`], [`RequestError::KeyChanged`].
    pub fn at_renewal(self, mac: &MacVerified, enrolled: &p256::ecdsa::VerifyingKey) -> Result<VouchedRequest, RequestError> {
        let same = self.key == *enrolled;
        let vouched = self.at_enrolment(mac)?;
        if same { Ok(vouched) } else { Err(RequestError::KeyChanged) }
    }
}

/// A proven key that the holder of the second secret sent: it may be certified.
#[derive(Debug)]
pub struct VouchedRequest(p256::ecdsa::VerifyingKey);

impl VouchedRequest {
    /// The key.
    pub fn key(&self) -> &p256::ecdsa::VerifyingKey {
        &self.0
    }

    pub(super) fn into_key(self) -> p256::ecdsa::VerifyingKey {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attestation::challenge::tests::verified;
    use crate::attestation::claim::Claim;
    use crate::enrolment::transcript::Transcript;
    use crate::jose::tests::{key, sign};
    use der::asn1::{Any, ObjectIdentifier};
    use der::asn1::{BitString, Null, SetOfVec};
    use proptest::prelude::*;
    use spki::AlgorithmIdentifierOwned;
    use std::str::FromStr;
    use x509_cert::name::Name;
    use x509_cert::request::{CertReqInfo, Version};

    fn unsigned(key: PublicKey) -> CertReq {
        let info = CertReqInfo {
            version: Version::V1,
            subject: Name::from_str("CN=tillward-device").expect("a name"),
            public_key: key.to_spki(),
            attributes: SetOfVec::new(),
        };
        let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None };
        CertReq { info, algorithm, signature: BitString::from_bytes(&[]).expect("empty") }
    }

    fn signed(mut request: CertReq, seed: u8) -> Vec<u8> {
        let digest = Sha256::digest(request.info.to_der().expect("encodes"));
        let raw = sign(&key(seed), &digest);
        let der = p256::ecdsa::Signature::from_slice(&raw).expect("in range").to_der();
        request.signature = BitString::from_bytes(der.as_bytes()).expect("short");
        request.to_der().expect("encodes")
    }

    fn p256_key(seed: u8) -> PublicKey {
        PublicKey::P256(*key(seed).verifying_key())
    }

    #[test]
    fn the_holder_of_the_key_is_proven() {
        let proven = ProvenRequest::prove(&signed(unsigned(p256_key(4)), 4)).expect("proven");
        assert_eq!(proven.key(), key(4).verifying_key());
    }

    #[test]
    fn only_a_mac_over_this_request_vouches_for_it() {
        let challenge = verified("standard", &[Claim::Root], false);
        let der = signed(unsigned(p256_key(4)), 4);
        let (mac, other) = (Transcript::renewal(&challenge, &der), Transcript::renewal(&challenge, b"other"));
        let (mac, other) = (MacVerified::by_hsm(mac), MacVerified::by_hsm(other));
        let proven = || ProvenRequest::prove(&der).expect("proven");
        assert!(proven().at_enrolment(&mac).is_ok_and(|vouched| vouched.key() == key(4).verifying_key()));
        assert_eq!(proven().at_enrolment(&other).err(), Some(RequestError::Mac));
        assert!(proven().at_renewal(&mac, key(4).verifying_key()).is_ok());
        assert_eq!(proven().at_renewal(&mac, key(5).verifying_key()).err(), Some(RequestError::KeyChanged));
        assert_eq!(proven().at_renewal(&other, key(5).verifying_key()).err(), Some(RequestError::Mac));
    }

    #[test]
    fn another_signer_is_refused() {
        assert_eq!(ProvenRequest::prove(&signed(unsigned(p256_key(4)), 5)).err(), Some(RequestError::Signature));
    }

    #[test]
    fn other_algorithms_and_parameters_are_refused() {
        let mut request = unsigned(p256_key(4));
        request.algorithm.parameters = Some(Any::encode_from(&Null).expect("NULL"));
        assert_eq!(ProvenRequest::prove(&signed(request, 4)).err(), Some(RequestError::Signature));
        let mut request = unsigned(p256_key(4));
        request.algorithm.oid = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
        assert_eq!(ProvenRequest::prove(&signed(request, 4)).err(), Some(RequestError::Signature));
    }

    #[test]
    fn a_p384_key_is_refused() {
        let p384 = *p384::ecdsa::SigningKey::from_slice(&[4; 48]).expect("in range").verifying_key();
        assert_eq!(ProvenRequest::prove(&signed(unsigned(PublicKey::P384(p384)), 4)).err(), Some(RequestError::Key));
    }

    #[test]
    fn trailing_bytes_and_long_requests_are_refused() {
        let good = signed(unsigned(p256_key(4)), 4);
        assert_eq!(ProvenRequest::prove(&[&good[..], &[0]].concat()).err(), Some(RequestError::Form));
        assert_eq!(ProvenRequest::prove(&vec![0x30; MAX_CSR + 1]).err(), Some(RequestError::Form));
        assert_eq!(ProvenRequest::prove(&[]).err(), Some(RequestError::Form));
    }

    #[test]
    fn a_request_made_by_openssl_is_proven() {
        let Some(der) = super::super::certificate::tests::openssl(
            &[
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                "/dev/null",
                "-subj",
                "/CN=x",
                "-addext",
                "subjectAltName=DNS:ignored.example",
                "-outform",
                "DER",
            ],
            &[],
        ) else {
            return;
        };
        assert!(ProvenRequest::prove(&der).is_ok());
    }

    proptest! {
        #[test]
        fn no_changed_byte_is_proven(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let good = signed(unsigned(p256_key(4)), 4);
            let mut changed = good.clone();
            let at = at.index(changed.len());
            changed[at] = with;
            if changed != good { prop_assert!(ProvenRequest::prove(&changed).is_err()); }
            prop_assert!(ProvenRequest::prove(&good[..cut.index(good.len())]).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ProvenRequest::prove(&bytes).is_err());
        }
    }
}
