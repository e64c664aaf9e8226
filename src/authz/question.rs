//! A question to the policies that nobody asked in earnest: for cases, and for `tillward policy explain`. It gives no permit.
//!
//! Who: `ROLE[:ACQUIRER,..]`, `activation:ID`, `device:ID`, `system`. Resource: `KIND:ID[:ACQUIRER,..]`, without an acquirer the service's.

use std::collections::BTreeSet;

use super::engine::Decision;
use super::policies::Policies;
use super::{Action, Caller, Circumstances, Phone, Principal, PrincipalEntry, PrincipalUri, Resource, ResourceKind, Role};
use crate::clock::UnixTime;
use crate::id::AcquirerId;

/// Who wants to do what to what, and how things are.
#[derive(Debug, Clone)]
pub struct Question {
    caller: Caller,
    action: Action,
    resource: Resource,
    now: Circumstances,
}

/// Why a text is not part of a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Not a caller.
    #[error("`{0}` is nobody: ROLE[:ACQUIRER,..] with a role of officer, operator, auditor, backend; or activation:ID, device:ID, system")]
    Who(String),
    /// Not a resource.
    #[error("`{0}` is no resource: KIND:ID[:ACQUIRER,..]; kinds are {kinds}", kinds = kinds())]
    Resource(String),
    /// Not an action.
    #[error("`{0}` is no action; policies/matrix.txt lists them")]
    Action(String),
    /// Not a trait.
    #[error("`{0}` is no trait: purpose, form, requester, deed")]
    Trait(String),
    /// Not a time.
    #[error("`{0}` is no time: RFC 3339, for example 2026-11-25T12:00:00Z")]
    Time(String),
}

fn kinds() -> String {
    ResourceKind::ALL.map(ResourceKind::name).join(", ")
}

/// What the policies answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that made it so.
    pub policies: Vec<String>,
    /// Policies that could not be evaluated.
    pub errors: Vec<String>,
}

impl Question {
    /// Reads a question at a Wednesday noon, outside of a plan. `uri` is the principal's, if not a made-up one of its role.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub fn new(who: &str, uri: Option<&PrincipalUri>, action: &str, resource: &str) -> Result<Self, QuestionError> {
        Ok(Self {
            caller: caller(who, uri).ok_or_else(|| QuestionError::Who(who.to_owned()))?,
            action: Action::named(action).ok_or_else(|| QuestionError::Action(action.to_owned()))?,
            resource: self::resource(resource).ok_or_else(|| QuestionError::Resource(resource.to_owned()))?,
            now: super::samples::NOON,
        })
    }

    /// The same with a trait of the resource.
    ///
    /// # Errors
    /// [`QuestionError::Trait`].
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, QuestionError> {
        let known = ["purpose", "form", "requester", "deed"].into_iter().find(|known| *known == name);
        self.resource = self.resource.with(known.ok_or_else(|| QuestionError::Trait(name.to_owned()))?, value);
        Ok(self)
    }

    /// The same when a plan is executed that so many officers approved.
    #[must_use]
    pub fn approved(mut self, approvals: u32) -> Self {
        self.now.approvals = approvals;
        self
    }

    /// The same at this time.
    ///
    /// # Errors
    /// [`QuestionError::Time`].
    pub fn at(mut self, time: &str) -> Result<Self, QuestionError> {
        let at: jiff::Timestamp = time.parse().map_err(|_| QuestionError::Time(time.to_owned()))?;
        self.now.at = UnixTime(at.as_second());
        Ok(self)
    }

    /// What these policies answer.
    pub fn put(&self, policies: &Policies) -> Answer {
        let Decision { allowed, policies, errors } = policies.decide(&self.caller, self.action, &self.resource, self.now);
        Answer { allowed, policies, errors }
    }

    /// Whether the action can be done to this kind of resource at all.
    pub fn applies(&self) -> bool {
        self.action.applies_to().contains(&self.resource.kind())
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn action(&self) -> Action {
        self.action
    }

    pub(super) fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(super) fn now(&self) -> Circumstances {
        self.now
    }
}

fn caller(who: &str, uri: Option<&PrincipalUri>) -> Option<Caller> {
    let (word, rest) = who.split_once(':').map_or((who, None), |(word, rest)| (word, Some(rest)));
    match (word, rest) {
        ("system", None) => return Some(Caller::System("task")),
        ("activation", Some(id)) => return Some(Caller::Phone(Phone::Activation(id.parse().ok()?))),
        ("device", Some(id)) => return Some(Caller::Phone(Phone::Device(id.parse().ok()?))),
        _ => {}
    }
    let role = Role::ALL.into_iter().find(|role| role.name() == word)?;
    let uri = uri.cloned().or_else(|| format!("urn:example:{word}").parse().ok())?;
    Some(Caller::Principal(Principal::new(PrincipalEntry { uri, role, acquirers: acquirers(rest)? })))
}

fn resource(text: &str) -> Option<Resource> {
    let mut parts = text.splitn(3, ':');
    let word = parts.next()?;
    let kind = ResourceKind::ALL.into_iter().find(|kind| kind.name() == word)?;
    let id = parts.next().filter(|id| !id.is_empty())?;
    Some(Resource::of(kind, id, &acquirers(parts.next())?))
}

fn acquirers(text: Option<&str>) -> Option<BTreeSet<AcquirerId>> {
    text.map_or_else(|| Some(BTreeSet::new()), |text| text.split(',').map(|name| name.parse().ok()).collect())
}
