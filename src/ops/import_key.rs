//! Takes a version of a key in that a partner wrapped, as a plan says it. Token and database both change:
//!
//! 1. The host verifies approvals and content, unwraps, and keeps the key on the token. A crash leaves a key of which no row tells, and a plan that
//!    was not executed: reconciliation reports the key, and the import is proposed again as the next version.
//! 2. The version's row, the executed plan and the audit entry, in one transaction.

use serde_json::{Value, json};
use tillward_hsm::{Approved, Deed, HsmError, KekRef, KeyRef, Plan};

use super::context::Context;
use super::error::OpError;
use super::export_key::kek_now;
use super::reason::Reason;
use super::usable_key::key_ref;
use super::{deed, refuse, sha256};
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::Permit;
use crate::key::{KeyClass, Origin, Periods, Shape, default_limit, is_of_the_design};
use crate::store::{self, KeyVersion, Made};

/// Whether it could be done now.
pub(super) async fn check(app: &App, _: &Context, key: &KeyRef, kek: &KekRef) -> Result<Value, OpError> {
    let new = arriving(app, key).await?.is_none();
    let under = kek_now(app, kek).await?;
    Ok(json!({"new_key": new, "kek_kcv": under.made.kcv, "form": kek.form.name()}))
}

/// Does it. `brought` is what the partner sent; the plan has its hash.
pub(super) async fn perform(
    app: &App,
    context: &Context,
    permit: Permit,
    key: &KeyRef,
    kek: &KekRef,
    approved: &Approved,
    brought: Vec<u8>,
) -> Result<Value, OpError> {
    let plan = Plan::parse(&approved.plan).map_err(|error| OpError::internal("importing a key", error))?;
    if !matches!(plan.deed, Deed::ImportKey(_, _, hash) if hash == sha256(&brought)) {
        return Err(refuse(app, context, permit, Reason::PlanChanged.with("content: not the one that is approved")).await);
    }
    let there = async { Ok((arriving(app, key).await?, kek_now(app, kek).await?)) };
    let there = match there.await {
        Ok((there, _)) => there,
        Err(OpError::Refused(refusal)) => return Err(refuse(app, context, permit, refusal).await),
        Err(error) => return Err(error),
    };
    // Step 1.
    let made = match app.hsm.import_key(key, kek, brought, approved).await {
        Ok(made) => made.record,
        Err(HsmError::Refused(tillward_hsm::Refusal::UnwrapFailed | tillward_hsm::Refusal::KeyBlockRefused)) => {
            return Err(refuse(app, context, permit, Reason::WrappedKeyRefused).await);
        }
        Err(HsmError::Refused(tillward_hsm::Refusal::KeyDiffers { .. })) => {
            let refusal = Reason::KeyExists.with("the token has a key of this label: propose the next version");
            return Err(refuse(app, context, permit, refusal).await);
        }
        Err(error) => return Err(error.into()),
    };
    // Step 2.
    let now = app.clock.now();
    let kcv = made.kcv.map(|kcv| data_encoding::HEXUPPER.encode(&kcv));
    let logical = store::Key {
        name: key.name.clone(),
        shape: shape(key),
        acquirer: None,
        periods: Periods::default(),
        uses_limit: default_limit(key.purpose, key.algorithm),
        primary: None,
        created: now,
    };
    let mut version = KeyVersion::intended(key.name.clone(), key.version, key.label(), crate::key::Intent::Make, now);
    (version.origin, version.intent, version.times.made) = (Origin::Imported, None, Some(now));
    version.uses_limit = there.as_ref().map_or(logical.uses_limit, |there| there.uses_limit);
    version.made = Made { kcv: kcv.clone(), fingerprint: made.fingerprint, spki: made.spki };
    let mut tx = app.store.begin().await?;
    if there.is_none() {
        tx.insert_key(&logical).await?;
    }
    tx.insert_version(&version, None).await?;
    let mut event =
        AuditEvent::effect(permit, &context.occasion(app)).with("version", u64::from(key.version)).with("form", kek.form.name());
    if let Some(kcv) = &made.kcv {
        event = event.with("kcv", Fact::hex(kcv));
    }
    deed::commit(app, context, tx, event, approved).await?;
    Ok(json!({"key": key.name, "version": key.version, "state": version.state.name(), "kcv": kcv}))
}

fn shape(key: &KeyRef) -> Shape {
    // What came from outside does not leave again from here: the partner has it.
    Shape { class: KeyClass::Kms, purpose: key.purpose, algorithm: key.algorithm, exportable: false }
}

/// The logical key that gets another version, or none: it is new. Refused where it is not that kind of key, or the number is taken.
async fn arriving(app: &App, key: &KeyRef) -> Result<Option<store::Key>, OpError> {
    if is_of_the_design(key.name.as_str()) {
        return Err(Reason::KeyOfTheDesign.into());
    }
    let mut reads = app.store.read().await?;
    let row = reads.find_key(&key.name, true).await?;
    if row.as_ref().is_some_and(|row| row.name != key.name || row.shape.class != KeyClass::Kms || key_ref(row, key.version) != *key) {
        return Err(Reason::KeyExists.into());
    }
    let last = reads.versions_of(&key.name).await?.last().map_or(0, |version| version.version);
    if key.version <= last {
        return Err(Reason::KeyExists.with(format!("version {last} is there: a later one can be imported")).into());
    }
    if key.version - last > GAP {
        return Err(Reason::StateConflict.with(format!("version {last} is the last: the next one is imported")).into());
    }
    Ok(row)
}

/// Numbers that an import may run ahead: those before it were burnt by imports that a crash cut. Were there no end, one import would take the
/// last number that there is, and with it every rotation.
const GAP: u32 = 8;
