//! Gives a version of a key out under a partner's KEK, as a plan says it. The token is only read; the host verifies the approvals itself.

use serde_json::{Value, json};
use tillward_hsm::{Approved, KekRef, KeyRef};

use super::context::Context;
use super::deed;
use super::design_keys::{DesignKey, demand};
use super::error::{OpError, Refusal};
use super::reason::Reason;
use super::refuse;
use super::usable_key::key_ref;
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::Permit;
use crate::key::{KeyClass, KeyState};
use crate::store::KeyVersion;
use crate::wire::b64url;

/// Whether it could be done now; tells what a person compares: the check values of key and KEK.
pub(super) async fn check(app: &App, _: &Context, key: &KeyRef, kek: &KekRef) -> Result<Value, OpError> {
    let (version, _) = leaving(app, key).await?;
    let under = kek_now(app, kek).await?;
    Ok(json!({"kcv": version.made.kcv, "state": version.state.name(), "kek_kcv": under.made.kcv, "form": kek.form.name()}))
}

/// Does it. Nothing is written on the token: what a crash leaves is a plan that was not executed, and an answer that nobody got.
pub(super) async fn perform(
    app: &App,
    context: &Context,
    permit: Permit,
    key: &KeyRef,
    kek: &KekRef,
    approved: &Approved,
) -> Result<Value, OpError> {
    let found = async { Ok((leaving(app, key).await?, kek_now(app, kek).await?)) };
    let ((version, escrow), under) = match found.await {
        Ok(found) => found,
        Err(OpError::Refused(refusal)) => return Err(refuse(app, context, permit, refusal).await),
        Err(error) => return Err(error),
    };
    // The escrow block is under it.
    let permit = demand(app, context, permit, &[DesignKey::ExportKek]).await?;
    let wrapped = app.hsm.export_key(key, kek, escrow, approved).await?;
    let mut event =
        AuditEvent::effect(permit, &context.occasion(app)).with("version", u64::from(key.version)).with("form", kek.form.name());
    // By these a compromise of the KEK finds what left under it.
    event = event.with("kek", &kek.name).with("kek_version", u64::from(kek.version));
    event = event.with("content", Fact::hex(&super::sha256(&wrapped)));
    deed::commit(app, context, app.store.begin().await?, event, approved).await?;
    Ok(json!({
        "content": b64url::encode(&wrapped),
        "content_sha256": data_encoding::HEXLOWER.encode(&super::sha256(&wrapped)),
        "kcv": version.made.kcv,
        "kek": kek.name,
        "kek_version": kek.version,
        "kek_kcv": under.made.kcv,
        "form": kek.form.name(),
    }))
}

/// The version with its escrow block, if it may leave as it is now.
async fn leaving(app: &App, key: &KeyRef) -> Result<(KeyVersion, Vec<u8>), OpError> {
    let mut reads = app.store.read().await?;
    let row = reads.find_key(&key.name, false).await?.ok_or(Reason::KeyUnknown)?;
    let version = reads.find_version(&key.name, key.version).await?.ok_or(Reason::KeyUnknown)?;
    if key_ref(&row, key.version) != *key {
        return Err(Reason::PlanChanged.with("the key is another than the plan says").into());
    }
    if row.shape.class == KeyClass::Design && !row.shape.exportable {
        return Err(Reason::KeyOfTheDesign.into());
    }
    if !row.shape.exportable {
        return Err(Reason::KeyNotExportable.into());
    }
    usable(&version, &[KeyState::PreActivation, KeyState::Active, KeyState::Deactivated])?;
    let escrow = reads.find_escrow(&key.name, key.version).await?;
    let escrow = escrow.ok_or_else(|| Reason::KeyNotExportable.with("there is no escrow block of this version"))?;
    Ok((version, escrow))
}

/// The KEK, if keys may travel under it now.
pub(super) async fn kek_now(app: &App, kek: &KekRef) -> Result<KeyVersion, OpError> {
    let mut reads = app.store.read().await?;
    let unknown = || Reason::KeyUnknown.with("kek");
    let row = reads.find_key(&kek.name, false).await?.ok_or_else(unknown)?;
    if row.shape.class != KeyClass::Kek(kek.form) {
        return Err(Reason::KeyPurpose.with("kek: not a partner's KEK of this form").into());
    }
    let version = reads.find_version(&kek.name, kek.version).await?.ok_or_else(unknown)?;
    usable(&version, &[KeyState::Active])?;
    Ok(version)
}

fn usable(version: &KeyVersion, states: &[KeyState]) -> Result<(), Refusal> {
    let fits = states.contains(&version.state) && version.waits.is_none() && version.intent.is_none();
    if fits {
        Ok(())
    } else {
        Err(Reason::KeyState.with(format!("version {} of {} is {}", version.version, version.key, version.state.name())))
    }
}
