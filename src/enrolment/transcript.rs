//! What the phone's CMAC covers (docs/protocol.md §3.4, §4): the length-prefixed transcript of everything it sent.
//!
//! Length prefixes make the parts unambiguous; the context string keeps a MAC of one message from being one of another.

use sha2::{Digest, Sha256};

use crate::attestation::challenge::VerifiedChallenge;
use crate::attestation::evidence::{Evidence, EvidenceDigest};
use crate::enrolment::request::EnrolmentRequest;
use crate::wire::{b64url, length_prefix};

/// SHA-256 of a transcript: what goes under the CMAC, and, for an attestation, what the merchant key signs.
///
/// It remembers the evidence it covers, so that a MAC over one piece of evidence cannot vouch for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    digest: [u8; 32],
    evidence: Option<EvidenceDigest>,
}

impl Transcript {
    /// T of an enrolment, §3.4.
    pub fn enrolment(request: &EnrolmentRequest, challenge: &VerifiedChallenge, evidence: &Evidence) -> Self {
        let kid = b64url::encode(&request.transport_kid);
        let digest = digest(&[
            b"tillward/enrol/v1",
            challenge.text().as_bytes(),
            request.code.expose_symbols().as_bytes(),
            kid.as_bytes(),
            &request.wrapped_secret,
            &request.csr,
            evidence.digest().as_bytes(),
        ]);
        Self { digest, evidence: Some(*evidence.digest()) }
    }

    /// SHA-256(M) of an attestation, §4.
    pub fn attestation(challenge: &VerifiedChallenge, evidence: &Evidence) -> Self {
        let digest = digest(&[b"tillward/attest/v1", challenge.text().as_bytes(), evidence.digest().as_bytes()]);
        Self { digest, evidence: Some(*evidence.digest()) }
    }

    /// That of a certificate renewal, §4.
    pub fn renewal(challenge: &VerifiedChallenge, csr: &[u8]) -> Self {
        Self { digest: digest(&[b"tillward/renew/v1", challenge.text().as_bytes(), csr]), evidence: None }
    }

    /// The 32 bytes.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The evidence that it covers.
    pub(crate) fn evidence(&self) -> Option<&EvidenceDigest> {
        self.evidence.as_ref()
    }
}

/// SHA-256(LP(part 1) ‖ LP(part 2) ‖ ...).
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(length_prefix(part.len()));
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_digest_is_that_of_the_written_out_bytes() {
        let bytes = b"\0\0\0\x11tillward/renew/v1\0\0\0\x03abc\0\0\0\0";
        assert_eq!(digest(&[b"tillward/renew/v1", b"abc", b""]), <[u8; 32]>::from(Sha256::digest(bytes)));
    }

    #[test]
    fn each_transcript_is_that_of_the_protocol() {
        use crate::attestation::challenge::tests::verified_for_enrolment;
        use crate::attestation::evidence::Claim;
        let challenge = verified_for_enrolment("standard", &[Claim::Debugger]);
        let body = serde_json::to_vec(&crate::enrolment::request::tests::body()).expect("JSON");
        let parse = || EnrolmentRequest::parse(&body).expect("parses");
        let evidence = Evidence::parse(parse().evidence, &challenge).expect("parses");
        let d = Sha256::digest(r#"{"claims":{"debugger":false},"format":"software"}"#);
        let lp = |parts: &[&[u8]]| {
            let mut bytes = Vec::new();
            for part in parts {
                bytes.extend_from_slice(&u32::try_from(part.len()).expect("short").to_be_bytes());
                bytes.extend_from_slice(part);
            }
            <[u8; 32]>::from(Sha256::digest(bytes))
        };
        let (text, kid) = (challenge.text().as_bytes(), b64url::encode(&[3; 32]));
        let request = parse();
        let code = request.code.expose_symbols().as_bytes();
        assert_eq!(code.len(), 24);
        let enrolment = lp(&[b"tillward/enrol/v1", text, code, kid.as_bytes(), &[4; 384], &[5; 100], &d]);
        assert_eq!(Transcript::enrolment(&request, &challenge, &evidence).digest(), &enrolment);
        let attestation = lp(&[b"tillward/attest/v1", text, &d]);
        assert_eq!(Transcript::attestation(&challenge, &evidence).digest(), &attestation);
        let renewal = lp(&[b"tillward/renew/v1", text, b"csr"]);
        assert_eq!(Transcript::renewal(&challenge, b"csr").digest(), &renewal);
    }

    proptest! {
        #[test]
        fn moving_a_byte_between_parts_changes_the_digest(a in proptest::collection::vec(any::<u8>(), 1..20), b in proptest::collection::vec(any::<u8>(), 0..20)) {
            let (head, tail) = a.split_at(a.len() - 1);
            let moved = [tail, &b].concat();
            prop_assert_ne!(digest(&[&a, &b]), digest(&[head, &moved]));
        }
    }
}
