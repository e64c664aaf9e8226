//! What a request is to Cedar: entities and context, made of caller, resource and circumstances alone. No store, no clock.
//!
//! No entity is checked against the schema when a request is decided; a test checks that every kind that is built here conforms to it.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};

use super::{Action, Caller, Circumstances, Phone, Resource, ResourceKind, Role};
use crate::id::AcquirerId;

/// The request cannot be put to Cedar. It is denied, and the log says so.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be put to the policies: {0}")]
pub(super) struct NotARequest(String);

/// What a caller is, as far as a policy's scope can tell callers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum CallerKind {
    Principal(Role),
    ActivatingPhone,
    Phone,
    System,
}

impl CallerKind {
    pub(super) const ALL: [Self; 7] = [
        Self::Principal(Role::Officer),
        Self::Principal(Role::Operator),
        Self::Principal(Role::Auditor),
        Self::Principal(Role::Backend),
        Self::ActivatingPhone,
        Self::Phone,
        Self::System,
    ];

    pub(super) fn of(caller: &Caller) -> Self {
        match caller {
            Caller::Principal(principal) => Self::Principal(principal.role()),
            Caller::Phone(Phone::Activation(_)) => Self::ActivatingPhone,
            Caller::Phone(Phone::Device(_)) => Self::Phone,
            Caller::System(_) => Self::System,
        }
    }

    /// The name of its entity type in the schema.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Principal(_) => "Principal",
            Self::ActivatingPhone => "ActivatingPhone",
            Self::Phone => "Phone",
            Self::System => "System",
        }
    }
}

/// The name of a kind of resource in the schema.
pub(super) fn kind_name(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Merchant => "Merchant",
        ResourceKind::Terminal => "Terminal",
        ResourceKind::Activation => "Activation",
        ResourceKind::Device => "Device",
        ResourceKind::Devices => "Devices",
        ResourceKind::Audit => "Audit",
        ResourceKind::Key => "Key",
        ResourceKind::Keys => "Keys",
        ResourceKind::Plan => "Plan",
        ResourceKind::Policy => "Policy",
        ResourceKind::Hsm => "Hsm",
        ResourceKind::Crl => "Crl",
        ResourceKind::Service => "Service",
    }
}

