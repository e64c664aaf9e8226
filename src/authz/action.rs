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
    CreateKey,
    ReadKey,
    UpdateKey,
    ActivateKey,
    RotateKey,
    SuspendKey,
    DeactivateKey,
    RestoreKey,
    DestroyKey,
    FinishDestruction,
    ReportCompromise,
    ExportKey,
    ImportKey,
    KeySign,
    KeyVerify,
    KeyMac,
    KeyVerifyMac,
    KeyEncrypt,
    KeyDecrypt,
    KeyWrap,
    KeyUnwrap,
    ReadPublicKey,
    ListKeys,
    ReconcileKeys,
    Random,
    ProposePlan,
    ReadPlan,
    ListPlans,
    ApprovePlan,
    CancelPlan,
    ExecutePlan,
    ReadPolicy,
    ChangePolicy,
    ChangeOfficers,
    UseRootCa,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 63] = [
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
        Self::CreateKey,
        Self::ReadKey,
        Self::UpdateKey,
        Self::ActivateKey,
        Self::RotateKey,
        Self::SuspendKey,
        Self::DeactivateKey,
        Self::RestoreKey,
        Self::DestroyKey,
        Self::FinishDestruction,
        Self::ReportCompromise,
        Self::ExportKey,
        Self::ImportKey,
        Self::KeySign,
        Self::KeyVerify,
        Self::KeyMac,
        Self::KeyVerifyMac,
        Self::KeyEncrypt,
        Self::KeyDecrypt,
        Self::KeyWrap,
        Self::KeyUnwrap,
        Self::ReadPublicKey,
        Self::ListKeys,
        Self::ReconcileKeys,
        Self::Random,
        Self::ProposePlan,
        Self::ReadPlan,
        Self::ListPlans,
        Self::ApprovePlan,
        Self::CancelPlan,
        Self::ExecutePlan,
        Self::ReadPolicy,
        Self::ChangePolicy,
        Self::ChangeOfficers,
        Self::UseRootCa,
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
            Self::CreateKey => "create_key",
            Self::ReadKey => "read_key",
            Self::UpdateKey => "update_key",
            Self::ActivateKey => "activate_key",
            Self::RotateKey => "rotate_key",
            Self::SuspendKey => "suspend_key",
            Self::DeactivateKey => "deactivate_key",
            Self::RestoreKey => "restore_key",
            Self::DestroyKey => "destroy_key",
            Self::FinishDestruction => "finish_destruction",
            Self::ReportCompromise => "report_compromise",
            Self::ExportKey => "export_key",
            Self::ImportKey => "import_key",
            Self::KeySign => "key_sign",
            Self::KeyVerify => "key_verify",
            Self::KeyMac => "key_mac",
            Self::KeyVerifyMac => "key_verify_mac",
            Self::KeyEncrypt => "key_encrypt",
            Self::KeyDecrypt => "key_decrypt",
            Self::KeyWrap => "key_wrap",
            Self::KeyUnwrap => "key_unwrap",
            Self::ReadPublicKey => "read_public_key",
            Self::ListKeys => "list_keys",
            Self::ReconcileKeys => "reconcile_keys",
            Self::Random => "random",
            Self::ProposePlan => "propose_plan",
            Self::ReadPlan => "read_plan",
            Self::ListPlans => "list_plans",
            Self::ApprovePlan => "approve_plan",
            Self::CancelPlan => "cancel_plan",
            Self::ExecutePlan => "execute_plan",
            Self::ReadPolicy => "read_policy",
            Self::ChangePolicy => "change_policy",
            Self::ChangeOfficers => "change_officers",
            Self::UseRootCa => "use_root_ca",
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
            Self::ReadKeys | Self::ListKeys | Self::ReconcileKeys => &[ResourceKind::Keys],
            Self::ReadHsm | Self::Random => &[ResourceKind::Hsm],
            Self::CreateKey
            | Self::ReadKey
            | Self::UpdateKey
            | Self::ActivateKey
            | Self::RotateKey
            | Self::SuspendKey
            | Self::DeactivateKey
            | Self::RestoreKey
            | Self::DestroyKey
            | Self::FinishDestruction
            | Self::ReportCompromise
            | Self::ExportKey
            | Self::ImportKey
            | Self::KeySign
            | Self::KeyVerify
            | Self::KeyMac
            | Self::KeyVerifyMac
            | Self::KeyEncrypt
            | Self::KeyDecrypt
            | Self::KeyWrap
            | Self::KeyUnwrap
            | Self::ReadPublicKey => &[ResourceKind::Key],
            Self::ProposePlan | Self::ReadPlan | Self::ListPlans | Self::ApprovePlan | Self::CancelPlan | Self::ExecutePlan => {
                &[ResourceKind::Plan]
            }
            Self::ReadPolicy | Self::ChangePolicy | Self::ChangeOfficers => &[ResourceKind::Policy],
            Self::PublishCrl => &[ResourceKind::Crl],
            Self::PurgeExpired | Self::AcceptRestore | Self::Reconcile | Self::Initialise | Self::UseRootCa => &[ResourceKind::Service],
        }
    }
}

impl Action {
    /// Whether it is done only by the execution of a plan that a quorum approved.
    pub fn needs_a_plan(self) -> bool {
        matches!(
            self,
            Self::DestroyKey
                | Self::ReportCompromise
                | Self::ExportKey
                | Self::ImportKey
                | Self::ChangePolicy
                | Self::ChangeOfficers
                | Self::UseRootCa
        )
    }

    /// The action of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
