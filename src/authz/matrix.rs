//! The rules, built in. The whole answer, caller by action, stands in `policies/matrix.txt`, and a test keeps it true.

use super::{Action, Caller, Phone, Resource, ResourceKind, Role};
use Action as A;

/// One rule: these callers may do these actions over these resources.
struct Rule {
    id: &'static str,
    who: Who,
    actions: &'static [Action],
    over: Over,
}

/// Which callers a rule speaks of.
#[derive(Clone, Copy)]
enum Who {
    Principal(Role),
    PhoneWithActivation,
    EnrolledPhone,
    System,
}

/// Which resources a rule speaks of.
#[derive(Clone, Copy)]
enum Over {
    /// Every acquirer that owns the resource is one that the principal acts for, and there is at least one.
    OwnAcquirers,
    /// The resource is the phone's own activation or device.
    Itself,
    /// The resource belongs to the service, not to an acquirer.
    Service,
    /// One of the two: what belongs to the service, or to acquirers that the principal all acts for.
    OwnOrService,
    /// Whoever owns it.
    Anything,
}

const READS: &[Action] = &[A::ReadMerchant, A::ReadTerminal, A::ReadActivation, A::ReadDevice, A::ListDevices];

/// The life cycle of keys, but for what needs a plan.
const KEEPS_KEYS: &[Action] = &[
    A::CreateKey,
    A::UpdateKey,
    A::ActivateKey,
    A::RotateKey,
    A::SuspendKey,
    A::DeactivateKey,
    A::RestoreKey,
    A::ReconcileKeys,
    A::ProposePlan,
    A::CancelPlan,
    A::ExecutePlan,
    A::DestroyKey,
    A::ReportCompromise,
    A::ExportKey,
    A::ImportKey,
    A::ChangePolicy,
    A::ChangeOfficers,
    A::UseRootCa,
];

const SEES_KEYS: &[Action] = &[A::ReadKey, A::ListKeys, A::ReadPublicKey, A::ReadPlan, A::ListPlans, A::ReadPolicy];

const RULES: &[Rule] = &[
    Rule { id: "officer-keeps-keys", who: Who::Principal(Role::Officer), actions: KEEPS_KEYS, over: Over::OwnOrService },
    Rule { id: "officer-approves", who: Who::Principal(Role::Officer), actions: &[A::ApprovePlan], over: Over::OwnOrService },
    Rule { id: "officer-sees-keys", who: Who::Principal(Role::Officer), actions: SEES_KEYS, over: Over::OwnOrService },
    Rule { id: "operator-keeps-keys", who: Who::Principal(Role::Operator), actions: KEEPS_KEYS, over: Over::OwnOrService },
    Rule { id: "operator-sees-keys", who: Who::Principal(Role::Operator), actions: SEES_KEYS, over: Over::OwnOrService },
    Rule { id: "auditor-sees-keys", who: Who::Principal(Role::Auditor), actions: SEES_KEYS, over: Over::OwnOrService },
    Rule {
        id: "backend-uses-keys",
        who: Who::Principal(Role::Backend),
        actions: &[
            A::ReadKey,
            A::ListKeys,
            A::ReadPublicKey,
            A::KeySign,
            A::KeyVerify,
            A::KeyMac,
            A::KeyVerifyMac,
            A::KeyEncrypt,
            A::KeyDecrypt,
            A::KeyWrap,
            A::KeyUnwrap,
        ],
        over: Over::OwnAcquirers,
    },
    Rule { id: "backend-draws-random", who: Who::Principal(Role::Backend), actions: &[A::Random], over: Over::Service },
    Rule { id: "system-keeps-keys", who: Who::System, actions: &[A::RotateKey, A::FinishDestruction], over: Over::Anything },
    // A security officer stops what is suspect, but does not set up merchants: who can make an activation and who oversees it
    // are different people.
    Rule {
        id: "officer-stops-and-resumes",
        who: Who::Principal(Role::Officer),
        actions: &[A::RevokeActivation, A::SuspendDevice, A::ResumeDevice, A::RetireDevice],
        over: Over::OwnAcquirers,
    },
    Rule {
        id: "officer-oversees-service",
        who: Who::Principal(Role::Officer),
        actions: &[A::ReadAudit, A::ReadKeys, A::ReadHsm, A::PublishCrl, A::AcceptRestore],
        over: Over::Service,
    },
    Rule { id: "officer-reads", who: Who::Principal(Role::Officer), actions: READS, over: Over::OwnAcquirers },
    Rule {
        id: "operator-runs-own-acquirers",
        who: Who::Principal(Role::Operator),
        actions: &[
            A::RegisterMerchant,
            A::RegisterTerminal,
            A::CreateActivation,
            A::RevokeActivation,
            A::SuspendDevice,
            A::ResumeDevice,
            A::RetireDevice,
            A::ReplaceDevice,
        ],
        over: Over::OwnAcquirers,
    },
    Rule {
        id: "operator-runs-service",
        who: Who::Principal(Role::Operator),
        actions: &[A::ReadKeys, A::ReadHsm, A::PublishCrl],
        over: Over::Service,
    },
    Rule { id: "operator-reads", who: Who::Principal(Role::Operator), actions: READS, over: Over::OwnAcquirers },
    Rule { id: "auditor-reads", who: Who::Principal(Role::Auditor), actions: READS, over: Over::OwnAcquirers },
    Rule {
        id: "auditor-reads-service",
        who: Who::Principal(Role::Auditor),
        actions: &[A::ReadAudit, A::ReadKeys, A::ReadHsm],
        over: Over::Service,
    },
    // The back end may stop a device, it may not resume one: that a phone is sound again is a person's judgement.
    Rule {
        id: "backend-manages-own-acquirer",
        who: Who::Principal(Role::Backend),
        actions: &[
            A::RegisterMerchant,
            A::RegisterTerminal,
            A::CreateActivation,
            A::RevokeActivation,
            A::SuspendDevice,
            A::RetireDevice,
            A::ReplaceDevice,
        ],
        over: Over::OwnAcquirers,
    },
    Rule {
        id: "backend-takes-payments",
        who: Who::Principal(Role::Backend),
        actions: &[A::Clear, A::VerifyMac, A::Decrypt],
        over: Over::OwnAcquirers,
    },
    Rule { id: "backend-reads", who: Who::Principal(Role::Backend), actions: READS, over: Over::OwnAcquirers },
    Rule {
        id: "phone-enrols-with-its-activation",
        who: Who::PhoneWithActivation,
        actions: &[A::IssueChallenge, A::Enrol],
        over: Over::Itself,
    },
    Rule {
        id: "phone-acts-for-itself",
        who: Who::EnrolledPhone,
        actions: &[A::IssueChallenge, A::Attest, A::RenewCertificate],
        over: Over::Itself,
    },
    Rule {
        id: "system-keeps-house",
        who: Who::System,
        actions: &[A::PublishCrl, A::PurgeExpired, A::AcceptRestore, A::Reconcile, A::Initialise],
        over: Over::Service,
    },
];

