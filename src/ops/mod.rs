//! THE TABLE OF CONTENTS: one verb a file, all of one shape: load, authorize (gives a `Permit`), decide (pure), act (the HSM),
//! commit (takes the audit event). The name of the file is the name of the function, of its audit action and of its span.
//!
//! Where the HSM is asked, nothing is written on the token for a device: whatever a crash leaves, it leaves in memory. So the one
//! transaction at the end is the whole effect, and asking again is safe.
#![expect(clippy::missing_errors_doc, reason = "every operation answers an OpError; ops/error.rs says which, ops/reason.rs why")]

pub mod anchor;
pub mod authority;
pub mod bundle;
pub mod ceremony;
pub mod context;
pub mod crl;
pub mod derivation_ids;
pub mod error;
pub mod init;
pub mod officers;
pub mod pins;
pub mod reason;
pub mod stop_reason;

mod activate_key;
mod create_key;
mod deactivate_key;
mod deed;
mod design_keys;
mod destroy_key;
mod export_key;
mod finish_destruction;
mod import_key;
mod key_schedule;
mod list_keys;
mod make_version;
mod move_key;
mod plan;
mod read_key;
mod reconcile_keys;
mod report_compromise;
mod restore_key;
mod rotate_key;
mod suspend_key;
mod update_key;
mod usable_key;

mod approve_plan;
mod attest;
mod cancel_plan;
mod challenge;
mod clearance;
mod create_activation;
mod decrypt;
mod enrol;
mod enrolment_parameters;
mod execute_plan;
mod issue_certificate;
mod key_decrypt;
mod key_encrypt;
mod key_mac;
mod key_sets;
mod key_sign;
mod key_unwrap;
mod key_verify;
mod key_verify_mac;
mod key_wrap;
mod kms;
mod list_devices;
mod list_plans;
mod propose_plan;
mod random;
mod read_activation;
mod read_audit;
mod read_device;
mod read_hsm;
mod read_keys;
mod read_plan;
mod read_policy;
mod read_public_key;
pub(crate) mod reconcile;
mod register_merchant;
mod register_terminal;
mod renew_certificate;
mod replace_device;
mod resume_device;
mod retire_device;
mod revoke_activation;
mod suspend_device;
mod trust_bundle;
mod verify_mac;

pub use activate_key::activate_key;
pub use approve_plan::{ApprovalBody, approve_plan};
pub use attest::attest;
pub use cancel_plan::cancel_plan;
pub use challenge::{device_challenge, enrolment_challenge};
pub use clearance::{Clearance, ClearanceBody, give_clearance};
pub use create_activation::{ActivationBody, CreatedActivation, create_activation};
pub use create_key::{KeyBody, create_key};
pub use crl::current_crl;
pub use deactivate_key::deactivate_key;
pub use decrypt::{Decrypted, decrypt};
pub use design_keys::adopt_design_keys;
pub use enrol::enrol;
pub use enrolment_parameters::enrolment_parameters;
pub(crate) use enrolment_parameters::{transport_keys, transport_kind};
pub use execute_plan::{Executed, ExecutionBody, execute_plan};
pub use key_decrypt::{DecryptBody, Plain, key_decrypt, key_decrypt_batch};
pub use key_encrypt::{EncryptBody, Encrypted, key_encrypt, key_encrypt_batch};
pub use key_mac::{Mac, MacBody, key_mac, key_mac_batch};
pub use key_schedule::{KeyWork, do_key_work};
pub use key_sets::{KeySets, key_set_decrypt, key_set_decrypt_batch, key_set_verify_mac, key_set_verify_mac_batch, list_key_sets};
pub use key_sign::{SignBody, Signed, key_sign, key_sign_batch};
pub use key_unwrap::{UnwrapBody, Unwrapped, key_unwrap, key_unwrap_batch};
pub use key_verify::{Verdict, VerifyBody, key_verify, key_verify_batch};
pub use key_verify_mac::{VerifyMacBody, key_verify_mac, key_verify_mac_batch};
pub use key_wrap::{WrapBody, Wrapped, key_wrap, key_wrap_batch};
pub use kms::{Batch, BatchAnswer};
pub use list_devices::{DevicePage, DeviceQuery, list_devices};
pub use list_keys::{KeyPage, KeyQuery, list_keys};
pub use list_plans::{PlanPage, PlanQuery, list_plans};
pub use plan::{ApprovalView, PlanView};
pub use propose_plan::{PlanBody, Proposed, propose_plan};
pub use random::{Random, RandomBody, random};
pub use read_activation::{Activation, read_activation};
pub use read_audit::{AuditPage, AuditQuery, read_audit};
pub use read_device::{Device, read_device};
pub use read_hsm::{HsmReport, read_hsm};
pub use read_key::{ManagedKey, VersionView, read_key};
pub use read_keys::{KeyInventory, read_keys};
pub use read_plan::{read_plan, read_plan_bundle};
pub use read_policy::{PolicyLine, PolicyReport, read_policy};
pub use read_public_key::{Jwks, PublicKeyView, VersionQuery, read_jwks, read_key_jwks, read_public_key};
pub use reconcile_keys::{Reconciliation, reconcile_keys};
pub use register_merchant::{Merchant, MerchantBody, read_merchant, register_merchant};
pub use register_terminal::{Terminal, TerminalBody, read_terminal, register_terminal};
pub use renew_certificate::renew_certificate;
pub use replace_device::{Replaced, replace_device};
pub use restore_key::restore_key;
pub use resume_device::resume_device;
pub use retire_device::retire_device;
pub use revoke_activation::revoke_activation;
pub use rotate_key::{RotationBody, rotate_key};
pub use stop_reason::ReasonBody;
pub use suspend_device::suspend_device;
pub use suspend_key::suspend_key;
pub use trust_bundle::trust_bundle;
pub use update_key::{KeyChange, update_key};
pub use verify_mac::{Verified, verify_mac};

