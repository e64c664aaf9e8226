//! How a command that failed ends: its exit code, what went wrong, and one line on what to do. With `--json` as one problem document
//! (RFC 9457) on standard error, so that standard output holds results and nothing else.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use serde_json::{Value, json};
use tillward_device::http::HttpError;
use tillward_hsm::{Fault, HsmError};

use super::api::{BadProfile, Refused};
use super::{output, remedy};
use crate::app::StartError;
use crate::config::ConfigError;
use crate::http::ListenError;
use crate::ops::authority::AuthorityError;
use crate::ops::error::OpError;
use crate::ops::reason::Reason;
use crate::policies::PolicyFolderError;
use crate::store::StoreError;

/// Policies that are refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadPolicies(pub(super) String);

/// What kind of failure it was, as far as the caller can do something about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The service said no, for the reason of this code.
    Refused(String),
    /// The service said that it cannot just now, for the reason of this code.
    Busy(String),
    /// Nobody answers at the service's address.
    ServiceAway,
    /// The connection ended before there was an answer: whether something was done is not known.
    NoAnswer,
    /// One of the two did not accept the other's certificate.
    Mistrusted,
    /// The token, or the process in front of it, does not work.
    HsmUnfit,
    /// The database does not work.
    StoreUnfit,
    /// The database is older than the token.
    Restored,
    /// Certificates or keys of the service are not made yet.
    NotMade,
    /// A certificate of the service is over.
    CertificatesEnded,
    /// Database and token do not belong together.
    Mismatched,
    /// There is no configuration at this path.
    NoConfiguration,
    /// The configuration is not one.
    BadConfiguration,
    /// The appraisal policy is not one.
    BadAppraisal,
    /// The TLS files of the configuration do not fit.
    BadTls,
    /// A listener's address is taken, or not one of this machine.
    NoListener,
    /// There is no profile at this path, or it is not one.
    BadProfile,
    /// A set of policies is refused.
    BadPolicies,
    /// Wrong usage.
    Usage,
    /// The error brings its own line.
    Advised(Cow<'static, str>),
    /// Anything else; the error itself says it.
    Other,
}

/// What went wrong, with the line on what to do: for what happens in one place only.
#[derive(Debug, Clone)]
pub(super) struct Advice {
    what: String,
    remedy: Cow<'static, str>,
}

