//! What the service says before the phone speaks: enrolment parameters and challenges (docs/protocol.md §3.2, §3.3, §4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::encoding::Base64Url;
use crate::evidence::{Evidence, EvidenceError, Findings};
use crate::jws::Typ;
use crate::ksn::Ikid;
use crate::message::Purpose;
use crate::transport_key::{TransportClaims, TransportError, TransportKey};
use crate::trust::{StatementError, Trust};

/// Why parameters or a challenge are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Not signed by the service.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// `iss` is another service.
    #[error("the statement is from another service")]
    Issuer,
    /// `sub` is another activation or device.
    #[error("the challenge is for somebody else")]
    Subject,
    /// `purpose` is another one.
    #[error("the challenge is for another purpose")]
    Purpose,
    /// The nonce is not 32 bytes.
    #[error("the nonce of the challenge does not have 32 bytes")]
    Nonce,
    /// The parameters are over, or from the future.
    #[error("the enrolment parameters are not current")]
    NotCurrent,
    /// The transport key.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// Claims of the enrolment parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParametersClaims {
    /// The service.
    pub iss: String,
    /// Server time.
    pub iat: i64,
    /// End of validity.
    pub exp: i64,
    /// The transport keys, in the service's order of preference.
    pub transports: Vec<TransportClaims>,
    /// What each level demands.
    pub levels: BTreeMap<String, Demand>,
}

/// What a security level demands of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// Evidence format.
    pub format: String,
    /// Names of the claims.
    pub claims: Vec<String>,
    /// A signature of the merchant key is demanded too.
    pub signature: bool,
}

/// The most that a phone's clock may differ from the server's.
const CLOCK_SKEW: i64 = 300;

impl ParametersClaims {
    /// Verifies the parameters. The transport key in them is what S will be encrypted to, so old ones are refused.
    ///
    /// # Errors
    /// [`ChallengeError`].
    pub fn verify(trust: &Trust, jws: &str, now: i64) -> Result<(Self, TransportKey), ChallengeError> {
        let claims: Self = trust.statement(jws, Typ::Parameters, now)?;
        if claims.iss != trust.issuer() {
            return Err(ChallengeError::Issuer);
        }
        if claims.iat > now.saturating_add(CLOCK_SKEW) || now >= claims.exp {
            return Err(ChallengeError::NotCurrent);
        }
        let key = TransportKey::choose(&claims.transports)?;
        Ok((claims, key))
    }
}

/// Claims of a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeClaims {
    /// The service.
    pub iss: String,
    /// Activation id at enrolment, device id after it.
    pub sub: String,
    /// What it is for.
    pub purpose: Purpose,
    /// 32 bytes.
    pub nonce: Base64Url,
    /// When it was made.
    pub iat: i64,
    /// When it ends. Only the server's clock counts, so the phone does not look at it.
    pub exp: i64,
    /// The data key's IKID.
    pub ikid: Ikid,
    /// Security level.
    pub level: String,
    /// Evidence format.
    pub format: String,
    /// Names of the claims demanded.
    pub claims: Vec<String>,
    /// A signature of the merchant key is demanded too.
    pub signature: bool,
}

impl ChallengeClaims {
    /// Verifies a challenge for `subject` and `purpose`.
    ///
    /// # Errors
    /// [`ChallengeError`].
    pub fn verify(trust: &Trust, jws: &str, subject: &str, purpose: Purpose, now: i64) -> Result<Self, ChallengeError> {
        let claims: Self = trust.statement(jws, Typ::Challenge, now)?;
        if claims.iss != trust.issuer() {
            return Err(ChallengeError::Issuer);
        }
        if claims.sub != subject {
            return Err(ChallengeError::Subject);
        }
        if claims.purpose != purpose {
            return Err(ChallengeError::Purpose);
        }
        if claims.nonce.0.len() == 32 { Ok(claims) } else { Err(ChallengeError::Nonce) }
    }

    /// The evidence that it demands.
    ///
    /// # Errors
    /// [`EvidenceError`] if the findings cannot say it.
    pub fn evidence(&self, findings: &Findings) -> Result<Evidence, EvidenceError> {
        findings.evidence(&self.format, &self.claims)
    }
}
