//! Why a phone is stopped: a closed list, so that audit log and revocation list can say it.

use serde::{Deserialize, Serialize};

use crate::store::RevocationReason;
use crate::wire::word;

/// Why an operator or a back end stops (or resumes) a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// The phone is lost.
    Lost,
    /// The phone was stolen.
    Stolen,
    /// Its keys may be known to others.
    Compromised,
    /// A new phone takes its place.
    Replaced,
    /// The merchant or terminal is closed.
    Closed,
    /// Under investigation.
    Investigation,
    /// Investigated, and found to be in order.
    Cleared,
}

impl StopReason {
    /// The code in audit log and database.
    pub fn code(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stolen => "stolen",
            Self::Compromised => "compromised",
            Self::Replaced => "replaced",
            Self::Closed => "closed",
            Self::Investigation => "investigation",
            Self::Cleared => "cleared",
        }
    }

    /// The reason in the revocation list (RFC 5280 §5.3.1).
    pub fn revocation(self) -> RevocationReason {
        match self {
            Self::Lost | Self::Stolen | Self::Compromised => RevocationReason::KeyCompromise,
            Self::Replaced => RevocationReason::Superseded,
            Self::Closed | Self::Investigation | Self::Cleared => RevocationReason::CessationOfOperation,
        }
    }
}

/// Body of the requests that stop or resume a phone.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    /// Why.
    #[serde(deserialize_with = "word")]
    pub reason: StopReason,
}
