//! What an enrolled phone sends (docs/protocol.md §4).

use crate::attestation::evidence::RawEvidence;
use crate::enrolment::request::MAX_CSR;
use crate::jose;
use crate::wire::{Object, ParseError};

/// What an enrolled device may ask a challenge for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DevicePurpose {
    /// An attestation.
    Attest,
    /// A certificate renewal.
    Renew,
}

/// `POST /device/v1/devices/{device}/challenge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChallengeRequest {
    /// What for.
    pub purpose: DevicePurpose,
}

impl ChallengeRequest {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError`] with the member at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut object = Object::parse(body)?;
        let purpose = match object.text("purpose", 16)?.as_str() {
            "attest" => DevicePurpose::Attest,
            "renew" => DevicePurpose::Renew,
            _ => return Err(ParseError::new("purpose", "attest or renew")),
        };
        object.finish()?;
        Ok(Self { purpose })
    }
}

/// `POST /device/v1/devices/{device}/attestation`.
#[derive(Debug)]
pub struct AttestationRequest {
    /// The challenge, a JWS.
    pub challenge: String,
    /// The evidence; it parses against what the challenge demands.
    pub evidence: RawEvidence,
    /// AES-CMAC(`K_mac`, SHA-256(M)).
    pub mac: [u8; 16],
    /// ECDSA-SHA256 by the merchant key over M, `r ‖ s`.
    pub signature: Option<[u8; 64]>,
}

impl AttestationRequest {
    /// Parses the body. `signature` is absent or a signature, never `null`.
    ///
    /// # Errors
    /// [`ParseError`] with the member at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut object = Object::parse(body)?;
        let challenge = object.text("challenge", jose::MAX_LENGTH)?;
        let evidence = RawEvidence::take(&mut object)?;
        let mac = object.array("mac")?;
        let signature = if object.has("signature") { Some(object.array("signature")?) } else { None };
        object.finish()?;
        Ok(Self { challenge, evidence, mac, signature })
    }
}

/// `POST /device/v1/devices/{device}/certificate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalRequest {
    /// The challenge, a JWS.
    pub challenge: String,
    /// PKCS#10 in DER, with the enrolled key.
    pub csr: Vec<u8>,
    /// AES-CMAC(`K_mac`, transcript).
    pub mac: [u8; 16],
}

impl RenewalRequest {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError`] with the member at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut object = Object::parse(body)?;
        let challenge = object.text("challenge", jose::MAX_LENGTH)?;
        let csr = object.bytes("csr", 1..=MAX_CSR)?;
        let mac = object.array("mac")?;
        object.finish()?;
        Ok(Self { challenge, csr, mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::b64url;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn bytes(body: &Value) -> Vec<u8> {
        serde_json::to_vec(body).expect("JSON")
    }

    fn attestation() -> Value {
        json!({"challenge": "a.b.c", "evidence": {}, "mac": b64url::encode(&[6; 16]), "signature": b64url::encode(&[7; 64])})
    }

    fn renewal() -> Value {
        json!({"challenge": "a.b.c", "csr": b64url::encode(&[5; 90]), "mac": b64url::encode(&[6; 16])})
    }

    #[test]
    fn the_signature_is_absent_or_64_bytes() {
        let parse = |body: &Value| AttestationRequest::parse(&bytes(body)).map(|request| request.signature);
        let mut body = attestation();
        assert_eq!(parse(&body), Ok(Some([7; 64])));
        body["signature"] = Value::Null;
        assert_eq!(parse(&body).expect_err("null").member, "signature");
        body["signature"] = json!(b64url::encode(&[7; 63]));
        assert_eq!(parse(&body).expect_err("short").member, "signature");
        body.as_object_mut().expect("object").remove("signature");
        assert_eq!(parse(&body), Ok(None));
    }

    #[test]
    fn missing_and_unknown_members_are_refused() {
        for member in ["challenge", "evidence", "mac"] {
            let mut body = attestation();
            body.as_object_mut().expect("object").remove(member);
            assert_eq!(AttestationRequest::parse(&bytes(&body)).expect_err("missing").member, member);
        }
        for member in ["challenge", "csr", "mac"] {
            let mut body = renewal();
            body.as_object_mut().expect("object").remove(member);
            assert_eq!(RenewalRequest::parse(&bytes(&body)).expect_err("missing").member, member);
        }
        for mut body in [attestation(), renewal()] {
            body["more"] = json!(1);
            assert!(AttestationRequest::parse(&bytes(&body)).is_err() && RenewalRequest::parse(&bytes(&body)).is_err());
        }
    }

    #[test]
    fn a_device_asks_for_two_purposes_only() {
        let parse = |body: &str| ChallengeRequest::parse(body.as_bytes()).map(|request| request.purpose);
        assert_eq!(parse(r#"{"purpose":"attest"}"#), Ok(DevicePurpose::Attest));
        assert_eq!(parse(r#"{"purpose":"renew"}"#), Ok(DevicePurpose::Renew));
        for bad in [r#"{"purpose":"enrol"}"#, r#"{"purpose":"Attest"}"#, r#"{"purpose":["attest"]}"#, r#"{"purpose":"renew","x":0}"#, "{}"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_changed_body_panics_and_what_parses_keeps_its_bytes(at in any::<prop::sample::Index>(), with in any::<u8>(), mac: [u8; 16]) {
            for mut body in [attestation(), renewal()] {
                body["mac"] = json!(b64url::encode(&mac));
                let mut bytes = bytes(&body);
                if let Ok(request) = RenewalRequest::parse(&bytes) { prop_assert_eq!(request.mac, mac); }
                if let Ok(request) = AttestationRequest::parse(&bytes) { prop_assert_eq!(request.mac, mac); }
                let at = at.index(bytes.len());
                bytes[at] = with;
                let _ = (RenewalRequest::parse(&bytes), AttestationRequest::parse(&bytes), ChallengeRequest::parse(&bytes));
            }
        }
    }
}