impl Advice {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Advice {}

/// An error with nothing behind it.
pub(super) fn advise(what: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> anyhow::Error {
    Advice::new(what, remedy).into()
}

impl Failure {
    /// Looks for what it was among the causes of an error.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if let Some(advice) = error.downcast_ref::<Advice>() {
            return Self::Advised(advice.remedy.clone());
        }
        if error.is::<BadProfile>() {
            return Self::BadProfile;
        }
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Other)
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        let refused =
            |status: u16, reason: &str| if status == 503 { Self::Busy(reason.to_owned()) } else { Self::Refused(reason.to_owned()) };
        if let Some(Refused { status, reason, .. }) = cause.downcast_ref() {
            return Some(refused(*status, reason));
        }
        if let Some(refusal) = cause.downcast_ref::<HttpError>().and_then(HttpError::refusal) {
            return Some(refused(refusal.status, &refusal.reason));
        }
        if let Some(OpError::Refused(refusal)) = cause.downcast_ref() {
            return Some(Self::Refused(refusal.reason.code().to_owned()));
        }
        if cause.is::<BadPolicies>() || cause.is::<PolicyFolderError>() {
            return Some(Self::BadPolicies);
        }
        if let Some(failed) = cause.downcast_ref::<reqwest::Error>() {
            return Some(Self::of_connection(failed));
        }
        if let Some(hsm) = cause.downcast_ref::<HsmError>() {
            return matches!(hsm.fault(), Fault::Hsm | Fault::Load).then_some(Self::HsmUnfit);
        }
        Self::of_start(cause)
    }

    fn of_connection(failed: &reqwest::Error) -> Self {
        if is_of_tls(failed) {
            return Self::Mistrusted;
        }
        if failed.is_connect() { Self::ServiceAway } else { Self::NoAnswer }
    }

    /// What keeps the service, `init` and `doctor` from starting.
    fn of_start(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(start) = cause.downcast_ref::<StartError>() {
            match start {
                StartError::RestoredDatabase { .. } => return Some(Self::Restored),
                StartError::CertificatesEnded(_) => return Some(Self::CertificatesEnded),
                StartError::AcquirerKeys(_) => return Some(Self::NotMade),
                StartError::Config(_) | StartError::Principals(_) => return Some(Self::BadConfiguration),
                StartError::Policy { .. } | StartError::PolicyFile { .. } => return Some(Self::BadAppraisal),
                _ => {}
            }
        }
        match cause.downcast_ref() {
            Some(ListenError::Tls(_)) => return Some(Self::BadTls),
            Some(ListenError::Bind { .. }) => return Some(Self::NoListener),
            None => {}
        }
        match cause.downcast_ref() {
            Some(AuthorityError::Missing(_)) => return Some(Self::NotMade),
            Some(AuthorityError::Broken(_) | AuthorityError::OtherKey(_)) => return Some(Self::Mismatched),
            _ => {}
        }
        if cause.is::<StoreError>() {
            return Some(Self::StoreUnfit);
        }
        match cause.downcast_ref::<ConfigError>() {
            Some(ConfigError::Read { .. }) => Some(Self::NoConfiguration),
            Some(ConfigError::Parse { .. } | ConfigError::Check(_)) => Some(Self::BadConfiguration),
            None => None,
        }
    }

    /// The codes that `super` documents.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Refused(_) => 3,
            Self::Busy(_) | Self::ServiceAway | Self::NoAnswer => 4,
            _ => 1,
        }
    }

    /// Its stable name: that of the service's reason, or one of the command line's own.
    fn code(&self) -> &str {
        match self {
            Self::Refused(reason) | Self::Busy(reason) => reason,
            Self::ServiceAway => "service-away",
            Self::NoAnswer => "no-answer",
            Self::Mistrusted => "mistrusted",
            Self::HsmUnfit => "hsm-unfit",
            Self::StoreUnfit => "store-unfit",
            Self::Restored => "restored-database",
            Self::NotMade => "not-made",
            Self::CertificatesEnded => "certificates-ended",
            Self::Mismatched => "mismatched",
            Self::NoConfiguration => "no-configuration",
            Self::BadConfiguration => "bad-configuration",
            Self::BadAppraisal => "bad-appraisal-policy",
            Self::BadTls => "bad-tls",
            Self::NoListener => "no-listener",
            Self::BadProfile => "bad-profile",
            Self::BadPolicies => "bad-policies",
            Self::Usage => "usage",
            Self::Advised(_) | Self::Other => "failed",
        }
    }

    /// What to do, on one line.
    pub(super) fn remedy(&self) -> &str {
        match self {
            Self::Refused(reason) | Self::Busy(reason) => {
                remedy::of(reason).unwrap_or("docs/api.md explains the reason; the request id leads to the line in the service's log.")
            }
            Self::ServiceAway => {
                "start the service with `tillward serve`, or correct `url` in the profile (`tillward profile show` says which service was asked)."
            }
            Self::NoAnswer => {
                "whether it was done is not known: look with `show` or `list` before you ask again; if no command is answered, see `tillward profile show`: your certificate may not be taken."
            }
            Self::Mistrusted => {
                "`tillward profile show` says whose certificate was shown and when it ends; `ca` has to be the authority of the service's certificate."
            }
            Self::HsmUnfit => "`tillward doctor` names the part that is missing; an empty token is made by `tillward init`.",
            Self::StoreUnfit => "look whether the database server is up and store.url is right; `tillward doctor` checks it.",
            Self::Restored => {
                "put the newer database back; if it is lost, `tillward init --accept-restored-database` revokes what the backup could revive."
            }
            Self::NotMade => "`tillward init` makes what is missing; `tillward doctor` checks it.",
            Self::CertificatesEnded => {
                "look whether the machine's clock is right; if it is, docs/operations.md says what an ended certificate means."
            }
            Self::Mismatched => "look whether store.url and hsm.uri are those of one installation; `tillward doctor` checks it.",
            Self::NoConfiguration => "name the file with --config, or make a first one with `tillward new DIR`.",
            Self::BadConfiguration => "docs/tillward.example.toml explains every field.",
            Self::BadAppraisal => "correct the file that attestation.policy names; policies/README.md says what it holds.",
            Self::BadTls => {
                "correct the files of [listen]; docs/tillward.example.toml says what each has to be. A key has to be that of its certificate."
            }
            Self::NoListener => "end what listens there (`ss -ltnp` names it), or take another address in [listen].",
            Self::BadProfile => {
                "correct the file as docs/cli.md says, or name another with --profile or TILLWARD_PROFILE; `tillward new DIR` makes some."
            }
            Self::BadPolicies => "put right what is named above, then `tillward policy check DIR`; policies/README.md explains it.",
            Self::Usage => "the --help of the command says what it takes.",
            Self::Advised(remedy) => remedy,
            Self::Other => "put right what the line above names, then try again.",
        }
    }

    /// Tells it: for people two lines, for machines a problem document.
    pub(super) fn tell(&self, error: &anyhow::Error, json: bool) {
        if json {
            eprintln!("{:#}", self.document(error));
        } else {
            eprintln!("{} {}", output::Paint::stderr().bad("tillward:"), words(error));
            eprintln!("What to do: {}", self.remedy());
        }
    }

    /// The service's own document where it refused, with what the command line knows beside it.
    fn document(&self, error: &anyhow::Error) -> Value {
        let mut document = error.chain().find_map(|cause| Some(cause.downcast_ref::<Refused>()?.document.clone())).unwrap_or_else(
            || json!({"type": format!("urn:tillward:problem:{}", self.code()), "title": format!("{error:#}"), "reason": self.code()}),
        );
        if let Some(members) = document.as_object_mut() {
            members.insert("exit_code".to_owned(), json!(self.exit_code()));
            members.insert("remedy".to_owned(), json!(self.remedy()));
        }
        document
    }
}

