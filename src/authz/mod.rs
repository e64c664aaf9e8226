//! Who may do what. The border of authorization: [`Authz::authorize`] answers with a [`Permit`] or a [`Denied`], and
//! nothing outside this module knows how the answer was found: by Cedar policies, of which this module alone names the engine
//! (docs/adr/0014). Default deny: what no policy allows is refused.

mod action;
mod caller;
mod cases;
mod check;
mod engine;
mod entities;
mod explain;
mod files;
mod matrix;
mod policies;
mod question;
mod resource;
mod samples;

pub use action::Action;
pub use caller::{Caller, Phone, Principal, PrincipalEntry, PrincipalUri, PrincipalUriError, Role};
pub use cases::{BUILT_IN_CASES, CASES_FILE, Case, CasesError, Outcome};
pub use explain::{Explanation, NearMiss, explain};
pub use files::{PolicyFiles, SCHEMA, SCHEMA_FILE};
pub use matrix::matrix;
pub use policies::{Policies, PolicyProblem, PolicyRefusal, PolicyText};
pub use question::{Answer, Question, QuestionError};
pub use resource::{Resource, ResourceKind};

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::Entity;

use crate::clock::UnixTime;

/// The configured principals, and the policies over them.
#[derive(Debug)]
pub struct Authz {
    principals: BTreeMap<PrincipalUri, Known>,
    in_force: RwLock<Arc<Policies>>,
}

/// A configured principal, and what it is to the policies: made once, because making it is the dear part of a decision.
#[derive(Debug)]
struct Known {
    principal: Principal,
    entity: Option<Entity>,
}

/// The configured principals contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the principal {0} is configured more than once")]
pub struct TwicePrincipal(PrincipalUri);

/// Proof that `caller` may do `action` to `resource`: made only by [`Authz::authorize`], used up by the audit event.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit ends in an audit event"]
pub struct Permit {
    caller: Caller,
    action: Action,
    resource: Resource,
    policies: Vec<String>,
    dry: bool,
}

/// What a decision depends on beside who, what and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// The service's time.
    pub at: UnixTime,
    /// Verified approvals of the plan that is executed, by officers other than its requester; 0 outside of a plan.
    pub approvals: u32,
}

impl Circumstances {
    /// An ordinary request.
    pub fn at(at: UnixTime) -> Self {
        Self { at, approvals: 0 }
    }
}

/// No policy allows it, or one forbids it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{caller} may not {action} on {resource}")]
pub struct Denied {
    caller: Caller,
    action: Action,
    resource: Box<Resource>,
    policies: Vec<String>,
}

impl Authz {
    /// The border over the configured principals, by the policies that come with Tillward.
    ///
    /// # Errors
    /// As [`Self::by`].
    pub fn new(entries: impl IntoIterator<Item = PrincipalEntry>) -> Result<Self, TwicePrincipal> {
        Self::by(entries, Policies::built_in())
    }

    /// The border over the configured principals, by these policies.
    ///
    /// # Errors
    /// [`TwicePrincipal`] when two entries have the same URI: which of two roles would hold must not depend on their order.
    pub fn by(entries: impl IntoIterator<Item = PrincipalEntry>, policies: Policies) -> Result<Self, TwicePrincipal> {
        let mut principals = BTreeMap::new();
        for entry in entries {
            let uri = entry.uri.clone();
            let principal = Principal::new(entry);
            let entity = policies.entity(&Caller::Principal(principal.clone()));
            if principals.insert(uri.clone(), Known { principal, entity }).is_some() {
                return Err(TwicePrincipal(uri));
            }
        }
        Ok(Self { principals, in_force: RwLock::new(Arc::new(policies)) })
    }

    /// The caller behind a client certificate's subjectAltName URI, if it is configured.
    pub fn identify(&self, uri: &str) -> Option<Caller> {
        let uri = uri.parse::<PrincipalUri>().ok()?;
        self.principals.get(&uri).map(|known| Caller::Principal(known.principal.clone()))
    }

    /// The policies in force.
    pub fn policies(&self) -> Arc<Policies> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other policies in force, for every decision from now on. Whether that may be is asked before.
    pub fn replace(&self, policies: Policies) {
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policies);
    }

    /// What tells the policies in force from every other set.
    pub fn digest(&self) -> [u8; 32] {
        self.policies().digest()
    }

    /// How many approvals a plan for this action needs, the largest number that a policy which allows it names; `None` where no policy
    /// allows it, or none is needed. Never below two.
    pub fn quorum(&self, action: Action) -> Option<u32> {
        self.policies().quorum(action)
    }

    /// May `caller` do `action` to `resource`, as things are?
    ///
    /// # Errors
    /// [`Denied`] when no policy allows it, one forbids it, one cannot be evaluated, or the action does not apply to this kind of resource.
    pub fn authorize(&self, caller: &Caller, action: Action, resource: &Resource, now: Circumstances) -> Result<Permit, Denied> {
        let denied = |policies| Denied { caller: caller.clone(), action, resource: Box::new(resource.clone()), policies };
        let entity = match caller {
            Caller::Principal(principal) => match self.principals.get(principal.uri()) {
                Some(known) if known.principal == *principal => known.entity.as_ref(),
                // Made by another `Authz`, from an older configuration: it has no standing here.
                _ => return Err(denied(Vec::new())),
            },
            Caller::Phone(_) | Caller::System(_) => None,
        };
        let decision = self.policies().engine().decide(caller, entity, action, resource, now);
        let policies = decision.policies.join(" ");
        for error in &decision.errors {
            tracing::error!(%caller, %action, %resource, error, "a policy could not be evaluated: denied");
        }
        if decision.allowed {
            tracing::debug!(%caller, %action, %resource, policies, "allowed");
            Ok(Permit { caller: caller.clone(), action, resource: resource.clone(), policies: decision.policies, dry: false })
        } else {
            tracing::info!(%caller, %action, %resource, policies, "denied");
            Err(denied(decision.policies))
        }
    }
}

impl Permit {
    /// The same permit for a dry run: what it allows is not done. An effect that is made from it does not commit.
    pub fn dry(self) -> Self {
        Self { dry: true, ..self }
    }

    /// Whether it is for a dry run.
    pub fn is_dry(&self) -> bool {
        self.dry
    }

    /// Who.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Does what.
    pub fn action(&self) -> Action {
        self.action
    }

    /// To what.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The ids of the policies that allow it, at least one.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }
}

impl Denied {
    /// The reason code of every denial.
    pub const REASON: &'static str = "not-permitted";

    /// Who.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Wanted to do what.
    pub fn action(&self) -> Action {
        self.action
    }

    /// To what.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The ids of the policies that forbid it; none where none allows it.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }
}

#[cfg(test)]
mod tests;
