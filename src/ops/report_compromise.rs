//! Reports a version of a key as compromised, by a plan: every use stops at once and for good, and what has to be issued anew is listed.

use serde_json::{Value, json};
use tillward_hsm::{Approved, KeyRef};

use super::context::Context;
use super::deed;
use super::design_keys::dependants;
use super::destroy_key::find;
use super::error::{OpError, Refusal};
use super::reason::Reason;
use super::refuse;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::Permit;
use crate::key::{KeyClass, Move, Use};
use crate::store::{self, KeyVersion};

/// Whether it could be done now, and what it would stop.
pub(super) async fn check(app: &App, _: &Context, key: &KeyRef) -> Result<Value, OpError> {
    let (key, version) = compromised(app, key).await??;
    consequences(app, &key, &version).await
}

/// Does it.
pub(super) async fn perform(app: &App, context: &Context, permit: Permit, key: &KeyRef, approved: &Approved) -> Result<Value, OpError> {
    let (row, version) = match compromised(app, key).await? {
        Ok(found) => found,
        Err(refusal) => return Err(refuse(app, context, permit, refusal).await),
    };
    let consequences = consequences(app, &row, &version).await?;
    let after = version.after(Move::ReportCompromise, app.clock.now()).map_err(|_| Reason::KeyState)?;
    let mut tx = app.store.begin().await?;
    if !tx.move_version(&version, &after).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    }
    let event = AuditEvent::effect(permit, &context.occasion(app)).with("version", u64::from(key.version));
    deed::commit(app, context, tx, event.with("from", version.state.name()), approved).await?;
    app.anchor.note_key(app, &row);
    Ok(consequences)
}

async fn compromised(app: &App, asked: &KeyRef) -> Result<Result<(store::Key, KeyVersion), Refusal>, OpError> {
    Ok(match find(app, asked).await? {
        Ok((key, version)) => match version.life().after(Move::ReportCompromise) {
            Ok(_) => Ok((key, version)),
            Err(error) => Err(Reason::KeyState.with(error.to_string())),
        },
        Err(refusal) => Err(refusal),
    })
}

/// What stops, and what has to be issued anew.
async fn consequences(app: &App, key: &store::Key, version: &KeyVersion) -> Result<Value, OpError> {
    let depend = dependants(app, key).await?;
    let mut reads = app.store.read().await?;
    let exports = match key.shape.class {
        KeyClass::Kek(_) => reads.exports_under(&key.name, version.version).await?,
        KeyClass::Kms | KeyClass::Design => reads.exports_of(&key.name).await?,
    };
    drop(reads);
    let exports: Vec<Value> = exports.iter().map(|(entry, at)| json!({"audit_entry": entry, "at": at.rfc3339()})).collect();
    let mut stops = Vec::new();
    if version.life().allows(Use::Protect) {
        stops.push("protecting with this version");
    }
    if version.life().allows(Use::Process) {
        stops.push("processing what this version protected");
    }
    if key.primary == Some(version.version) && key.shape.class == KeyClass::Kms {
        stops.push("every request that names no version, until the key is rotated");
    }
    if key.shape.class == KeyClass::Design {
        stops.push(of_the_design(key.name.as_str()));
    }
    Ok(json!({
        "key": key.name,
        "version": version.version,
        "state": version.state.name(),
        "stops": stops,
        "reissue": {"phones": depend.phones, "certificates": depend.certificates, "activations": depend.activations},
        "exports": exports,
    }))
}

/// What stands still without a key of the design.
fn of_the_design(name: &str) -> &'static str {
    match name {
        "activation-mac" => "new activations and enrolments",
        "enrollment-transport" | "enrollment-transport-ec" | "personalization-signing" => "enrolments",
        "storage-kek" | "storage-mac" => "enrolments, attestations and renewals: the second secrets do not open",
        "attestation-signing" => "challenges and attestation results, and with them clearances",
        "root-ca" => "nothing at once: every certificate below it has to be issued anew",
        "issuing-ca" => "enrolments and renewals: no certificate is issued",
        "audit-signing" => "nothing at once: transcripts of ceremonies that it signed prove nothing any more",
        _ if name.starts_with("bdk-data.") => "payments of the acquirer's phones, and enrolments",
        _ if name.starts_with("bdk-pin.") => "enrolments of the acquirer's phones",
        _ => "what the service does with it",
    }
}
