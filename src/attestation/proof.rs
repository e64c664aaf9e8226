//! Evidence somebody has vouched for: the HSM its MAC, the merchant key its signature where the level asks for one.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};

use crate::attestation::challenge::Purpose;
use crate::attestation::evidence::Evidence;
use crate::enrolment::transcript::MacVerified;

/// Why evidence is not vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The challenge was for another purpose.
    #[error("the evidence answers a challenge for another purpose")]
    Purpose,
    /// The MAC was over other evidence.
    #[error("the MAC covers other evidence")]
    Mac,
    /// Does not verify, is missing, or is there though not asked for.
    #[error("the signature does not verify, is missing, or is there though not asked for")]
    Signature,
}

/// Evidence that came unchanged from the holder of the second secret, in answer to the challenge it was parsed against.
#[derive(Debug)]
pub struct VerifiedEvidence(Evidence);

impl VerifiedEvidence {
    /// At an enrolment: the certificate request is signed by the new key and stands in the transcript, so no other
    /// signature is asked for.
    ///
    /// # Errors
    /// [`ProofError::Purpose`], [`ProofError::Mac`].
    pub fn at_enrolment(evidence: Evidence, mac: &MacVerified) -> Result<Self, ProofError> {
        if evidence.purpose() != Purpose::Enrol {
            return Err(ProofError::Purpose);
        }
        Self::vouched_for(evidence, mac)
    }

    fn vouched_for(evidence: Evidence, mac: &MacVerified) -> Result<Self, ProofError> {
        if mac.covers_evidence(evidence.digest()) { Ok(Self(evidence)) } else { Err(ProofError::Mac) }
    }

    /// At an attestation: `signature` is there exactly if the challenge demands it, and verifies under the enrolled key
    /// (ECDSA-SHA256 over M, whose SHA-256 the transcript is).
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn at_attestation(
        evidence: Evidence,
        mac: &MacVerified,
        signature: Option<&[u8; 64]>,
        enrolled: &VerifyingKey,
    ) -> Result<Self, ProofError> {
        if evidence.purpose() != Purpose::Attest {
            return Err(ProofError::Purpose);
        }
        match (evidence.signature_demanded(), signature) {
            (false, None) => {}
            (true, Some(signature)) => {
                let signature = Signature::from_slice(signature).map_err(|_| ProofError::Signature)?;
                enrolled.verify_prehash(mac.transcript().digest(), &signature).map_err(|_| ProofError::Signature)?;
            }
            (true, None) | (false, Some(_)) => return Err(ProofError::Signature),
        }
        Self::vouched_for(evidence, mac)
    }

    /// What was vouched for, for the appraisal.
    pub(super) fn into_evidence(self) -> Evidence {
        self.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::attestation::challenge::tests::{verified, verified_for_enrolment};
    use crate::attestation::claim::Claim;
    use crate::attestation::evidence::tests::{good, raw};
    use crate::enrolment::transcript::Transcript;
    use crate::jose::tests::{key, sign};
    use serde_json::{Value, json};

    /// Verified evidence as other tests need it: the claims of `evidence`, whichever they are.
    pub(crate) fn verified_evidence(level: &str, evidence: &Value) -> VerifiedEvidence {
        let there = |claim: &Claim| evidence["claims"].get(claim.name()).is_some();
        let demanded: Vec<_> = Claim::ALL.into_iter().filter(there).collect();
        let challenge = verified_for_enrolment(level, &demanded);
        let parsed = Evidence::parse(&raw(evidence), &challenge).expect("parses");
        let mac = MacVerified::by_hsm(Transcript::attestation(&challenge, &parsed));
        VerifiedEvidence::at_enrolment(parsed, &mac).expect("the MAC covers it")
    }

    #[test]
    fn a_mac_over_other_evidence_does_not_vouch() {
        let challenge = verified_for_enrolment("standard", &Claim::ALL);
        let parse = |evidence: &Value| Evidence::parse(&raw(evidence), &challenge).expect("parses");
        let mut other = good();
        other["claims"]["root"] = json!(true);
        let mac = MacVerified::by_hsm(Transcript::attestation(&challenge, &parse(&good())));
        assert_eq!(VerifiedEvidence::at_enrolment(parse(&other), &mac).err(), Some(ProofError::Mac));
        assert!(VerifiedEvidence::at_enrolment(parse(&good()), &mac).is_ok());
        let renewal = MacVerified::by_hsm(Transcript::renewal(&challenge, b"csr"));
        assert_eq!(VerifiedEvidence::at_enrolment(parse(&good()), &renewal).err(), Some(ProofError::Mac));
    }

    #[test]
    fn evidence_for_one_purpose_does_not_serve_the_other() {
        let enrolled = key(5);
        for (challenge, enrol, attest) in [
            (verified_for_enrolment("standard", &Claim::ALL), None, Some(ProofError::Purpose)),
            (verified("standard", &Claim::ALL, false), Some(ProofError::Purpose), None),
        ] {
            let parse = || Evidence::parse(&raw(&good()), &challenge).expect("parses");
            let mac = MacVerified::by_hsm(Transcript::attestation(&challenge, &parse()));
            assert_eq!(VerifiedEvidence::at_enrolment(parse(), &mac).err(), enrol);
            assert_eq!(VerifiedEvidence::at_attestation(parse(), &mac, None, enrolled.verifying_key()).err(), attest);
        }
    }

    #[test]
    fn the_signature_is_there_exactly_where_it_is_demanded() {
        let enrolled = key(5);
        let attest = |demanded: bool, signature: Option<[u8; 64]>| {
            let challenge = verified("standard", &Claim::ALL, demanded);
            let evidence = Evidence::parse(&raw(&good()), &challenge).expect("parses");
            let mac = MacVerified::by_hsm(Transcript::attestation(&challenge, &evidence));
            // [1; 64] stands for the right signature.
            let signature = signature.map(|given| if given == [1; 64] { sign(&enrolled, mac.transcript().digest()) } else { given });
            VerifiedEvidence::at_attestation(evidence, &mac, signature.as_ref(), enrolled.verifying_key()).err()
        };
        assert_eq!(attest(false, None), None);
        assert_eq!(attest(true, Some([1; 64])), None);
        assert_eq!(attest(true, None), Some(ProofError::Signature));
        assert_eq!(attest(false, Some([1; 64])), Some(ProofError::Signature));
        assert_eq!(attest(true, Some([0; 64])), Some(ProofError::Signature));
        assert_eq!(attest(true, Some(sign(&enrolled, &[0; 32]))), Some(ProofError::Signature));
    }
}
