//! How a command that failed ends: its exit code, and one line on what to do.

use tillward_device::http::HttpError;
use tillward_hsm::{Fault, HsmError};

use super::api::{BadProfile, Refused};
use crate::config::ConfigError;
use crate::policies::PolicyFolderError;

/// Policies that are refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadPolicies(pub(super) String);

/// What kind of failure it was, as far as the caller can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The service said no.
    Refused,
    /// The service said that it cannot just now.
    Busy,
    /// Nobody answers at the service's address.
    ServiceAway,
    /// The token, or the process in front of it, does not work.
    HsmUnfit,
    /// There is no configuration at this path.
    NoConfiguration,
    /// The configuration is not one.
    BadConfiguration,
    /// There is no profile at this path, or it is not one.
    BadProfile,
    /// A set of policies is refused.
    BadPolicies,
    /// Anything else; the error itself says it.
    Other,
}

impl Failure {
    /// Looks for what it was among the causes of an error.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if error.is::<BadProfile>() {
            return Self::BadProfile;
        }
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Other)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let refused = |status: u16| if status == 503 { Self::Busy } else { Self::Refused };
        if let Some(Refused { status, .. }) = cause.downcast_ref() {
            return Some(refused(*status));
        }
        if let Some(refusal) = cause.downcast_ref::<HttpError>().and_then(HttpError::refusal) {
            return Some(refused(refusal.status));
        }
        if cause.is::<BadPolicies>() || cause.is::<PolicyFolderError>() {
            return Some(Self::BadPolicies);
        }
        if let Some(failed) = cause.downcast_ref::<reqwest::Error>() {
            return (failed.is_connect() || failed.is_timeout()).then_some(Self::ServiceAway);
        }
        if let Some(hsm) = cause.downcast_ref::<HsmError>() {
            return matches!(hsm.fault(), Fault::Hsm | Fault::Load).then_some(Self::HsmUnfit);
        }
        match cause.downcast_ref::<ConfigError>() {
            Some(ConfigError::Read { .. }) => Some(Self::NoConfiguration),
            Some(ConfigError::Parse { .. } | ConfigError::Check(_)) => Some(Self::BadConfiguration),
            None => None,
        }
    }

    /// The codes that `super` documents.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Refused => 3,
            Self::Busy | Self::ServiceAway => 4,
            Self::HsmUnfit | Self::NoConfiguration | Self::BadConfiguration | Self::BadProfile | Self::BadPolicies | Self::Other => 1,
        }
    }

    /// What to do, on one line.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Refused => {
                "What to do: docs/api.md and docs/protocol.md §9 explain the reason; the request id leads to the line in the service's log."
            }
            Self::Busy => "What to do: ask again in a moment; nothing was half done.",
            Self::ServiceAway => "What to do: start the service with `tillward serve`, or correct the address.",
            Self::HsmUnfit => "What to do: `tillward doctor` names the part that is missing; an empty token is made by `tillward init`.",
            Self::NoConfiguration => "What to do: name the file with --config, or make a first one with `tillward new DIR`.",
            Self::BadConfiguration => "What to do: docs/tillward.example.toml explains every field.",
            Self::BadProfile => "What to do: name a profile with --profile or TILLWARD_PROFILE; `tillward new DIR` makes some.",
            Self::BadPolicies => {
                "What to do: put right what is named above, then `tillward policy check DIR`; policies/README.md explains it."
            }
            Self::Other => "What to do: put right what the line above names, then try again.",
        }
    }
}
