//! What the phone's CMAC covers (docs/protocol.md §3.4, §4): the length-prefixed transcript of everything it sent.
//!
//! Length prefixes make the parts unambiguous; the context string keeps a MAC of one message from being one of another.

use sha2::{Digest, Sha256};

use crate::attestation::challenge::{ExpiredChallenge, VerifiedChallenge};
use crate::attestation::evidence::{Evidence, EvidenceDigest, EvidenceError};
use crate::enrolment::request::EnrolmentRequest;
use crate::wire::{b64url, length_prefix};

/// SHA-256 of a transcript: what goes under the CMAC, and, for an attestation, what the merchant key signs.
///
/// It remembers the evidence and the certificate request it covers, so that a MAC over one cannot vouch for another.
#[derive(Debug)]
pub struct Transcript {
    digest: [u8; 32],
    evidence: Option<EvidenceDigest>,
    csr: Option<[u8; 32]>,
}

impl Transcript {
    /// T of an enrolment, §3.4.
    pub fn enrolment(request: &EnrolmentRequest, challenge: &VerifiedChallenge, evidence: &Evidence) -> Self {
        Self {
            digest: enrolment(request, challenge.text(), evidence.digest()),
            evidence: Some(*evidence.digest()),
            csr: Some(Sha256::digest(&request.csr).into()),
        }
    }

    /// SHA-256(M) of an attestation, §4.
    pub fn attestation(challenge: &VerifiedChallenge, evidence: &Evidence) -> Self {
        let digest = digest(&[b"tillward/attest/v1", challenge.text().as_bytes(), evidence.digest().as_bytes()]);
        Self { digest, evidence: Some(*evidence.digest()), csr: None }
    }

    /// That of a certificate renewal, §4.
    pub fn renewal(challenge: &VerifiedChallenge, csr: &[u8]) -> Self {
        let digest = digest(&[b"tillward/renew/v1", challenge.text().as_bytes(), csr]);
        Self { digest, evidence: None, csr: Some(Sha256::digest(csr).into()) }
    }

    /// The 32 bytes.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// The CMAC over this transcript verified under the phone's `K_mac`. The only one who knows is who asked the HSM.
#[derive(Debug)]
pub struct MacVerified(Transcript);

impl MacVerified {
    /// The HSM said yes to this transcript. Call it nowhere but on the HSM's answer.
    pub fn by_hsm(transcript: Transcript) -> Self {
        Self(transcript)
    }

    /// What was verified.
    pub fn transcript(&self) -> &Transcript {
        &self.0
    }

    /// Whether this evidence was in the transcript.
    pub(crate) fn covers_evidence(&self, evidence: &EvidenceDigest) -> bool {
        self.0.evidence.as_ref() == Some(evidence)
    }

    /// Whether the certificate request with this SHA-256 was in the transcript.
    pub(crate) fn covers_request(&self, sha256: &[u8; 32]) -> bool {
        self.0.csr.as_ref() == Some(sha256)
    }
}

/// T of a request whose challenge has expired since, to be compared with the T that its activation was used with: a
/// phone that lost the answer gets the same package. It is only the 32 bytes; nobody can be enrolled with it.
///
/// # Errors
/// [`EvidenceError`].
pub fn recognise(request: &EnrolmentRequest, challenge: &ExpiredChallenge) -> Result<[u8; 32], EvidenceError> {
    let evidence = EvidenceDigest::of_retry(&request.evidence, challenge)?;
    Ok(enrolment(request, challenge.text(), &evidence))
}

fn enrolment(request: &EnrolmentRequest, challenge: &str, evidence: &EvidenceDigest) -> [u8; 32] {
    let kid = b64url::encode(&request.transport_kid);
    digest(&[
        b"tillward/enrol/v1",
        challenge.as_bytes(),
        request.code.expose_symbols().as_bytes(),
        kid.as_bytes(),
        &request.wrapped_secret,
        &request.csr,
        evidence.as_bytes(),
    ])
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
        use crate::attestation::challenge::tests::{expired, verified_for_enrolment};
        use crate::attestation::claim::Claim;
        let challenge = verified_for_enrolment("standard", &[Claim::Debugger]);
        let body = serde_json::to_vec(&crate::enrolment::request::tests::body()).expect("JSON");
        let request = EnrolmentRequest::parse(&body).expect("parses");
        let evidence = Evidence::parse(&request.evidence, &challenge).expect("parses");
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
        let code = request.code.expose_symbols().as_bytes();
        assert_eq!(code.len(), 24);
        let enrolment = lp(&[b"tillward/enrol/v1", text, code, kid.as_bytes(), &[4; 384], &[5; 100], &d]);
        assert_eq!(Transcript::enrolment(&request, &challenge, &evidence).digest(), &enrolment);
        assert_eq!(recognise(&request, &expired(&challenge)), Ok(enrolment));
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
