//! A set of policies that may decide: made from files as a whole, or refused as a whole with everything that is wrong in it.

use std::collections::HashMap;
use std::fmt;

use cedar_policy::{Entity, Policy};

use super::check;
use super::engine::{Decision, Engine};
use super::files::PolicyFiles;
use super::{Action, Caller, Circumstances, Resource};

/// One thing that is wrong in a set of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyProblem {
    /// Which file.
    pub file: String,
    /// Where in it, where that is known; from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// The set of policies is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.0))]
pub struct PolicyRefusal(pub Vec<PolicyProblem>);

fn list(problems: &[PolicyProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A policy as its file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyText {
    /// Its id.
    pub id: String,
    /// The file.
    pub file: String,
    /// The line of its first annotation, from 1.
    pub line: usize,
    /// The comment above it, on one line.
    pub comment: String,
    /// Whether it permits; otherwise it forbids.
    pub permits: bool,
    /// Its `@quorum`.
    pub quorum: Option<u32>,
}

/// A checked set of policies.
#[derive(Debug)]
pub struct Policies {
    digest: [u8; 32],
    texts: Vec<PolicyText>,
    quorums: HashMap<Action, u32>,
    parsed: Vec<Policy>,
    engine: Engine,
}

impl Policies {
    /// Checks the files and makes them ready to decide.
    ///
    /// # Errors
    /// [`PolicyRefusal`] with every problem: what does not parse or does not fit the schema, ids that are missing or not unique, an action that
    /// needs a plan without its quorum.
    pub fn check(files: &PolicyFiles) -> Result<Self, PolicyRefusal> {
        let checked = check::check(files)?;
        let engine = Engine::new(&checked.schema, &checked.policies);
        let made = Self { digest: files.digest(), texts: checked.texts, quorums: checked.quorums, parsed: checked.policies, engine };
        check::nothing_below_its_quorum(&made)?;
        Ok(made)
    }

    /// The policies that come with Tillward.
    #[expect(clippy::missing_panics_doc, reason = "a test checks them")]
    pub fn built_in() -> Self {
        Self::check(&PolicyFiles::built_in()).expect("the policies that come with Tillward are checked by its tests")
    }

    /// Tells this set from every other: [`PolicyFiles::digest`].
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The policies, by id.
    pub fn texts(&self) -> &[PolicyText] {
        &self.texts
    }

    /// The policy of that id.
    pub fn text(&self, id: &str) -> Option<&PolicyText> {
        self.texts.iter().find(|text| text.id == id)
    }

    /// The largest quorum of the policies that permit this action; none where none does, or none is needed.
    pub fn quorum(&self, action: Action) -> Option<u32> {
        self.quorums.get(&action).copied()
    }

    pub(super) fn parsed(&self) -> &[Policy] {
        &self.parsed
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn entity(&self, caller: &Caller) -> Option<Entity> {
        self.engine.names().caller(caller).ok()
    }

    pub(super) fn decide(&self, caller: &Caller, action: Action, resource: &Resource, now: Circumstances) -> Decision {
        self.engine.decide(caller, None, action, resource, now)
    }
}