/// The names of the schema, parsed once.
#[derive(Debug)]
pub(super) struct Names(HashMap<&'static str, EntityTypeName>);

impl Names {
    pub(super) fn new() -> Self {
        let types = ["Action", "Role", "Acquirer", "Purpose", "Deed", "KekForm"];
        let callers = CallerKind::ALL.map(CallerKind::type_name);
        let kinds = ResourceKind::ALL.map(kind_name);
        let all = types.into_iter().chain(callers).chain(kinds);
        Self(all.map(|name| (name, name.parse().expect("an identifier is a type's name"))).collect())
    }

    pub(super) fn uid(&self, name: &'static str, id: &str) -> EntityUid {
        let name = self.0.get(name).expect("every name that is asked for is in `new`");
        EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
    }

    pub(super) fn action(&self, action: Action) -> EntityUid {
        self.uid("Action", action.name())
    }

    /// The entity of a caller.
    pub(super) fn caller(&self, caller: &Caller) -> Result<Entity, NotARequest> {
        let name = CallerKind::of(caller).type_name();
        let one = |attribute: &str, value: EntityUid| HashMap::from([(attribute.to_owned(), RestrictedExpression::new_entity_uid(value))]);
        let (id, attributes, parents) = match caller {
            Caller::Principal(principal) => {
                let acquirers = HashMap::from([("acquirers".to_owned(), self.acquirers(principal.acquirers()))]);
                (principal.uri().as_str(), acquirers, HashSet::from([self.uid("Role", principal.role().name())]))
            }
            Caller::Phone(Phone::Activation(id)) => {
                (id.as_str(), one("activation", self.uid(kind_name(ResourceKind::Activation), id.as_str())), HashSet::new())
            }
            Caller::Phone(Phone::Device(id)) => {
                (id.as_str(), one("device", self.uid(kind_name(ResourceKind::Device), id.as_str())), HashSet::new())
            }
            Caller::System(task) => (*task, HashMap::new(), HashSet::new()),
        };
        Entity::new(self.uid(name, id), attributes, parents).map_err(|error| NotARequest(error.to_string()))
    }

    /// The entity of a resource.
    pub(super) fn resource(&self, resource: &Resource) -> Result<Entity, NotARequest> {
        let mut attributes = HashMap::from([("acquirers".to_owned(), self.acquirers(resource.acquirers()))]);
        for (name, value) in resource.traits() {
            let value = match *name {
                "purpose" => RestrictedExpression::new_entity_uid(self.uid("Purpose", value)),
                "form" => RestrictedExpression::new_entity_uid(self.uid("KekForm", value)),
                "deed" => RestrictedExpression::new_entity_uid(self.uid("Deed", value)),
                "requester" => RestrictedExpression::new_entity_uid(self.uid("Principal", value)),
                _ => RestrictedExpression::new_string(value.clone()),
            };
            attributes.insert((*name).to_owned(), value);
        }
        let parents = resource.acquirers().iter().map(|acquirer| self.uid("Acquirer", acquirer.as_str())).collect();
        Entity::new(self.uid(kind_name(resource.kind()), resource.id()), attributes, parents)
            .map_err(|error| NotARequest(error.to_string()))
    }

    /// The whole request.
    pub(super) fn request(
        &self,
        caller: Entity,
        action: EntityUid,
        resource: &Resource,
        now: Circumstances,
    ) -> Result<(Request, Entities), NotARequest> {
        let resource = self.resource(resource)?;
        let broken = |error: String| NotARequest(error);
        let request = Request::new(caller.uid(), action, resource.uid(), context(now)?, None).map_err(|error| broken(error.to_string()))?;
        let entities = Entities::from_entities([caller, resource], None).map_err(|error| broken(error.to_string()))?;
        Ok((request, entities))
    }

    fn acquirers<'a>(&self, acquirers: impl IntoIterator<Item = &'a AcquirerId>) -> RestrictedExpression {
        let uid = |acquirer: &AcquirerId| RestrictedExpression::new_entity_uid(self.uid("Acquirer", acquirer.as_str()));
        RestrictedExpression::new_set(acquirers.into_iter().map(uid))
    }
}

/// `Now` of the schema.
pub(super) fn context(now: Circumstances) -> Result<Context, NotARequest> {
    let pairs = [("at", now.at.0), ("hour", hour(now)), ("weekday", weekday(now)), ("approvals", i64::from(now.approvals))];
    Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), RestrictedExpression::new_long(value))))
        .map_err(|error| NotARequest(error.to_string()))
}

fn hour(now: Circumstances) -> i64 {
    now.at.0.rem_euclid(86_400) / 3600
}

/// 1 Monday to 7 Sunday (ISO 8601). 1970 began on a Thursday.
fn weekday(now: Circumstances) -> i64 {
    (now.at.0.div_euclid(86_400) + 3).rem_euclid(7) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;

    #[test]
    fn hour_and_weekday_are_those_of_the_calendar() {
        for (text, at, weekday_is, hour_is) in [
            ("1970-01-01T00:00:00Z", 0, 4, 0),
            ("1969-12-31T23:59:59Z", -1, 3, 23),
            ("2026-11-22T21:00:00Z", 1_795_381_200, 7, 21),
            ("2026-11-23T00:00:00Z", 1_795_392_000, 1, 0),
        ] {
            assert_eq!(UnixTime(at).rfc3339(), text);
            let now = Circumstances::at(UnixTime(at));
            assert_eq!((weekday(now), hour(now)), (weekday_is, hour_is), "{text}");
        }
    }
}
