//! The attestation result (docs/protocol.md §4.1): an EAR with AR4SI's tiers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::encoding::Base64Url;
use crate::id::DeviceId;

/// `eat_profile` of the results.
pub const PROFILE: &str = "tag:github.com,2023:veraison/ear";

/// Claims of an attestation result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultClaims {
    /// [`PROFILE`].
    pub eat_profile: String,
    /// The service.
    pub iss: String,
    /// The device.
    pub sub: DeviceId,
    /// When it was made.
    pub iat: i64,
    /// When it ends.
    pub exp: i64,
    /// The challenge's nonce.
    pub eat_nonce: Base64Url,
    /// Who appraised.
    #[serde(rename = "ear.verifier-id")]
    pub verifier: Verifier,
    /// The appraisals by the attester's name.
    pub submods: BTreeMap<String, Appraisal>,
}

/// Who appraised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verifier {
    /// `tillward`.
    pub developer: String,
    /// Its version.
    pub build: String,
}

/// One appraisal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appraisal {
    /// The verdict.
    #[serde(rename = "ear.status")]
    pub status: Status,
    /// AR4SI claims by name.
    #[serde(rename = "ear.trustworthiness-vector")]
    pub vector: BTreeMap<String, i8>,
    /// Level and policy that was applied.
    #[serde(rename = "ear.appraisal-policy-id")]
    pub policy: String,
}

/// AR4SI trustworthiness tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is known.
    None,
    /// As it should be.
    Affirming,
    /// Something to look at.
    Warning,
    /// Not to be trusted.
    Contraindicated,
}

impl ResultClaims {
    /// Every submodule is affirming, at least one is there, and no claim of any is worse than its status says.
    pub fn is_affirming(&self) -> bool {
        let affirming = |appraisal: &Appraisal| {
            appraisal.status == Status::Affirming && appraisal.vector.values().all(|value| is_affirming_or_none(*value))
        };
        !self.submods.is_empty() && self.submods.values().all(affirming)
    }
}

/// AR4SI (draft-ietf-rats-ar4si §2.3.2): none -1 to 1, affirming -32 to -2 and 2 to 31.
fn is_affirming_or_none(value: i8) -> bool {
    (-32..=31).contains(&value)
}
