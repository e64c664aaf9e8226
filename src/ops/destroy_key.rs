//! Destroys a version of a key, by a plan: its waiting period begins, and every use stops at once. What is due is done by `finish_destruction`.

use serde_json::{Value, json};
use tillward_hsm::{Approved, KeyRef};

use super::context::Context;
use super::deed;
use super::design_keys::dependants;
use super::error::{OpError, Refusal};
use super::reason::Reason;
use super::refuse;
use super::usable_key::key_ref;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::Permit;
use crate::key::{KeyClass, Move};
use crate::store::{self, KeyVersion};

/// Whether it could be done now, and what it would stop or strand.
pub(super) async fn check(app: &App, _: &Context, key: &KeyRef) -> Result<Value, OpError> {
    let (_, version) = may_go(app, key).await??;
    let destroy_at = app.clock.now().plus(app.settings.destroy_seconds);
    Ok(json!({"key": key.name, "version": key.version, "state": version.state.name(), "destroy_at": destroy_at.rfc3339()}))
}

/// Begins the waiting period. The approved plan stays with the row: the host wants to see it when the period is over.
pub(super) async fn perform(app: &App, context: &Context, permit: Permit, key: &KeyRef, approved: &Approved) -> Result<Value, OpError> {
    let (row, version) = match may_go(app, key).await? {
        Ok(found) => found,
        Err(refusal) => return Err(refuse(app, context, permit, refusal).await),
    };
    let now = app.clock.now();
    let destroy_at = now.plus(app.settings.destroy_seconds);
    let order = serde_json::to_string(approved).map_err(|error| OpError::internal("writing an order", error))?;
    let mut waiting = version.after(Move::ScheduleDestruction, now).map_err(|_| Reason::KeyState)?;
    waiting.waits = Some((destroy_at, order));
    let mut tx = app.store.begin().await?;
    if !tx.move_version(&version, &waiting).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    }
    let event = AuditEvent::effect(permit, &context.occasion(app)).with("version", u64::from(key.version)).with("destroy_at", destroy_at);
    deed::commit(app, context, tx, event, approved).await?;
    app.anchor.note_key(app, &row);
    Ok(json!({"key": key.name, "version": key.version, "state": version.state.name(), "destroy_at": destroy_at.rfc3339()}))
}

/// The version, if nothing that lives depends on it, and the life cycle lets it go.
async fn may_go(app: &App, asked: &KeyRef) -> Result<Result<(store::Key, KeyVersion), Refusal>, OpError> {
    let (key, version) = match find(app, asked).await? {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let depend = dependants(app, &key).await?;
    let counted = [(depend.phones, "phones"), (depend.certificates, "certificates"), (depend.activations, "activations")];
    let stranded: Vec<_> = counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if !stranded.is_empty() {
        return Ok(Err(Reason::WouldStrand.with(format!("would strand {}", stranded.join(", ")))));
    }
    if key.shape.class == KeyClass::Design {
        return Ok(Err(Reason::KeyOfTheDesign.into()));
    }
    // No KeyRef names its label on the token: nothing would be destroyed, and everybody told that it was.
    if matches!(key.shape.class, KeyClass::Kek(_)) {
        return Ok(Err(Reason::KeyOfTheDesign.with("a partner's KEK is not destroyed here: suspend it, and tell the partner")));
    }
    match version.life().after(Move::ScheduleDestruction) {
        Ok(_) => Ok(Ok((key, version))),
        Err(error) => Ok(Err(Reason::KeyState.with(error.to_string()))),
    }
}

/// The version that a plan names, which has to be the one that is there.
pub(super) async fn find(app: &App, asked: &KeyRef) -> Result<Result<(store::Key, KeyVersion), Refusal>, OpError> {
    let mut reads = app.store.read().await?;
    let Some(key) = reads.find_key(&asked.name, false).await? else { return Ok(Err(Reason::KeyUnknown.into())) };
    let Some(version) = reads.find_version(&asked.name, asked.version).await? else { return Ok(Err(Reason::KeyUnknown.into())) };
    if key_ref(&key, asked.version) != *asked {
        return Ok(Err(Reason::KeyPurpose.with(format!("it is for {}, of {}", key.shape.purpose.name(), key.shape.algorithm.name()))));
    }
    if version.intent.is_some() {
        return Ok(Err(Reason::KeyState.with("the key is not made yet")));
    }
    Ok(Ok((key, version)))
}
