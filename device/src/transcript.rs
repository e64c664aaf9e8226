//! The byte strings that MACs and signatures of the phone cover (docs/protocol.md §3.4 and §4).

use sha2::{Digest, Sha256};

use crate::encoding::length_prefixed;
use crate::message::EnrolmentRequest;

/// T of an enrolment: everything in the request but the MAC.
pub fn enrolment(request: &EnrolmentRequest) -> [u8; 32] {
    let bytes = length_prefixed(&[
        b"tillward/enrol/v1",
        request.challenge.as_bytes(),
        request.code.as_bytes(),
        request.transport_kid.as_bytes(),
        &request.wrapped_secret.0,
        &request.csr.0,
        &request.evidence.digest(),
    ]);
    Sha256::digest(bytes).into()
}

/// M of an attestation: what the merchant key signs. The MAC covers its SHA-256.
pub fn attestation(challenge: &str, evidence_digest: &[u8; 32]) -> Vec<u8> {
    length_prefixed(&[b"tillward/attest/v1", challenge.as_bytes(), evidence_digest])
}

/// What the MAC of a renewal covers, before SHA-256.
pub fn renewal(challenge: &str, csr: &[u8]) -> Vec<u8> {
    length_prefixed(&[b"tillward/renew/v1", challenge.as_bytes(), csr])
}
