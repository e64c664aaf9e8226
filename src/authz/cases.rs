//! Cases: what a set of policies has to answer, in a file beside it.
//!
//! ```toml
//! [[case]]
//! name = "an operator destroys a key of its acquirer with two approvals"
//! who = "operator:acme"
//! action = "destroy_key"
//! resource = "key:receipts:acme"
//! approvals = 2
//! answer = "allow"
//! policies = ["quorum-decides-over-keys"]
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::PrincipalUri;
use super::policies::Policies;
use super::question::{Answer, Question, QuestionError};

/// The cases of the policies that come with Tillward.
pub const BUILT_IN_CASES: &str = include_str!("../../policies/cases.toml");
/// The name of the file with the cases in a folder of policies.
pub const CASES_FILE: &str = "cases.toml";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "case")]
    cases: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    who: String,
    uri: Option<PrincipalUri>,
    action: String,
    resource: String,
    #[serde(default)]
    traits: BTreeMap<String, String>,
    #[serde(default)]
    approvals: u32,
    at: Option<String>,
    answer: Expected,
    #[serde(default)]
    policies: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

/// Why a text is not a file of cases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CasesError {
    /// Not TOML of the right shape.
    #[error("not a file of cases: {0}")]
    Form(String),
    /// A case is not a question.
    #[error("the case \"{name}\" is not one: {source}")]
    Question {
        /// Which.
        name: String,
        /// Why.
        source: QuestionError,
    },
    /// Two cases have the same name, or there are none.
    #[error("{0}")]
    Names(String),
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it says, in words.
    pub name: String,
    question: Question,
    allowed: bool,
    policies: BTreeSet<String>,
}

/// How a case came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Decision and deciding policies are the expected ones.
    pub good: bool,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub answered: String,
}

impl Case {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// [`CasesError`].
    pub fn parse(text: &str) -> Result<Vec<Self>, CasesError> {
        let file: File = toml::from_str(text).map_err(|error| CasesError::Form(error.to_string().trim_end().to_owned()))?;
        let mut names = BTreeSet::new();
        if let Some(twice) = file.cases.iter().find(|entry| !names.insert(entry.name.clone())) {
            return Err(CasesError::Names(format!("two cases have the name \"{}\"", twice.name)));
        }
        if file.cases.is_empty() {
            return Err(CasesError::Names("there is no case".to_owned()));
        }
        file.cases.into_iter().map(Self::of).collect()
    }

    fn of(entry: Entry) -> Result<Self, CasesError> {
        let question = Question::new(&entry.who, entry.uri.as_ref(), &entry.action, &entry.resource)
            .and_then(|question| entry.traits.iter().try_fold(question, |question, (name, value)| question.with(name, value)))
            .and_then(|question| if let Some(at) = &entry.at { question.at(at) } else { Ok(question) })
            .map_err(|source| CasesError::Question { name: entry.name.clone(), source })?;
        let question = question.approved(entry.approvals);
        Ok(Self { name: entry.name, question, allowed: entry.answer == Expected::Allow, policies: entry.policies })
    }

    /// Puts it to these policies. The deciding policies are to be exactly the expected ones; none means that no policy speaks.
    pub fn run(&self, policies: &Policies) -> Outcome {
        let Answer { allowed, policies, errors } = self.question.put(policies);
        let got: BTreeSet<String> = policies.into_iter().collect();
        let text = |allowed: bool, by: &BTreeSet<String>| {
            let word = if allowed { "allow" } else { "deny" };
            if by.is_empty() { word.to_owned() } else { format!("{word} by {}", by.iter().cloned().collect::<Vec<_>>().join(" ")) }
        };
        Outcome {
            good: allowed == self.allowed && got == self.policies && errors.is_empty(),
            expected: text(self.allowed, &self.policies),
            answered: text(allowed, &got) + if errors.is_empty() { "" } else { " (a policy could not be evaluated)" },
        }
    }
}
