//! The beginning of a managed key.

use std::time::Duration;

use super::super::context::Context;
use super::super::fault::{self, Fault};
use super::super::keeper::Host;
use super::super::pool::Session;
use super::super::ring::{self, Key};
use super::super::{create, object, templates};
use super::{escrow, label, shelf};
use crate::error::Refusal;
use crate::managed::KeyRef;
use crate::managed_op::{Generated, ManagedAnswer};
use crate::op::Answer;

/// RSA-4096 may be looked for as long as this.
const LONGER: Duration = Duration::from_mins(1);

/// Makes the key where it is not there. What a crash leaves:
/// 1. generate: a key that nobody was told of, or half a pair; the next call tells of the one, and says of the other that it differs;
/// 2. prove, look again: the same; 3. answer: done.
pub(super) fn generate(host: &Host, context: &Context, session: &Session, key: &KeyRef, exportable: bool) -> Result<Answer, Fault> {
    let label = label(key)?;
    let not_offered = |what: String| Fault::from(Refusal::NotOffered { what });
    if !context.profile.managed.contains(&(key.purpose, key.algorithm)) {
        return Err(not_offered(format!("{} keys of {} while the host runs", key.purpose.name(), key.algorithm.name())));
    }
    let _making = context.ring.shelf.making().ok_or(Refusal::Busy)?;
    let _guard = context.changing(session);
    let objects = ring::list(session)?.remove(&label);
    if let Some(objects) = objects {
        let key = ring::recognise(session, &label, &objects)?;
        // A key that came in, of which no row tells, is somebody else's secret too: it is not told of as one that was made here. Nor is one with an
        // escrow block, which cannot be told from it; the block was given out once.
        let provenance = templates::Design::provenance();
        let found = object::read_flags(session, key.handle.on(session)?, &provenance)?;
        if let Some(difference) = object::difference(&found, &provenance) {
            return Err(Refusal::KeyDiffers { label, difference }.into());
        }
        return answer(session, &context.ring.shelf.keep(key), false);
    }
    let design = templates::designs(&label).pop().ok_or_else(|| Fault::input("key"))?;
    create::demand_room(host, if design.is_pair() { 2 } else { 1 })?;
    if exportable {
        let (settled, escrow) = escrow::make(context, session, key, &design)?;
        tracing::info!(label, "key made, with an escrow block");
        let record = settled.record(session)?;
        context.ring.shelf.keep(settled.key);
        return Ok(Answer::Managed(ManagedAnswer::Generated(Box::new(Generated { record, escrow: Some(escrow) }))));
    }
    session.allow(LONGER);
    let key = create::make(session, &context.profile, &design)?;
    session.allow(Duration::ZERO);
    // Another host may have made one meanwhile. Who sees two takes its own back: nobody was told of it yet.
    let others = ring::find(session, &label)?.len().saturating_sub(if design.is_pair() { 2 } else { 1 });
    if others > 0 {
        take_back(session, &key);
        return Err(Refusal::Busy.into());
    }
    tracing::info!(label, "key made");
    answer(session, &context.ring.shelf.keep(key), true)
}

fn take_back(session: &Session, key: &Key) {
    for handle in [Some(key.handle), key.public.as_ref().map(|(public, _)| *public)].into_iter().flatten() {
        if let Err(error) = handle.on(session).and_then(|handle| session.destroy_object(handle)) {
            tracing::error!(label = key.design.label, code = fault::code(&error), "a second key of the label could not be destroyed");
        }
    }
}

/// Reads it back.
pub(super) fn read(context: &Context, session: &Session, key: &KeyRef) -> Result<Answer, Fault> {
    shelf::with(context, session, &label(key)?, |key| answer(session, key, false))
}

fn answer(session: &Session, key: &Key, created: bool) -> Result<Answer, Fault> {
    let record = ring::record(session, key, created)?;
    Ok(Answer::Managed(ManagedAnswer::Generated(Box::new(Generated { record, escrow: None }))))
}
