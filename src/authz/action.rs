//! What is asked: one action an operation, named as the operation is.

use super::ResourceKind;
use std::fmt;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the operation of the same name")]
pub enum Action {
    RegisterMerchant,
    ReadMerchant,
    RegisterTerminal,
    ReadTerminal,
    CreateActivation,
    RevokeActivation,
    ReadActivation,
    Enrol,
    IssueChallenge,
    Attest,
    RenewCertificate,
    ReadDevice,
    ListDevices,
    SuspendDevice,
    ResumeDevice,
    RetireDevice,
    ReplaceDevice,
    Clear,
    VerifyMac,
    Decrypt,
    ReadAudit,
    ReadKeys,
    ReadHsm,
    PublishCrl,
    PurgeExpired,
    AcceptRestore,
    Reconcile,
    Initialise,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 28] = [
        Self::RegisterMerchant,
        Self::ReadMerchant,
        Self::RegisterTerminal,
        Self::ReadTerminal,
        Self::CreateActivation,
        Self::RevokeActivation,
        Self::ReadActivation,
        Self::Enrol,
        Self::IssueChallenge,
        Self::Attest,
        Self::RenewCertificate,
        Self::ReadDevice,
        Self::ListDevices,
        Self::SuspendDevice,
        Self::ResumeDevice,
        Self::RetireDevice,
        Self::ReplaceDevice,
        Self::Clear,
        Self::VerifyMac,
        Self::Decrypt,
        Self::ReadAudit,
        Self::ReadKeys,
        Self::ReadHsm,
        Self::PublishCrl,
        Self::PurgeExpired,
        Self::AcceptRestore,
        Self::Reconcile,
        Self::Initialise,
    ];

    /// The name of the operation: its file, function, span and audit entry.
    pub fn name(self) -> &'static str {
        match self {
            Self::RegisterMerchant => "register_merchant",
            Self::ReadMerchant => "read_merchant",
            Self::RegisterTerminal => "register_terminal",
            Self::ReadTerminal => "read_terminal",
            Self::CreateActivation => "create_activation",
            Self::RevokeActivation => "revoke_activation",
            Self::ReadActivation => "read_activation",
            Self::Enrol => "enrol",
            Self::IssueChallenge => "issue_challenge",
            Self::Attest => "attest",
            Self::RenewCertificate => "renew_certificate",
            Self::ReadDevice => "read_device",
            Self::ListDevices => "list_devices",
            Self::SuspendDevice => "suspend_device",
            Self::ResumeDevice => "resume_device",
            Self::RetireDevice => "retire_device",
            Self::ReplaceDevice => "replace_device",
            Self::Clear => "clear",
            Self::VerifyMac => "verify_mac",
            Self::Decrypt => "decrypt",
            Self::ReadAudit => "read_audit",
            Self::ReadKeys => "read_keys",
            Self::ReadHsm => "read_hsm",
            Self::PublishCrl => "publish_crl",
            Self::PurgeExpired => "purge_expired",
            Self::AcceptRestore => "accept_restore",
            Self::Reconcile => "reconcile",
            Self::Initialise => "initialise",
        }
    }

    /// The kinds of resource that it can be done to; every other pair is denied whatever the rules say.
    pub fn applies_to(self) -> &'static [ResourceKind] {
        match self {
            Self::RegisterMerchant | Self::ReadMerchant => &[ResourceKind::Merchant],
            // The activation does not exist yet when it is asked for: the terminal is what is acted upon.
            Self::RegisterTerminal | Self::ReadTerminal | Self::CreateActivation | Self::ReplaceDevice => &[ResourceKind::Terminal],
            Self::RevokeActivation | Self::ReadActivation | Self::Enrol => &[ResourceKind::Activation],
            Self::IssueChallenge => &[ResourceKind::Activation, ResourceKind::Device],
            Self::Attest
            | Self::RenewCertificate
            | Self::ReadDevice
            | Self::SuspendDevice
            | Self::ResumeDevice
            | Self::RetireDevice
            | Self::Clear
            | Self::VerifyMac
            | Self::Decrypt => &[ResourceKind::Device],
            Self::ListDevices => &[ResourceKind::Devices],
            Self::ReadAudit => &[ResourceKind::Audit],
            Self::ReadKeys => &[ResourceKind::Keys],
            Self::ReadHsm => &[ResourceKind::Hsm],
            Self::PublishCrl => &[ResourceKind::Crl],
            Self::PurgeExpired | Self::AcceptRestore | Self::Reconcile | Self::Initialise => &[ResourceKind::Service],
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
