//! Moves a version of a key along its life cycle: the one way for every move that needs no plan.

use tillward_hsm::KeyName;

use super::context::Context;
use super::error::OpError;
use super::read_key::{ManagedKey, load_key, view};
use super::reason::Reason;
use super::refuse;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::Action;
use crate::key::{KeyClass, KeyState, Move};

/// Makes the move, in one transaction with what follows from it. Where the version is there already, nothing changes.
pub(super) async fn move_key(
    app: &App,
    context: &Context,
    name: &KeyName,
    number: u32,
    action: Action,
    to: Move,
) -> Result<ManagedKey, OpError> {
    let (key, permit) = load_key(app, context, name, action).await?;
    // To stop a key of the design, and to let it go on, is a decision for now; the rest is for a ceremony.
    if key.shape.class == KeyClass::Design && !matches!(to, Move::Activate | Move::Suspend) {
        return Err(refuse(app, context, permit, Reason::KeyOfTheDesign).await);
    }
    let now = app.clock.now();
    let mut tx = app.store.begin().await?;
    tx.hold_key(&key.name).await?;
    let refusal = 'refused: {
        let Some(version) = tx.find_version(&key.name, number).await? else { break 'refused Reason::KeyUnknown.into() };
        if version.intent.is_some() {
            break 'refused Reason::KeyState.with("the key is not made yet");
        }
        if is_there(&version, to) {
            drop(tx);
            return view(app, &key.name).await;
        }
        if to == Move::Restore && (version.destroying.is_some() || version.waits.as_ref().is_some_and(|(end, _)| now >= *end)) {
            break 'refused Reason::KeyState.with("the waiting period is over");
        }
        let mut after = match version.after(to, now) {
            Ok(after) => after,
            Err(error) => break 'refused Reason::KeyState.with(error.to_string()),
        };
        if to == Move::Activate && version.times.activated.is_none() {
            after.validity = key.periods.validity(version.validity.not_before, now);
        }
        if !tx.move_version(&version, &after).await? {
            break 'refused Reason::StateConflict.into();
        }
        // The first version that is taken into use.
        let mut held = tx.find_key(&key.name, false).await?.ok_or(Reason::KeyUnknown)?;
        if to == Move::Activate && held.primary.is_none() {
            held.primary = Some(number);
            tx.update_key(&held).await?;
        }
        let event = AuditEvent::effect(permit, &context.occasion(app)).with("version", u64::from(number));
        tx.commit(event.with("from", version.state.name()).with("to", after.state.name())).await?;
        if to != Move::Activate {
            app.anchor.note_key(app, &key);
        }
        return view(app, &key.name).await;
    };
    drop(tx);
    Err(refuse(app, context, permit, refusal).await)
}

/// Whether a repeated request finds what it asked for.
fn is_there(version: &crate::store::KeyVersion, to: Move) -> bool {
    let life = version.life();
    match to {
        Move::Activate => life.state == KeyState::Active,
        Move::Suspend => life.state == KeyState::Suspended && !life.waits,
        Move::Deactivate => life.state == KeyState::Deactivated && !life.waits,
        Move::Restore | Move::ReportCompromise | Move::ScheduleDestruction | Move::Destroy => false,
    }
}
