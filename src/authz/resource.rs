//! What is acted upon, with the facts that a decision needs.

use crate::id::{AcquirerId, ActivationId, DeviceId, MerchantId, TerminalId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// A merchant of an acquirer.
    Merchant,
    /// A terminal of a merchant.
    Terminal,
    /// An activation for a terminal.
    Activation,
    /// An enrolled phone.
    Device,
    /// The devices of some acquirers, as a list.
    Devices,
    /// The audit log.
    Audit,
    /// A logical key.
    Key,
    /// The logical keys of some acquirers or of the service, as a list; the inventory of the token's keys.
    Keys,
    /// A plan that waits for approvals.
    Plan,
    /// The policies, and the roster of officers.
    Policy,
    /// The HSM hosts.
    Hsm,
    /// The certificate revocation list.
    Crl,
    /// The service as a whole.
    Service,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Merchant,
        Self::Terminal,
        Self::Activation,
        Self::Device,
        Self::Devices,
        Self::Audit,
        Self::Key,
        Self::Keys,
        Self::Plan,
        Self::Policy,
        Self::Hsm,
        Self::Crl,
        Self::Service,
    ];

    /// The name used in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Merchant => "merchant",
            Self::Terminal => "terminal",
            Self::Activation => "activation",
            Self::Device => "device",
            Self::Devices => "devices",
            Self::Audit => "audit",
            Self::Key => "key",
            Self::Keys => "keys",
            Self::Plan => "plan",
            Self::Policy => "policy",
            Self::Hsm => "hsm",
            Self::Crl => "crl",
            Self::Service => "service",
        }
    }
}

/// What is acted upon. The acquirer comes from the database, never from the request; of a resource that is being registered
/// it is the acquirer that it would belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    kind: ResourceKind,
    id: String,
    acquirers: BTreeSet<AcquirerId>,
    traits: BTreeMap<&'static str, String>,
}

impl Resource {
    /// A merchant. `None` for the acquirer, here and below: there is no such merchant, so it is nobody's and no rule allows
    /// anything on it.
    pub fn merchant<'a>(id: &MerchantId, acquirer: impl Into<Option<&'a AcquirerId>>) -> Self {
        Self::of(ResourceKind::Merchant, id.as_str(), acquirer.into())
    }

    /// A terminal.
    pub fn terminal<'a>(id: &TerminalId, acquirer: impl Into<Option<&'a AcquirerId>>) -> Self {
        Self::of(ResourceKind::Terminal, id.as_str(), acquirer.into())
    }

    /// An activation.
    pub fn activation<'a>(id: &ActivationId, acquirer: impl Into<Option<&'a AcquirerId>>) -> Self {
        Self::of(ResourceKind::Activation, id.as_str(), acquirer.into())
    }

    /// A device.
    pub fn device<'a>(id: &DeviceId, acquirer: impl Into<Option<&'a AcquirerId>>) -> Self {
        Self::of(ResourceKind::Device, id.as_str(), acquirer.into())
    }

    /// A device that is only known by the initial key id in a KSN, and to nobody here.
    pub fn ksn(ikid: [u8; 8]) -> Self {
        Self::of(ResourceKind::Device, &data_encoding::HEXUPPER.encode(&ikid), [])
    }

    /// The devices of these acquirers.
    pub fn devices(acquirers: &BTreeSet<AcquirerId>) -> Self {
        Self::of(ResourceKind::Devices, "*", acquirers)
    }

    /// The audit log.
    pub fn audit() -> Self {
        Self::of(ResourceKind::Audit, "*", [])
    }

    /// The inventory of keys.
    pub fn keys() -> Self {
        Self::of(ResourceKind::Keys, "*", [])
    }

    /// A logical key, of an acquirer or of the service. Policies also know its traits `purpose` and, where it travels, `form`.
    pub fn key<'a>(name: &str, acquirer: impl Into<Option<&'a AcquirerId>>) -> Self {
        Self::of(ResourceKind::Key, name, acquirer.into())
    }

    /// The logical keys of these acquirers; of none, the service's own.
    pub fn keys_of(acquirers: &BTreeSet<AcquirerId>) -> Self {
        Self::of(ResourceKind::Keys, "*", acquirers)
    }

    /// A plan about something of an acquirer or of the service. Policies also know its traits `requester` and `deed`.
    pub fn plan<'a>(id: &str, acquirer: impl Into<Option<&'a AcquirerId>>) -> Self {
        Self::of(ResourceKind::Plan, id, acquirer.into())
    }

    /// Policies and roster.
    pub fn policy() -> Self {
        Self::of(ResourceKind::Policy, "*", [])
    }

    /// The same resource with a trait that policies can ask for.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.traits.insert(name, value.into());
        self
    }

    /// What policies can ask for.
    pub fn traits(&self) -> &BTreeMap<&'static str, String> {
        &self.traits
    }

    /// The HSM hosts.
    pub fn hsm() -> Self {
        Self::of(ResourceKind::Hsm, "*", [])
    }

    /// The certificate revocation list.
    pub fn crl() -> Self {
        Self::of(ResourceKind::Crl, "*", [])
    }

    /// The service as a whole.
    pub fn service() -> Self {
        Self::of(ResourceKind::Service, "*", [])
    }

    pub(super) fn of<'a>(kind: ResourceKind, id: &str, acquirers: impl IntoIterator<Item = &'a AcquirerId>) -> Self {
        Self { kind, id: id.to_owned(), acquirers: acquirers.into_iter().cloned().collect(), traits: BTreeMap::new() }
    }

    /// Its kind.
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Its id; `*` where there is only one or where it is a list.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The acquirers that own it; none for what belongs to the service.
    pub fn acquirers(&self) -> &BTreeSet<AcquirerId> {
        &self.acquirers
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.id)
    }
}
