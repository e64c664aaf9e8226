//! How a check is made and told: its result, an error, or a panic, each becomes a row.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cryptoki::error::Error;

use crate::error::Refusal;
use crate::host::fault::{self, Fault};
use crate::host::prove::Unproven;
use crate::host::trial::Out;
use crate::trial::wire::Event;
use crate::trial::{Outcome, Row};

/// What a check found.
pub(super) struct Verdict {
    outcome: Outcome,
    code: Option<String>,
    hint: String,
}

/// A check's end. An error is a failure of the module, with the check's advice.
pub(super) type Seen = Result<Verdict, Trouble>;

/// Why a check did not come to its end.
pub(super) enum Trouble {
    Token(Error),
    Other(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Token(error) => Self::Token(error),
            Fault::Refused(refusal) => Self::Other(refusal.to_string()),
        }
    }
}

impl From<Unproven> for Trouble {
    fn from(unproven: Unproven) -> Self {
        match unproven {
            Unproven::Token(error) => Self::Token(error),
            Unproven::At(what) => Self::Other(format!("it failed at {what}")),
        }
    }
}

/// `CKR_GENERAL_ERROR of C_UnwrapKey`.
pub(super) fn named(error: Error) -> String {
    match Fault::from(error).into_refusal() {
        Refusal::Token { function, code } if code.starts_with("CKR") => format!("{code} of {function}"),
        Refusal::Token { code, .. } => code,
        other => other.to_string(),
    }
}

/// The codes that a dead token gives as well as bad input does: the host asks its canary before it believes them.
pub(super) fn says_nothing(error: &Error) -> bool {
    fault::rule(error).canary
}

impl Verdict {
    fn of(outcome: Outcome, hint: impl Into<String>) -> Self {
        Self { outcome, code: None, hint: hint.into() }
    }

    pub(super) fn with(self, error: Error) -> Self {
        Self { code: Some(named(error)), ..self }
    }

    pub(super) fn with_code(self, code: Option<String>) -> Self {
        Self { code, ..self }
    }
}

pub(super) fn pass(hint: impl Into<String>) -> Verdict {
    Verdict::of(Outcome::Pass, hint)
}

pub(super) fn fail(hint: impl Into<String>) -> Verdict {
    Verdict::of(Outcome::Fail, hint)
}

pub(super) fn workaround(hint: impl Into<String>) -> Verdict {
    Verdict::of(Outcome::Workaround, hint)
}

pub(super) fn note(hint: impl Into<String>) -> Verdict {
    Verdict::of(Outcome::Note, hint)
}

/// Where the rows of one unit go.
pub(super) struct Report<'a> {
    out: &'a mut Out,
    unit: u16,
    /// The parent is gone: nothing more is done.
    gone: Option<std::io::Error>,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a mut Out, unit: u16) -> Self {
        Self { out, unit, gone: None }
    }

    pub(super) fn event(&mut self, event: &Event) {
        if self.gone.is_none() {
            self.gone = self.out.tell(event).err();
        }
    }

    /// Makes the check. `advice` is the line for an error of the module. Tells whether it did not fail.
    pub(super) fn check(&mut self, group: &str, name: &str, advice: &str, check: impl FnOnce() -> Seen) -> bool {
        if self.gone.is_some() {
            return false;
        }
        self.event(&Event::Begin { unit: self.unit, group: group.to_owned(), name: name.to_owned() });
        let verdict = match catch_unwind(AssertUnwindSafe(check)) {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(Trouble::Token(error))) => fail(advice).with(error),
            Ok(Err(Trouble::Other(what))) => fail(format!("{what}: {advice}")),
            Err(_) => fail("the check itself panicked: a defect of Tillward, or an answer that is no PKCS#11"),
        };
        let good = verdict.outcome != Outcome::Fail;
        let Verdict { outcome, code, hint } = verdict;
        self.event(&Event::Row(Row { group: group.to_owned(), name: name.to_owned(), outcome, code, hint }));
        good
    }

    pub(super) fn end(self) -> std::io::Result<()> {
        self.gone.map_or(Ok(()), Err)
    }
}