/// The ids of the rules that allow it; none is a denial.
pub(super) fn rules_that_allow(caller: &Caller, action: Action, resource: &Resource) -> Vec<String> {
    if !action.applies_to().contains(&resource.kind()) {
        return Vec::new();
    }
    RULES
        .iter()
        .filter(|rule| rule.who.is(caller) && rule.actions.contains(&action) && rule.over.covers(caller, resource))
        .map(|rule| format!("built-in:{}", rule.id))
        .collect()
}

impl Who {
    fn is(self, caller: &Caller) -> bool {
        match (self, caller) {
            (Self::Principal(role), Caller::Principal(principal)) => role == principal.role(),
            (Self::PhoneWithActivation, Caller::Phone(Phone::Activation(_)))
            | (Self::EnrolledPhone, Caller::Phone(Phone::Device(_)))
            | (Self::System, Caller::System(_)) => true,
            _ => false,
        }
    }
}

impl Over {
    fn covers(self, caller: &Caller, resource: &Resource) -> bool {
        let owners = resource.acquirers();
        match (self, caller) {
            (Self::OwnAcquirers, Caller::Principal(principal)) => !owners.is_empty() && owners.is_subset(principal.acquirers()),
            (Self::Itself, Caller::Phone(Phone::Activation(id))) => {
                resource.kind() == ResourceKind::Activation && resource.id() == id.as_str() && !owners.is_empty()
            }
            (Self::Itself, Caller::Phone(Phone::Device(id))) => {
                resource.kind() == ResourceKind::Device && resource.id() == id.as_str() && !owners.is_empty()
            }
            (Self::Service, _) => owners.is_empty(),
            (Self::Anything, _) => true,
            (Self::OwnOrService, Caller::Principal(principal)) => owners.is_subset(principal.acquirers()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{Principal, PrincipalEntry};
    use crate::id::AcquirerId;
    use std::collections::BTreeSet;
    use std::fmt::Write;

    const ACTIVATION: [&str; 2] = ["ABCDEFG", "HJKMNPQ"];
    const DEVICE: [&str; 2] = ["dev_00000000000000000000000000", "dev_00000000000000000000000001"];

    fn principal(role: Role) -> Caller {
        let uri = "urn:example:somebody".parse().expect("parses");
        Caller::Principal(Principal::new(PrincipalEntry { uri, role, acquirers: BTreeSet::from(["own".parse().expect("parses")]) }))
    }

    /// The resource of a kind, of the caller's acquirer and id (0) or of another's (1).
    fn resource(kind: ResourceKind, whose: usize) -> Resource {
        let acquirer: AcquirerId = ["own", "foreign"][whose].parse().expect("parses");
        match kind {
            ResourceKind::Merchant => Resource::merchant(&"m".parse().expect("parses"), &acquirer),
            ResourceKind::Terminal => Resource::terminal(&"t".parse().expect("parses"), &acquirer),
            ResourceKind::Activation => Resource::activation(&ACTIVATION[whose].parse().expect("parses"), &acquirer),
            ResourceKind::Device => Resource::device(&DEVICE[whose].parse().expect("parses"), &acquirer),
            ResourceKind::Devices => Resource::devices(&BTreeSet::from([acquirer])),
            ResourceKind::Audit => Resource::audit(),
            ResourceKind::Key => Resource::key("k", &acquirer),
            ResourceKind::Plan => Resource::plan("p", &acquirer),
            ResourceKind::Policy => Resource::policy(),
            ResourceKind::Keys => Resource::keys(),
            ResourceKind::Hsm => Resource::hsm(),
            ResourceKind::Crl => Resource::crl(),
            ResourceKind::Service => Resource::service(),
        }
    }

    fn callers() -> Vec<(&'static str, Caller)> {
        let mut callers: Vec<_> = Role::ALL.into_iter().map(|role| (role.name(), principal(role))).collect();
        callers.push(("activation", Caller::Phone(Phone::Activation(ACTIVATION[0].parse().expect("parses")))));
        callers.push(("device", Caller::Phone(Phone::Device(DEVICE[0].parse().expect("parses")))));
        callers.push(("system", Caller::System("test")));
        callers
    }

    fn matrix() -> String {
        let callers = callers();
        let mut text = String::from(
            "Who may do what. For principals: on a resource of an own acquirer / of a foreign one. For a phone, which names itself by an\n\
             activation or a device: on its own / on another's. What belongs to the service has no owner: both columns are the same.\n\
             src/authz/matrix.rs holds the rules; a test compares this file with them.\n\n",
        );
        write!(text, "{:19}{:12}", "action", "resource").expect("a string takes it");
        for (name, _) in &callers {
            write!(text, "{name:14}").expect("a string takes it");
        }
        text = format!("{}\n", text.trim_end());
        for action in Action::ALL {
            for kind in action.applies_to() {
                let mut line = format!("{:19}{:12}", action.name(), kind.name());
                for (_, caller) in &callers {
                    let cell =
                        [0, 1].map(|whose| if rules_that_allow(caller, action, &resource(*kind, whose)).is_empty() { "-" } else { "yes" });
                    write!(line, "{:14}", format!("{:3} / {}", cell[0], cell[1])).expect("a string takes it");
                }
                writeln!(text, "{}", line.trim_end()).expect("a string takes it");
            }
        }
        text.push_str("\nWhich rule allows it:\n");
        for (name, caller) in &callers {
            for action in Action::ALL {
                for kind in action.applies_to() {
                    for rule in rules_that_allow(caller, action, &resource(*kind, 0)) {
                        writeln!(text, "{name:11} {:18} {:11} {rule}", action.name(), kind.name()).expect("a string takes it");
                    }
                }
            }
        }
        text
    }

    #[test]
    fn the_whole_matrix_is_the_golden_file() {
        let is = matrix();
        let golden = include_str!("../../policies/matrix.txt");
        assert!(is == golden, "policies/matrix.txt differs from the rules. If the change is meant, the file is to be:\n{is}");
    }

    #[test]
    fn an_action_on_a_kind_that_it_does_not_apply_to_is_denied_to_everyone() {
        const KINDS: [ResourceKind; 9] = [
            ResourceKind::Merchant,
            ResourceKind::Terminal,
            ResourceKind::Activation,
            ResourceKind::Device,
            ResourceKind::Devices,
            ResourceKind::Audit,
            ResourceKind::Keys,
            ResourceKind::Crl,
            ResourceKind::Service,
        ];
        for (name, caller) in callers() {
            for action in Action::ALL {
                for kind in KINDS.into_iter().filter(|kind| !action.applies_to().contains(kind)) {
                    assert!(rules_that_allow(&caller, action, &resource(kind, 0)).is_empty(), "{name} {action} {}", kind.name());
                }
            }
        }
    }

    #[test]
    fn what_does_not_exist_is_denied_to_everyone() {
        let device = Resource::device(&DEVICE[0].parse().expect("parses"), None);
        let activation = Resource::activation(&ACTIVATION[0].parse().expect("parses"), None);
        for (name, caller) in callers() {
            for action in Action::ALL {
                assert!(rules_that_allow(&caller, action, &device).is_empty(), "{name} {action}");
                assert!(rules_that_allow(&caller, action, &activation).is_empty(), "{name} {action}");
            }
        }
    }

    #[test]
    fn every_action_is_somebodys() {
        let callers = callers();
        for action in Action::ALL {
            let allowed = action
                .applies_to()
                .iter()
                .any(|kind| callers.iter().any(|(_, caller)| !rules_that_allow(caller, action, &resource(*kind, 0)).is_empty()));
            assert!(allowed, "{action}");
        }
    }
}
