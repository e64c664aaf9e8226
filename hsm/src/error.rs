//! One error for callers, named by what they can do about it.

use serde::{Deserialize, Serialize};

use crate::model::Finding;

/// Why the HSM did not do what it was asked. Display says what, never an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HsmError {
    /// As many calls are in flight as are allowed; nothing was done.
    #[error("the HSM queue is full")]
    Busy,
    /// No answer within the deadline. The operation may have been done.
    #[error("the HSM did not answer in time")]
    Deadline,
    /// No host to ask, or it ended before it answered. The operation may have been done.
    #[error("the HSM host is unavailable: {0}")]
    Unavailable(Outage),
    /// The host refused or could not do it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The host answered something else than it was asked.
    #[error("the HSM host broke the protocol")]
    Protocol,
}

/// Why there is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// The process could not be started.
    #[error("it could not be started")]
    NotStarted,
    /// The process ended, or was ended because it hung.
    #[error("it ended")]
    Ended,
    /// It runs, but a check at its start failed.
    #[error("{}", list(.0))]
    NotReady(Vec<Finding>),
    /// Another host has taken over before the call was sent.
    #[error("it was just replaced")]
    Replaced,
    /// This client was shut down.
    #[error("it is shutting down")]
    ShuttingDown,
    /// It was asked and says nothing.
    #[error("it does not answer")]
    Silent,
    /// It answers, and cannot sign: it is asked again when a probe succeeds.
    #[error("it failed again and again and is not asked just now")]
    Breaker,
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("; ")
}

/// What the host says when it does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// A MAC does not verify.
    #[error("the MAC does not verify")]
    MacMismatch,
    /// A wrapped secret or key does not unwrap to a key of its length.
    #[error("what is wrapped does not unwrap to a key of its length")]
    UnwrapFailed,
    /// The key block's MAC, version or owner is wrong.
    #[error("the key block is refused")]
    KeyBlockRefused,
    /// The ciphertext, the associated data or the key is another.
    #[error("the ciphertext does not decrypt")]
    DecryptionFailed,
    /// The plan, or an approval of it, is not good for what was asked; nothing was done.
    #[error("not approved: {reason}")]
    NotApproved {
        /// Why.
        reason: String,
    },
    /// The module does not make such keys.
    #[error("the module does not offer {what}")]
    NotOffered {
        /// What.
        what: String,
    },
    /// No base derivation key with this id, or none of this acquirer.
    #[error("no such base derivation key")]
    UnknownBdk,
    /// The token does not have the key.
    #[error("the token has no key {label}")]
    UnknownKey {
        /// Its label.
        label: String,
    },
    /// A key of this label is there already, and it is another kind of key.
    #[error("the key {label} is there and differs: {difference}")]
    KeyDiffers {
        /// Its label.
        label: String,
        /// In what.
        difference: String,
    },
    /// The host was not started for ceremonies.
    #[error("this HSM host does not do ceremonies")]
    NotPermitted,
    /// The token knows of more given derivation ids than the database does: a restored database. Nothing was changed.
    #[error("the token's derivation mark {token_mark} is ahead of the database")]
    MarkAhead {
        /// The token's mark.
        token_mark: u32,
    },
    /// Derivation ids of this acquirer are used up.
    #[error("the acquirer's derivation ids are used up")]
    MarkExhausted,
    /// An argument has a wrong length or form.
    #[error("invalid input: {what}")]
    InvalidInput {
        /// Which argument.
        what: String,
    },
    /// The call waited in the host longer than its deadline; nothing was done.
    #[error("the call expired in the host's queue")]
    Expired,
    /// The host is not fit for work.
    #[error("the HSM host is not ready: {finding}")]
    NotReady {
        /// The first failed check.
        finding: Finding,
    },
    /// The token has no session or no memory free now; nothing was done.
    #[error("the token is busy")]
    Busy,
    /// The token holds as many objects as the configuration allows; nothing was made.
    #[error("the token holds {used} objects and may hold {most}")]
    ObjectBudget {
        /// How many it holds.
        used: u64,
        /// How many it may hold.
        most: u64,
    },
    /// A PKCS#11 function failed.
    #[error("{function} failed with {code}")]
    Token {
        /// The function.
        function: String,
        /// The return code.
        code: String,
    },
    /// A key that was just made did not work, and was destroyed.
    #[error("the new key {label} did not prove itself: {what}")]
    Unproven {
        /// Its label.
        label: String,
        /// What it failed at.
        what: String,
    },
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What was asked cannot be had: asking again gives the same.
    Caller,
    /// Too much at once: asking again later may help, nothing was done.
    Load,
    /// The HSM or its host: asking again may help.
    Hsm,
}

impl HsmError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Busy | Self::Refused(Refusal::Expired | Refusal::Busy) => Fault::Load,
            Self::Refused(
                Refusal::MacMismatch
                | Refusal::UnwrapFailed
                | Refusal::KeyBlockRefused
                | Refusal::UnknownBdk
                | Refusal::DecryptionFailed
                | Refusal::NotApproved { .. }
                | Refusal::NotOffered { .. }
                | Refusal::KeyDiffers { .. }
                | Refusal::NotPermitted
                | Refusal::MarkAhead { .. }
                | Refusal::ObjectBudget { .. }
                | Refusal::InvalidInput { .. },
            ) => Fault::Caller,
            // Managed keys come and go; a fixed key that is missing is the token's trouble.
            Self::Refused(Refusal::UnknownKey { label }) if crate::managed::is_managed(label) => Fault::Caller,
            Self::Deadline | Self::Unavailable(_) | Self::Protocol | Self::Refused(_) => Fault::Hsm,
        }
    }
}
