//! What a phone sends to enrol (docs/protocol.md §3.3, §3.5).

use zeroize::Zeroizing;

use crate::attestation::evidence::RawEvidence;
use crate::enrolment::code::ActivationCode;
use crate::id::ActivationId;
use crate::jose;
use crate::wire::{Object, ParseError, b64url};

/// Largest certificate request in DER.
pub const MAX_CSR: usize = 4096;

/// `POST /device/v1/enrolment/challenge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentChallengeRequest {
    /// The activation that the phone wants to use.
    pub activation: ActivationId,
}

impl EnrolmentChallengeRequest {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError`] with the member at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut object = Object::parse(body)?;
        let activation = object.text("activation", 7)?;
        object.finish()?;
        let activation = activation.parse().map_err(|_| ParseError::new("activation", "7 upper-case Crockford base32 symbols"))?;
        Ok(Self { activation })
    }
}

/// `POST /device/v1/enrolment`: well-formed, nothing in it verified yet.
#[derive(Debug)]
pub struct EnrolmentRequest {
    /// The first secret.
    pub code: ActivationCode,
    /// The challenge, a JWS; verify it with [`VerifiedChallenge`](crate::attestation::challenge::VerifiedChallenge).
    pub challenge: String,
    /// SHA-256 of the transport key's SPKI, as the phone has it.
    pub transport_kid: [u8; 32],
    /// The second secret under the transport key: one RSA-3072 or RSA-4096 block, or an ephemeral point and 40 bytes of AES-KWP.
    pub wrapped_secret: Vec<u8>,
    /// PKCS#10 in DER.
    pub csr: Vec<u8>,
    /// The evidence; it parses against what the challenge demands.
    pub evidence: RawEvidence,
    /// AES-CMAC(`K_mac`, T).
    pub mac: [u8; 16],
}

impl EnrolmentRequest {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError`] with the member at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut object = Object::parse(body)?;
        let code = Zeroizing::new(object.text("code", 64)?);
        let code = ActivationCode::parse(&code).map_err(|error| ParseError::new("code", error.rule()))?;
        let challenge = object.text("challenge", jose::MAX_LENGTH)?;
        let transport_kid = object.text("transport_kid", 43)?;
        let transport_kid =
            b64url::decode_array(&transport_kid).ok_or(ParseError::new("transport_kid", "canonical base64url of 32 bytes"))?;
        let wrapped_secret = object.bytes("wrapped_secret", 105..=512)?;
        if !matches!(wrapped_secret.len(), 105 | 384 | 512) {
            return Err(ParseError::new("wrapped_secret", "105, 384 or 512 bytes"));
        }
        let csr = object.bytes("csr", 1..=MAX_CSR)?;
        let evidence = RawEvidence::take(&mut object)?;
        let mac = object.array("mac")?;
        object.finish()?;
        Ok(Self { code, challenge, transport_kid, wrapped_secret, csr, evidence, mac })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    pub(crate) fn body() -> Value {
        json!({
            "code": ActivationCode::from_random([1; 5], &[2; 10]).expose_groups().as_str(),
            "challenge": "a.b.c",
            "transport_kid": b64url::encode(&[3; 32]),
            "wrapped_secret": b64url::encode(&[4; 384]),
            "csr": b64url::encode(&[5; 100]),
            "evidence": {"format": "software", "claims": {"debugger": false}},
            "mac": b64url::encode(&[6; 16]),
        })
    }

    fn parse(body: &Value) -> Result<EnrolmentRequest, ParseError> {
        EnrolmentRequest::parse(&serde_json::to_vec(body).expect("JSON"))
    }

    #[test]
    fn a_whole_request_parses() {
        let request = parse(&body()).expect("parses");
        assert_eq!(request.transport_kid, [3; 32]);
        assert_eq!(request.mac, [6; 16]);
    }

    #[test]
    fn every_missing_member_is_named() {
        for member in ["code", "challenge", "transport_kid", "wrapped_secret", "csr", "evidence", "mac"] {
            let mut body = body();
            body.as_object_mut().expect("object").remove(member);
            assert_eq!(parse(&body).expect_err("refused"), ParseError::new(member, "missing"));
        }
    }

    #[test]
    fn every_bad_member_is_named_and_never_quoted() {
        for (member, bad) in [
            ("code", json!("ABCD-WRONG")),
            ("code", json!(7)),
            ("challenge", json!("")),
            ("challenge", json!("x".repeat(jose::MAX_LENGTH + 1))),
            ("transport_kid", json!(b64url::encode(&[3; 31]))),
            ("wrapped_secret", json!(b64url::encode(&[4; 385]))),
            ("wrapped_secret", json!(b64url::encode(&[4; 256]))),
            ("wrapped_secret", json!(b64url::encode(&[4; 104]))),
            ("wrapped_secret", json!(b64url::encode(&[4; 106]))),
            ("csr", json!("")),
            ("csr", json!(b64url::encode(&[5; MAX_CSR + 1]))),
            ("csr", json!("AB")),
            ("evidence", json!([])),
            ("mac", json!(b64url::encode(&[6; 15]))),
            ("mac", json!("AAAAAAAAAAAAAAAAAAAAAA==")),
            ("mac", Value::Null),
        ] {
            let mut body = body();
            body[member] = bad.clone();
            let error = parse(&body).expect_err("refused");
            assert_eq!(error.member, member, "{bad}");
            assert!(!error.to_string().contains("WRONG"), "{error}");
        }
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let mut body = body();
        body["extra"] = json!(1);
        assert_eq!(parse(&body).expect_err("refused"), ParseError::new("body", "unknown member"));
    }

    #[test]
    fn the_challenge_request_holds_one_activation_id() {
        let parse = |body: &str| EnrolmentChallengeRequest::parse(body.as_bytes()).map(|request| request.activation.to_string());
        assert_eq!(parse(r#"{"activation":"000G40R"}"#), Ok("000G40R".to_owned()));
        for bad in [r#"{"activation":"000G40"}"#, r#"{"activation":"000g40r"}"#, r#"{"activation":"000G40R","x":1}"#, "{}", "[\"000G40R\"]"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_truncated_or_changed_request_panics(cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = serde_json::to_vec(&body()).expect("JSON");
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = EnrolmentRequest::parse(&bytes);
            let cut = cut.index(bytes.len());
            prop_assert!(EnrolmentRequest::parse(&bytes[..cut]).is_err());
        }

        #[test]
        fn what_parses_encodes_to_what_was_sent(mac: [u8; 16], csr in proptest::collection::vec(any::<u8>(), 1..200), length in prop::sample::select(vec![105, 384, 512])) {
            let wrapped = vec![9; length];
            let mut body = body();
            body["mac"] = json!(b64url::encode(&mac));
            body["csr"] = json!(b64url::encode(&csr));
            body["wrapped_secret"] = json!(b64url::encode(&wrapped));
            let request = parse(&body).expect("parses");
            prop_assert_eq!((request.mac, request.csr, request.wrapped_secret), (mac, csr, wrapped));
        }
    }
}
