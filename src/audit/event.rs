//! Entries, before they are written.

use super::Fact;
use crate::authz::{Action, Caller, Denied, Permit, Resource};
use crate::clock::UnixTime;
use std::collections::BTreeMap;
use std::fmt;

/// When, and in answer to which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    /// The service's time.
    pub at: UnixTime,
    /// The request, as in `X-Request-Id`.
    pub request: RequestId,
}

/// The id of a request, or of a piece of work of the service itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

/// Why a text is not a request id. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a request id: 1 to 64 of A-Z a-z 0-9 _ -")]
pub struct RequestIdError;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Effect,
    /// It was refused, for this stable reason code.
    Refused(&'static str),
}

/// What a caller with a permit did, or was refused all the same. The only thing that commits a transaction.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an audit event is there to be committed"]
pub struct AuditEvent(Entry);

/// What a caller without a permit was refused. It can be recorded, it cannot commit a change.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a refusal is there to be recorded"]
pub struct Refusal(Entry);

/// One entry of the audit log, before it is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    occasion: Occasion,
    caller: Caller,
    action: Action,
    resource: Resource,
    policies: Vec<String>,
    outcome: Outcome,
    detail: BTreeMap<&'static str, Fact>,
    dry: bool,
}

/// What a dry run would have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WouldBe {
    /// The action.
    pub action: &'static str,
    /// To what: kind and id.
    pub resource: String,
    /// What else would have been written.
    pub detail: BTreeMap<&'static str, String>,
}

impl From<&Permit> for WouldBe {
    fn from(permit: &Permit) -> Self {
        Self { action: permit.action().name(), resource: permit.resource().to_string(), detail: BTreeMap::new() }
    }
}

impl AuditEvent {
    /// What the permit allows was done.
    pub fn effect(permit: Permit, occasion: &Occasion) -> Self {
        Self::of(permit, occasion, Outcome::Effect)
    }

    /// It was allowed, and refused all the same: wrong proof, wrong state.
    pub fn refused(permit: Permit, occasion: &Occasion, reason: &'static str) -> Self {
        Self::of(permit, occasion, Outcome::Refused(reason))
    }

    #[expect(clippy::needless_pass_by_value, reason = "the permit is used up: one permit, one entry")]
    fn of(permit: Permit, occasion: &Occasion, outcome: Outcome) -> Self {
        let mut entry = Entry::new(permit.caller(), permit.action(), permit.resource(), occasion, outcome);
        entry.policies = permit.policies().to_vec();
        // A refusal is written down: who asks what would be refused learns as much as who is refused.
        entry.dry = permit.is_dry() && outcome == Outcome::Effect;
        if permit.is_dry() && !entry.dry {
            entry.detail.insert("dry_run", Fact::from("true"));
        }
        Self(entry)
    }

    /// The same event and one fact more. The last one under a name stands.
    pub fn with(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        self.0.detail.insert(name, fact.into());
        self
    }
}

impl Refusal {
    /// No policy allows it.
    pub fn denied(denied: &Denied, occasion: &Occasion) -> Self {
        let Self(mut entry) = Self::turned_away(denied.caller(), denied.action(), denied.resource(), occasion, Denied::REASON);
        entry.policies = denied.policies().to_vec();
        Self(entry)
    }

    /// It was refused before the question of permission arose: the resource is unknown, for example.
    pub fn turned_away(caller: &Caller, action: Action, resource: &Resource, occasion: &Occasion, reason: &'static str) -> Self {
        Self(Entry::new(caller, action, resource, occasion, Outcome::Refused(reason)))
    }

    /// The same refusal and one fact more. The last one under a name stands.
    pub fn with(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        self.0.detail.insert(name, fact.into());
        self
    }
}

impl From<AuditEvent> for Entry {
    fn from(event: AuditEvent) -> Self {
        event.0
    }
}

impl From<Refusal> for Entry {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}

impl Entry {
    fn new(caller: &Caller, action: Action, resource: &Resource, occasion: &Occasion, outcome: Outcome) -> Self {
        Self {
            occasion: occasion.clone(),
            caller: caller.clone(),
            action,
            resource: resource.clone(),
            policies: Vec::new(),
            outcome,
            detail: BTreeMap::new(),
            dry: false,
        }
    }

    /// Of a dry run, what would have been done; then this is not to be written.
    pub fn would_be(&self) -> Option<WouldBe> {
        let detail = self.detail.iter().map(|(name, fact)| (*name, fact.as_str().to_owned())).collect();
        self.dry.then(|| WouldBe { action: self.action.name(), resource: self.resource.to_string(), detail })
    }

    /// When, and in answer to what.
    pub fn occasion(&self) -> &Occasion {
        &self.occasion
    }

    /// Who.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Did what.
    pub fn action(&self) -> Action {
        self.action
    }

    /// To what.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// By which policies: those that allow it, or those that forbid it; none where no policy allows it.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What else is to be known.
    pub fn detail(&self) -> &BTreeMap<&'static str, Fact> {
        &self.detail
    }
}

impl RequestId {
    /// A request id from 16 random bytes.
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(format!("req_{}", data_encoding::HEXLOWER.encode(&random)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for RequestId {
    type Err = RequestIdError;
    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if fits { Ok(Self(text.to_owned())) } else { Err(RequestIdError) }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{Authz, Circumstances};
    use proptest::prelude::*;

    fn occasion() -> Occasion {
        Occasion { at: UnixTime(1_763_823_600), request: RequestId::from_random([7; 16]) }
    }

    #[test]
    fn an_effect_carries_the_permits_policies() {
        let authz = Authz::new([]).expect("no principals");
        let permit = authz
            .authorize(&Caller::System("test"), Action::Reconcile, &Resource::service(), Circumstances::at(UnixTime(0)))
            .expect("allowed");
        let event = Entry::from(AuditEvent::effect(permit, &occasion()).with("found", 3_u64).with("state", "clean"));
        assert_eq!(event.policies(), ["system-keeps-house"]);
        assert_eq!(event.outcome(), Outcome::Effect);
        assert_eq!(event.detail().get("found"), Some(&Fact::from(3_u64)));
    }

    #[test]
    fn a_denial_is_an_entry_without_policies() {
        let authz = Authz::new([]).expect("no principals");
        let denied = authz
            .authorize(&Caller::System("test"), Action::ReadAudit, &Resource::audit(), Circumstances::at(UnixTime(0)))
            .expect_err("denied");
        let event = Entry::from(Refusal::denied(&denied, &occasion()));
        assert!(event.policies().is_empty());
        assert_eq!(event.outcome(), Outcome::Refused("not-permitted"));
    }

    proptest! {
        #[test]
        fn a_request_id_that_parses_prints_itself(text in "[A-Za-z0-9_. -]{0,80}") {
            if let Ok(id) = text.parse::<RequestId>() {
                prop_assert_eq!(id.as_str(), text.as_str());
            }
        }

        #[test]
        fn a_made_request_id_parses(random: [u8; 16]) {
            prop_assert!(RequestId::from_random(random).as_str().parse::<RequestId>().is_ok());
        }
    }
}