use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::audit::{AuditEvent, Refusal as AuditRefusal, WouldBe};
use crate::authz::{Action, Caller, Circumstances, Permit, Resource};
use context::Context;
use error::{OpError, Refusal};
use reason::Reason;

/// SHA-256 (FIPS 180-4).
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Asks the authorization border. A denial is written to the audit log before the caller hears of it.
async fn authorize(app: &App, context: &Context, caller: &Caller, action: Action, resource: &Resource) -> Result<Permit, OpError> {
    authorize_as(app, context, caller, action, resource, Circumstances::at(app.clock.now())).await
}

/// The same with what else the decision depends on: the approvals of a plan.
async fn authorize_as(
    app: &App,
    context: &Context,
    caller: &Caller,
    action: Action,
    resource: &Resource,
    now: Circumstances,
) -> Result<Permit, OpError> {
    match app.authz.authorize(caller, action, resource, now) {
        Ok(permit) => Ok(if context.dry_run { permit.dry() } else { permit }),
        Err(denied) => {
            app.store.record(AuditRefusal::denied(&denied, &context.occasion(app))).await?;
            Err(Reason::NotPermitted.into())
        }
    }
}

/// Where an operation begins to use the token: a dry run ends here. Those that only write end at their commit, with all of it tried.
fn for_real(permit: Permit) -> Result<Permit, OpError> {
    if permit.is_dry() { Err(OpError::DryRun(Box::new(WouldBe::from(&permit)))) } else { Ok(permit) }
}

/// Refuses what a permit allowed: wrong proof, wrong state. The refusal is in the audit log before the caller hears of it.
async fn refuse(app: &App, context: &Context, permit: Permit, refusal: impl Into<Refusal>) -> OpError {
    let refusal = refusal.into();
    let event = AuditEvent::refused(permit, &context.occasion(app), refusal.reason.code());
    match app.store.record(event).await {
        Ok(()) => refusal.into(),
        Err(error) => error.into(),
    }
}

/// Refuses what is asked of something that does not exist.
async fn turn_away(app: &App, context: &Context, caller: &Caller, action: Action, resource: &Resource, reason: Reason) -> OpError {
    let event = AuditRefusal::turned_away(caller, action, resource, &context.occasion(app), reason.code());
    match app.store.record(event).await {
        Ok(()) => reason.into(),
        Err(error) => error.into(),
    }
}
