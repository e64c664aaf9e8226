//! Every message between phone and service as it is sent (docs/protocol.md §3 and §4). The members are open, so that a
//! test can send what no honest phone would.

use serde::{Deserialize, Serialize};

use crate::encoding::Base64Url;
use crate::evidence::Evidence;
use crate::id::ActivationId;

/// `POST /device/v1/enrolment/challenge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentChallengeRequest {
    /// The public part of the code.
    pub activation: ActivationId,
}

/// `POST /device/v1/enrolment`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    /// The first secret: 24 symbols.
    pub code: String,
    /// The challenge as received.
    pub challenge: String,
    /// The transport key that was used.
    pub transport_kid: String,
    /// S under the transport key.
    pub wrapped_secret: Base64Url,
    /// PKCS #10.
    pub csr: Base64Url,
    /// Evidence.
    pub evidence: Evidence,
    /// AES-CMAC(K_mac, T).
    pub mac: Base64Url,
}

impl std::fmt::Debug for EnrolmentRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolmentRequest")
            .field("transport_kid", &self.transport_kid)
            .field("evidence", &self.evidence)
            .finish_non_exhaustive()
    }
}

/// `POST /device/v1/devices/{device}/challenge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceChallengeRequest {
    /// What the phone wants to do.
    pub purpose: Purpose,
}

/// What a challenge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Enrolment.
    Enrol,
    /// Attestation.
    Attest,
    /// Renewal of the certificate.
    Renew,
}

/// `POST /device/v1/devices/{device}/attestation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationRequest {
    /// The challenge as received.
    pub challenge: String,
    /// Evidence.
    pub evidence: Evidence,
    /// AES-CMAC(K_mac, SHA-256(M)).
    pub mac: Base64Url,
    /// ECDSA over M, exactly where the challenge asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Base64Url>,
}

/// `POST /device/v1/devices/{device}/certificate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalRequest {
    /// The challenge as received.
    pub challenge: String,
    /// PKCS #10 with the enrolled key.
    pub csr: Base64Url,
    /// AES-CMAC over the renewal transcript.
    pub mac: Base64Url,
}

/// Answer with the enrolment parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParametersAnswer {
    /// JWS.
    pub parameters: String,
}

/// Answer with a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeAnswer {
    /// JWS.
    pub challenge: String,
}

/// Answer with the personalization package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageAnswer {
    /// JWS.
    pub package: String,
}

/// Answer with an attestation result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultAnswer {
    /// EAR, a JWS.
    pub result: String,
}

/// Answer with a renewed certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateAnswer {
    /// Leaf, issuing CA.
    pub certificate_chain: Vec<Base64Url>,
}
