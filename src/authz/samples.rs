//! One caller of every kind and resources of every kind, owner and trait: what the golden matrix is made of, and what a set of policies is
//! tried with before it is accepted.

use std::collections::BTreeSet;

use super::{Action, Caller, Circumstances, Phone, Principal, PrincipalEntry, Resource, ResourceKind, Role};
use crate::clock::UnixTime;
use crate::id::AcquirerId;

/// A Wednesday, 12:00 UTC.
pub(super) const NOON: Circumstances = Circumstances { at: UnixTime(1_795_608_000), approvals: 0 };
/// What [`NOON`] is compared with: a Wednesday at 03:00, a Sunday at 12:00.
pub(super) const OTHER_TIMES: [UnixTime; 2] = [UnixTime(1_795_575_600), UnixTime(1_795_348_800)];

const ACTIVATIONS: [&str; 2] = ["ABCDEFG", "HJKMNPQ"];
const DEVICES: [&str; 2] = ["dev_00000000000000000000000000", "dev_00000000000000000000000001"];
/// The principal of every role has this URI: it is the requester of `own` plans.
const URI: &str = "urn:example:somebody";
const OTHER_URI: &str = "urn:example:somebody-else";

/// What a key can be for, as its trait `purpose` says it.
pub(super) const PURPOSES: [&str; 6] = ["sign", "mac", "encrypt", "wrap", "derive", "ca"];
/// What a plan can be for, as its trait `deed` says it.
pub(super) const DEEDS: [&str; 7] =
    ["destroy-key", "report-compromise", "export-key", "import-key", "change-policy", "change-officers", "use-root-ca"];

/// Whose a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// An acquirer's that the caller acts for; a phone's own.
    Own,
    /// Another acquirer's; another phone's.
    Foreign,
    /// The service's.
    Service,
}

/// A resource, with what tells it from others of its kind.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub(super) trait_word: String,
    pub(super) resource: Resource,
}

/// A caller and a resource.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) caller: Caller,
    pub(super) resource: Resource,
}

/// Every caller with every resource of an action.
pub(super) fn of(action: Action) -> impl Iterator<Item = Sample> {
    let resources: Vec<_> = action
        .applies_to()
        .iter()
        .flat_map(|kind| [Whose::Own, Whose::Foreign, Whose::Service].into_iter().flat_map(move |whose| variants(*kind, whose)))
        .collect();
    callers().into_iter().flat_map(move |(_, caller)| {
        resources.clone().into_iter().map(move |variant| Sample { caller: caller.clone(), resource: variant.resource })
    })
}

/// A caller of every kind, by the word for it.
pub(super) fn callers() -> Vec<(&'static str, Caller)> {
    let mut callers: Vec<_> = Role::ALL.into_iter().map(|role| (role.name(), principal(role))).collect();
    callers.push(("activation", Caller::Phone(Phone::Activation(ACTIVATIONS[0].parse().expect("an id")))));
    callers.push(("device", Caller::Phone(Phone::Device(DEVICES[0].parse().expect("an id")))));
    callers.push(("system", Caller::System("task")));
    callers
}

fn principal(role: Role) -> Caller {
    let acquirers = BTreeSet::from(["own".parse().expect("an id")]);
    Caller::Principal(Principal::new(PrincipalEntry { uri: URI.parse().expect("a URI"), role, acquirers }))
}

/// Whether a kind can belong to an acquirer, to the service, or to either.
pub(super) fn owners(kind: ResourceKind) -> &'static [Whose] {
    match kind {
        ResourceKind::Merchant | ResourceKind::Terminal | ResourceKind::Activation | ResourceKind::Device | ResourceKind::Devices => {
            &[Whose::Own, Whose::Foreign]
        }
        ResourceKind::Key | ResourceKind::Keys | ResourceKind::Plan => &[Whose::Own, Whose::Foreign, Whose::Service],
        ResourceKind::Audit | ResourceKind::Policy | ResourceKind::Hsm | ResourceKind::Crl | ResourceKind::Service => &[Whose::Service],
    }
}

/// The resources of a kind; none where a kind cannot be theirs.
pub(super) fn variants(kind: ResourceKind, whose: Whose) -> Vec<Variant> {
    if !owners(kind).contains(&whose) {
        return Vec::new();
    }
    let at = usize::from(whose != Whose::Own);
    let acquirer: Option<AcquirerId> = match whose {
        Whose::Own => Some("own".parse().expect("an id")),
        Whose::Foreign => Some("foreign".parse().expect("an id")),
        Whose::Service => None,
    };
    let plain = |resource| vec![Variant { trait_word: String::new(), resource }];
    match kind {
        ResourceKind::Merchant => plain(Resource::merchant(&"m".parse().expect("an id"), acquirer.as_ref())),
        ResourceKind::Terminal => plain(Resource::terminal(&"t".parse().expect("an id"), acquirer.as_ref())),
        ResourceKind::Activation => plain(Resource::activation(&ACTIVATIONS[at].parse().expect("an id"), acquirer.as_ref())),
        ResourceKind::Device => plain(Resource::device(&DEVICES[at].parse().expect("an id"), acquirer.as_ref())),
        ResourceKind::Devices => plain(Resource::devices(&acquirer.into_iter().collect())),
        ResourceKind::Keys => plain(Resource::keys_of(&acquirer.into_iter().collect())),
        ResourceKind::Audit => plain(Resource::audit()),
        ResourceKind::Policy => plain(Resource::policy()),
        ResourceKind::Hsm => plain(Resource::hsm()),
        ResourceKind::Crl => plain(Resource::crl()),
        ResourceKind::Service => plain(Resource::service()),
        ResourceKind::Key => PURPOSES
            .into_iter()
            .map(|purpose| Variant {
                trait_word: purpose.to_owned(),
                resource: Resource::key("k", acquirer.as_ref()).with("purpose", purpose),
            })
            .collect(),
        ResourceKind::Plan => {
            let requests = [("by another", OTHER_URI), ("by the caller", URI)];
            let all = requests.into_iter().flat_map(|(word, requester)| DEEDS.into_iter().map(move |deed| (word, requester, deed)));
            all.map(|(word, requester, deed)| Variant {
                trait_word: format!("{deed} {word}"),
                resource: Resource::plan("p", acquirer.as_ref()).with("requester", requester).with("deed", deed),
            })
            .collect()
        }
    }
}
