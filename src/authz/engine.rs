//! The decision. Cedar looks at every policy of a set for every request; so the set is cut up front by what the scopes name, role and
//! action, and a request is put to the few policies that can speak about it. A test compares the cut sets with the whole one.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, Authorizer, Decision as Verdict, Entities, Entity, EntityUid, Policy, PolicySet, PrincipalConstraint, Schema,
};

use super::entities::{CallerKind, Names, NotARequest};
use super::{Action, Caller, Circumstances, Resource};

/// The answer of the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) allowed: bool,
    /// The policies that made it so, sorted; none where no policy speaks.
    pub(super) policies: Vec<String>,
    /// What went wrong in the evaluation: it is a denial then, whatever else the policies say.
    pub(super) errors: Vec<String>,
}

#[derive(Debug)]
struct Slice {
    action: EntityUid,
    policies: PolicySet,
}

/// The policies, ready to decide.
#[derive(Debug)]
pub(super) struct Engine {
    names: Names,
    authorizer: Authorizer,
    slices: HashMap<(CallerKind, Action), Slice>,
}

impl Engine {
    /// `policies` have their final ids and are checked against the schema.
    pub(super) fn new(schema: &Schema, policies: &[Policy]) -> Self {
        let names = Names::new();
        let groups = schema.action_entities().unwrap_or_else(|_| Entities::empty());
        let mut slices = HashMap::new();
        for action in Action::ALL {
            let uid = names.action(action);
            let of_action: Vec<_> = policies.iter().filter(|policy| speaks_of(policy, &uid, &groups)).collect();
            for kind in CallerKind::ALL {
                let of_both = of_action.iter().filter(|policy| speaks_to(policy, kind, &names)).map(|policy| (*policy).clone());
                let policies = PolicySet::from_policies(of_both).expect("ids are checked to be different");
                slices.insert((kind, action), Slice { action: uid.clone(), policies });
            }
        }
        Self { names, authorizer: Authorizer::new(), slices }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Decides. `known` is the caller's entity, where it was made before.
    pub(super) fn decide(
        &self,
        caller: &Caller,
        known: Option<&Entity>,
        action: Action,
        resource: &Resource,
        now: Circumstances,
    ) -> Decision {
        if !action.applies_to().contains(&resource.kind()) {
            return Decision { allowed: false, policies: Vec::new(), errors: Vec::new() };
        }
        self.put(caller, known, action, resource, now).unwrap_or_else(|error| Decision {
            allowed: false,
            policies: Vec::new(),
            errors: vec![error.to_string()],
        })
    }

    fn put(
        &self,
        caller: &Caller,
        known: Option<&Entity>,
        action: Action,
        resource: &Resource,
        now: Circumstances,
    ) -> Result<Decision, NotARequest> {
        let slice = self.slices.get(&(CallerKind::of(caller), action)).expect("there is one for each kind and action");
        let caller = known.cloned().map_or_else(|| self.names.caller(caller), Ok)?;
        let (request, entities) = self.names.request(caller, slice.action.clone(), resource, now)?;
        let response = self.authorizer.is_authorized(&request, &slice.policies, &entities);
        let mut policies: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        let errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        // Cedar passes over a policy that fails to evaluate. A forbid that is passed over forbids nothing: so every failure is a denial.
        Ok(Decision { allowed: response.decision() == Verdict::Allow && errors.is_empty(), policies, errors })
    }
}

/// Whether the policy's scope can take in this action.
pub(super) fn speaks_of(policy: &Policy, action: &EntityUid, groups: &Entities) -> bool {
    let covers = |named: &EntityUid| named == action || groups.is_ancestor_of(named, action);
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(one) => one == *action,
        ActionConstraint::In(several) => several.iter().any(covers),
    }
}

/// Whether the policy's scope can take in this kind of caller.
pub(super) fn speaks_to(policy: &Policy, kind: CallerKind, names: &Names) -> bool {
    let of_role = |group: &EntityUid| match kind {
        CallerKind::Principal(role) => *group == names.uid("Role", role.name()) || group.type_name().to_string() == "Principal",
        _ => group.type_name().to_string() == kind.type_name(),
    };
    let of_type = |name: &dyn ToString| name.to_string() == kind.type_name();
    match policy.principal_constraint() {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Eq(one) => of_type(one.type_name()),
        PrincipalConstraint::In(group) => of_role(&group),
        PrincipalConstraint::Is(name) => of_type(&name),
        PrincipalConstraint::IsIn(name, group) => of_type(&name) && of_role(&group),
    }
}
