//! A module on trial: is it fit for Tillward, and how fast is it. Nothing of an installation is needed but module, token and PIN.
//!
//! The same process also signs the hash of a plan with an officer's own token.
//!
//! A trial runs in a process of its own (`tillward hsm-trial`), which makes and destroys nothing but its own scratch objects and does not know the
//! operations of a host: a service, compromised or not, has no sentence to start one with. A module that crashes or hangs takes the process with
//! it, and the trial goes on behind the check that did it.

mod bench;
mod examine;
mod histogram;
mod process;
mod sign;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::uri::Pkcs11Uri;

pub(crate) use bench::now_ns;
pub use bench::{Cell, Figures, Plan, bench};
pub use examine::{Report, examine};
pub(crate) use histogram::Histogram;
pub use sign::{KeyUri, KeyUriError, SignedPlan, sign_plan};

/// What is on trial.
#[derive(Debug, Clone)]
pub struct Target {
    /// The `tillward` binary.
    pub executable: PathBuf,
    /// Module, token and PIN file.
    pub uri: Pkcs11Uri,
    /// The whole environment of the process: what the module needs and nothing else.
    pub environment: BTreeMap<String, String>,
}

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The process could not be started or reached.
    #[error("the trial could not be started")]
    Start(#[source] std::io::Error),
    /// It ended before it was done: the module took it down.
    #[error("the trial's process ended with {0}")]
    Ended(String),
    /// The module did not come back.
    #[error("the module did not answer within {0} seconds")]
    Silent(u64),
    /// A step failed that everything else needs.
    #[error("{0}")]
    Failed(String),
    /// It answered something else than it was asked.
    #[error("the trial's process broke the protocol")]
    Protocol,
}

/// What an examination may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Sessions to open side by side, besides that of the login.
    pub sessions: u16,
    /// Whether to make keys while another session searches: a module that loses a key then leaves half of it behind.
    pub races: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As Tillward needs it.
    Pass,
    /// Not as Tillward needs it: the module is not fit.
    Fail,
    /// Not as Tillward would have it; the hint says what it does instead. The module is fit.
    Workaround,
    /// Nothing depends on it.
    Note,
}

impl Outcome {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Workaround => "workaround",
            Self::Note => "note",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What it belongs to; of a key: `key storage-kek`.
    pub group: String,
    /// Its name, once in its group.
    pub name: String,
    /// How it came out.
    pub outcome: Outcome,
    /// The return code and the function that gave it, where there was one: `CKR_GENERAL_ERROR of C_UnwrapKey`.
    pub code: Option<String>,
    /// One line: what is there, what Tillward does instead, or what to do.
    pub hint: String,
}

/// What was on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path of the module.
    pub module: String,
    /// Description and version of the library.
    pub library: String,
    /// Label, manufacturer, model, serial number, firmware version.
    pub token: Option<crate::model::TokenRecord>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// ECDSA P-256 with a token key.
    Sign,
    /// AES-CMAC over 64 bytes with a token key.
    Cmac,
    /// HMAC-SHA-256 over 64 bytes with a token key.
    Hmac,
    /// AES-ECB derivation of an AES-256 session key from a token key, and its destruction.
    Derive,
    /// The same with a MAC in between.
    DeriveMac,
    /// A phone's MAC: verify the key block, unwrap the second secret, derive, verify, destroy both.
    DeviceMac,
    /// RSA-3072 OAEP unwrap of a second secret, and its destruction.
    OaepUnwrap,
    /// A phone's initial key: derive it from a base key, wrap it under a derived KEK, destroy both.
    InitialKey,
    /// A payment's MAC: the DUKPT tree, sixteen levels deep, the working key, verify, destroy all.
    DukptVerify,
    /// 32 bytes of the random generator.
    Random,
    /// A P-256 session key pair, and its destruction.
    KeyPair,
}

impl Work {
    /// All, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Sign,
        Self::Cmac,
        Self::Hmac,
        Self::Derive,
        Self::DeriveMac,
        Self::DeviceMac,
        Self::OaepUnwrap,
        Self::InitialKey,
        Self::DukptVerify,
        Self::Random,
        Self::KeyPair,
    ];

    /// As it is printed and chosen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Cmac => "cmac",
            Self::Hmac => "hmac",
            Self::Derive => "derive",
            Self::DeriveMac => "derive-mac",
            Self::DeviceMac => "device-mac",
            Self::OaepUnwrap => "oaep-unwrap",
            Self::InitialKey => "initial-key",
            Self::DukptVerify => "dukpt-verify",
            Self::Random => "random",
            Self::KeyPair => "key-pair",
        }
    }

    /// What it is, for a legend.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sign => "ECDSA P-256, token key",
            Self::Cmac => "AES-CMAC, token key",
            Self::Hmac => "HMAC-SHA-256, token key",
            Self::Derive => "AES-ECB derive, destroy",
            Self::DeriveMac => "derive, CMAC, destroy",
            Self::DeviceMac => "key block: verify, unwrap, derive, CMAC",
            Self::OaepUnwrap => "RSA-3072 OAEP unwrap, destroy",
            Self::InitialKey => "initial key: derive twice, KWP wrap",
            Self::DukptVerify => "DUKPT verify, 16 levels",
            Self::Random => "random, 32 bytes",
            Self::KeyPair => "P-256 session key pair, destroy",
        }
    }
}