/// A failure of TLS comes wrapped in input and output errors, whose `source` is not the failure itself.
fn is_of_tls(cause: &(dyn Error + 'static)) -> bool {
    let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    cause.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_of_tls(inner)) || cause.source().is_some_and(is_of_tls)
}

/// What went wrong, with its causes. A phone's refusal in the words of the reason, which the phone's own side does not have.
fn words(error: &anyhow::Error) -> String {
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<HttpError>()?.refusal());
    let Some(refusal) = refusal else { return format!("{error:#}").trim_end().to_owned() };
    let title = Reason::ALL.into_iter().find(|reason| reason.code() == refusal.reason).map_or("The service refused", Reason::title);
    let detail = refusal.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let request = refusal.request_id.as_ref().map(|id| format!(", request {id}")).unwrap_or_default();
    format!("{title} ({}{detail}){request}", refusal.reason)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_line_of_one_place_goes_before_that_of_the_kind() {
        let away = std::io::Error::other("disk");
        let error = Err::<(), _>(away).context(Advice::new("cannot write", "make room")).context("outer").expect_err("an error");
        assert_eq!(Failure::of(&error), Failure::Advised("make room".into()));
        assert_eq!(format!("{error:#}"), "outer: cannot write: disk");
    }

    #[test]
    fn a_machine_is_told_the_same_as_a_person() {
        let error = advise("no such thing", "make one.");
        let document = Failure::of(&error).document(&error);
        assert_eq!(
            document,
            json!({"type": "urn:tillward:problem:failed", "title": "no such thing", "reason": "failed", "exit_code": 1, "remedy": "make one."})
        );
    }
}
