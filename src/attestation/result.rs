//! Attestation results in EAR form (docs/protocol.md §4.1; EAT profile of Veraison).

use serde::Serialize;

use crate::attestation::appraisal::{Appraisal, Tier, TrustVector};
use crate::clock::UnixTime;
use crate::id::DeviceId;
use crate::jose::{JoseError, Thumbprint, Typ, Unsigned};
use crate::wire::b64url;

/// The EAT profile (RFC 9711 §4.3.2) of a result.
pub const PROFILE: &str = "tag:github.com,2023:veraison/ear";

/// The claims of a result, to be signed by attestation-signing.
#[derive(Debug, Serialize)]
pub struct AttestationResult<'a> {
    eat_profile: &'static str,
    iss: &'a str,
    sub: &'a DeviceId,
    iat: UnixTime,
    exp: UnixTime,
    #[serde(with = "b64url")]
    eat_nonce: [u8; 32],
    #[serde(rename = "ear.verifier-id")]
    verifier: Verifier<'a>,
    submods: Submodules<'a>,
}

#[derive(Debug, Serialize)]
struct Verifier<'a> {
    developer: &'static str,
    build: &'a str,
}

#[derive(Debug, Serialize)]
struct Submodules<'a> {
    phone: Submodule<'a>,
}

#[derive(Debug, Serialize)]
struct Submodule<'a> {
    #[serde(rename = "ear.status")]
    status: Tier,
    #[serde(rename = "ear.trustworthiness-vector")]
    vector: &'a TrustVector,
    #[serde(rename = "ear.appraisal-policy-id")]
    policy: &'a str,
}

impl<'a> AttestationResult<'a> {
    /// The result of `appraisal`, from the time it was made; `build` is this program's version.
    pub fn new(issuer: &'a str, device: &'a DeviceId, appraisal: &'a Appraisal, build: &'a str) -> Self {
        Self {
            eat_profile: PROFILE,
            iss: issuer,
            sub: device,
            iat: appraisal.at(),
            exp: appraisal.at().plus(i64::from(appraisal.result_validity())),
            eat_nonce: *appraisal.nonce(),
            verifier: Verifier { developer: "tillward", build },
            submods: Submodules {
                phone: Submodule { status: appraisal.status(), vector: appraisal.vector(), policy: appraisal.policy_id() },
            },
        }
    }

    /// For the signer.
    ///
    /// # Errors
    /// [`JoseError::TooLong`] if the issuer's name is absurd.
    pub fn unsigned(&self, kid: &Thumbprint) -> Result<Unsigned, JoseError> {
        Unsigned::new(Typ::Ear, kid, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attestation::appraisal::tests::{NOW, appraisal};
    use crate::attestation::challenge::tests::DEVICE;
    use serde_json::json;

    #[test]
    fn the_claims_are_those_of_the_protocol() {
        let appraisal = appraisal(&[("os_version", json!(1))], "warning");
        let device: DeviceId = DEVICE.parse().expect("a device id");
        let claims = serde_json::to_value(AttestationResult::new("https://t.example", &device, &appraisal, "0.1.0")).expect("JSON");
        let expected = json!({
            "eat_profile": "tag:github.com,2023:veraison/ear", "iss": "https://t.example", "sub": DEVICE,
            "iat": NOW.0, "exp": NOW.0 + 600, "eat_nonce": b64url::encode(&[9; 32]),
            "ear.verifier-id": {"developer": "tillward", "build": "0.1.0"},
            "submods": {"phone": {"ear.status": "warning",
                "ear.trustworthiness-vector": {"instance-identity": 2, "configuration": 32, "executables": 3, "hardware": 0},
                "ear.appraisal-policy-id": appraisal.policy_id()}}});
        assert_eq!(claims, expected);
        assert!(appraisal.policy_id().starts_with("all@"));
    }
}
