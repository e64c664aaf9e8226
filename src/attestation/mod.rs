//! Attestation, pure (RFC 9334): challenge, evidence, appraisal, result.
//!
//! The order is fixed by the types: [`challenge::VerifiedChallenge`] says what is demanded, [`evidence::Evidence`]
//! parses against it, [`proof::VerifiedEvidence`] needs the HSM's word on the MAC over exactly that evidence, and only
//! that is appraised ([`appraisal::appraise`]) and attested to ([`result::AttestationResult`]).

pub mod appraisal;
pub mod challenge;
pub mod claim;
pub mod evidence;
pub mod level;
pub mod proof;
pub mod request;
pub mod result;
