//! Officers with their keys in software, the file that the host reads, and approvals by them.

use std::path::PathBuf;

use data_encoding::BASE64;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;
use tillward::clock::Clock;
use tillward_hsm::{Approval, Approved, Deed, Plan};

use crate::token::Token;

/// Officers that stand in the file.
pub(crate) const ANNA: &str = "urn:tillward:principal:anna";
/// The second.
pub(crate) const BERT: &str = "urn:tillward:principal:bert";
/// Who asks. Stands in the file too: an officer may ask for something that others approve.
pub(crate) const CARL: &str = "urn:tillward:principal:carl";

/// The key of an officer.
fn key(officer: &str) -> SigningKey {
    let mut scalar = [1; 32];
    for (at, byte) in officer.bytes().enumerate() {
        scalar[at % 32] ^= byte;
    }
    SigningKey::from_slice(&scalar).expect("a scalar")
}

/// Writes the officers' file of a token.
pub(crate) fn write(token: &Token) -> PathBuf {
    let lines = [ANNA, BERT, CARL].map(|officer| {
        let der = key(officer).verifying_key().to_public_key_der().expect("DER");
        format!("{officer} {}\n", BASE64.encode(der.as_bytes()))
    });
    let path = token.path("officers");
    std::fs::write(&path, lines.concat()).expect("a file");
    path
}

/// A plan that Carl asks for, good for an hour.
pub(crate) fn plan(deed: Deed) -> Plan {
    let now = Clock::system().now().0;
    Plan { id: [7; 16], requester: CARL.to_owned(), created: now, expires: now + 3600, quorum: 2, deed }
}

/// An officer's signature.
pub(crate) fn approval(plan: &Plan, officer: &str) -> Approval {
    let signature: Signature = key(officer).sign_prehash(&plan.hash()).expect("signs");
    Approval { officer: officer.to_owned(), signature: signature.to_vec() }
}

/// A plan with the signatures of these officers.
pub(crate) fn signed(plan: &Plan, officers: &[&str]) -> Approved {
    Approved { plan: plan.to_bytes(), approvals: officers.iter().map(|officer| approval(plan, officer)).collect() }
}

/// A plan that Anna and Bert approve.
pub(crate) fn approved(deed: Deed) -> Approved {
    signed(&plan(deed), &[ANNA, BERT])
}
