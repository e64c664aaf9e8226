//! What is acted upon, with the facts that a decision needs.

use crate::id::{AcquirerId, ActivationId, DeviceId, MerchantId, TerminalId};
use std::collections::BTreeSet;
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
    /// The inventory of the token's keys.
    Keys,
    /// The HSM hosts.
    Hsm,
    /// The certificate revocation list.
    Crl,
    /// The service as a whole.
    Service,
}

impl ResourceKind {
    /// The name used in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Merchant => "merchant",
            Self::Terminal => "terminal",
            Self::Activation => "activation",
            Self::Device => "device",
            Self::Devices => "devices",
            Self::Audit => "audit",
            Self::Keys => "keys",
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

    fn of<'a>(kind: ResourceKind, id: &str, acquirers: impl IntoIterator<Item = &'a AcquirerId>) -> Self {
        Self { kind, id: id.to_owned(), acquirers: acquirers.into_iter().cloned().collect() }
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
