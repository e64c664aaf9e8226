//! The one error of every operation, by what the caller can do about it.

use tillward_hsm::{Fault, HsmError};

use super::reason::Reason;
use crate::attestation::challenge::ChallengeError;
use crate::attestation::evidence::EvidenceError;
use crate::audit::WouldBe;
use crate::store::StoreError;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// Refused for a reason that the caller is told.
    #[error("refused: {}", .0.reason.code())]
    Refused(Refusal),
    /// A part of Tillward is away or full; nothing half done.
    #[error("unavailable: {}", .reason.code())]
    Unavailable {
        /// Which part.
        reason: Reason,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A dry run: it would have been done.
    #[error("a dry run: {} would have been done", .0.action)]
    DryRun(Box<WouldBe>),
    /// A defect or a corrupt row: the caller is told a request id and nothing else.
    #[error("internal: {doing}")]
    Internal {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A refusal with what the caller may know of it.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The stable reason.
    pub reason: Reason,
    /// Which member or check; never the content of the request.
    pub detail: Option<String>,
    /// For a refused clearance: the challenge for the phone.
    pub challenge: Option<String>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None, challenge: None }
    }
}

impl From<Refusal> for OpError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Reason> for OpError {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl OpError {
    /// An internal error with what was being done.
    pub fn internal(doing: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal { doing, source: source.into() }
    }

    /// The reason that the caller is told.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Unavailable { reason, .. } => *reason,
            Self::Internal { .. } | Self::DryRun(_) => Reason::Internal,
        }
    }
}

impl From<crate::wire::ParseError> for OpError {
    fn from(error: crate::wire::ParseError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<crate::wire::ParseError> for Refusal {
    fn from(error: crate::wire::ParseError) -> Self {
        Reason::Malformed.with(error.to_string())
    }
}

impl From<ChallengeError> for Refusal {
    fn from(error: ChallengeError) -> Self {
        match error {
            ChallengeError::Invalid => Reason::ChallengeInvalid.into(),
            ChallengeError::Expired => Reason::ChallengeExpired.into(),
        }
    }
}

impl From<EvidenceError> for Refusal {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::Malformed(error) => error.into(),
            EvidenceError::Incomplete => Reason::EvidenceIncomplete.into(),
        }
    }
}

impl Reason {
    /// This reason, with the member or check it concerns.
    pub fn with(self, detail: impl Into<String>) -> Refusal {
        Refusal { reason: self, detail: Some(detail.into()), challenge: None }
    }
}

impl From<HsmError> for OpError {
    fn from(error: HsmError) -> Self {
        match &error {
            HsmError::Refused(tillward_hsm::Refusal::MacMismatch) => return Reason::MacMismatch.into(),
            HsmError::Refused(tillward_hsm::Refusal::KeyDiffers { .. }) => {
                return Reason::KeyExists.with("the token has another key of this label").into();
            }
            HsmError::Refused(tillward_hsm::Refusal::UnwrapFailed) => return Reason::TransportUnwrapFailed.into(),
            _ => {}
        }
        match error.fault() {
            Fault::Load => Self::Unavailable { reason: Reason::Busy, source: error.into() },
            Fault::Hsm => Self::Unavailable { reason: Reason::HsmUnavailable, source: error.into() },
            // What reaches the host was parsed here: if the host calls it the caller's fault, the defect is ours.
            Fault::Caller => Self::internal("asking the HSM", error),
        }
    }
}

impl From<StoreError> for OpError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DryRun(would_be) => Self::DryRun(would_be),
            StoreError::Unavailable(_) => Self::Unavailable { reason: Reason::StoreUnavailable, source: error.into() },
            other => Self::internal("asking the database", other),
        }
    }
}

/// An error and what lies under it, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
