//! Makes the next version of a key; it takes over. The version before stops protecting, and goes on processing what it protected.

use serde::Deserialize;
use tillward_hsm::KeyName;

use super::context::Context;
use super::error::OpError;
use super::make_version::{demand_offered, finish, intend};
use super::read_key::{ManagedKey, load_key, view};
use super::reason::Reason;
use super::usable_key::resource;
use super::{authorize, refuse};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::{Action, Caller, Permit};
use crate::key::{Intent, KeyClass};
use crate::store;

/// Body of the request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationBody {
    /// Whether the new version takes over at once; otherwise it waits for its activation.
    #[serde(default = "yes")]
    pub activate: bool,
}

fn yes() -> bool {
    true
}

/// Makes the next version. One at a time: where one is not finished yet, it is finished, and is the answer.
#[tracing::instrument(skip_all)]
pub async fn rotate_key(app: &App, context: &Context, name: &KeyName, body: &RotationBody) -> Result<ManagedKey, OpError> {
    let (key, permit) = load_key(app, context, name, Action::RotateKey).await?;
    let refusal = match key.shape.class {
        KeyClass::Kms => None,
        KeyClass::Design => Some(Reason::KeyOfTheDesign.into()),
        KeyClass::Kek(_) => Some(Reason::KeyPurpose.with("a partner's key encryption key is made in a ceremony")),
    };
    if let Some(refusal) = refusal {
        return Err(refuse(app, context, permit, refusal).await);
    }
    let permit = demand_offered(app, context, permit, key.shape).await?;
    let intent = if body.activate { Intent::MakeActive } else { Intent::Make };
    next_version(app, context, context.caller()?, permit, &key, intent, false).await?;
    view(app, &key.name).await
}

/// The steps of `make_version`. `if_due`: only where the schedule still says so once the key is held, so that of several nodes one does it.
pub(super) async fn next_version(
    app: &App,
    context: &Context,
    caller: &Caller,
    permit: Permit,
    key: &store::Key,
    intent: Intent,
    if_due: bool,
) -> Result<(), OpError> {
    let mut tx = app.store.begin().await?;
    tx.hold_key(&key.name).await?;
    let key = tx.find_key(&key.name, false).await?.ok_or(Reason::KeyUnknown)?;
    let left = tx.versions_of(&key.name).await?.into_iter().find(|version| version.intent.is_some());
    if let Some(left) = left {
        drop(tx);
        finish(app, context, permit, &key, &left).await?;
        return Ok(());
    }
    if if_due && !tx.keys_to_rotate(app.clock.now()).await?.iter().any(|due| due.name == key.name) {
        return Ok(());
    }
    let version = intend(&mut tx, app, &key, intent).await?;
    let event = AuditEvent::effect(permit, &context.occasion(app)).with("version", u64::from(version.version));
    tx.commit(event.with("step", "intended")).await?;
    let permit = authorize(app, context, caller, Action::RotateKey, &resource(&key)).await?;
    finish(app, context, permit, &key, &version).await?;
    Ok(())
}
