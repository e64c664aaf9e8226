//! The end of a managed key.

use super::super::context::Context;
use super::super::fault::{self, Fault};
use super::super::keeper::Host;
use super::super::pool::Session;
use super::super::ring;
use super::{approved, label};
use crate::approval::Approved;
use crate::error::Refusal;
use crate::managed::KeyRef;
use crate::op::Answer;
use crate::plan::Deed;

/// Destroys every object of the label: the halves of a pair, and what was left half made. What a crash leaves is destroyed by the next call.
pub(super) fn destroy(host: &Host, context: &Context, session: &Session, key: &KeyRef, plan: &Approved) -> Result<Answer, Fault> {
    let label = label(key)?;
    let plan = approved::demand(host, plan, |deed| *deed == Deed::DestroyKey(key.clone()))?;
    let _guard = context.changing(session);
    // Without the login only public halves are seen.
    context.demand_login(session)?;
    let objects = ring::find(session, &label)?;
    for object in &objects {
        match session.destroy_object(object.handle) {
            Err(error) if !fault::is_stale(&error) => return Err(error.into()),
            _ => {}
        }
    }
    context.ring.shelf.forget(&label);
    if !ring::find(session, &label)?.is_empty() {
        return Err(Refusal::KeyDiffers { label, difference: "an object of it stays".to_owned() }.into());
    }
    if !objects.is_empty() {
        tracing::warn!(label, plan = data_encoding::HEXLOWER.encode(&plan.id), "key destroyed");
    }
    Ok(Answer::Done)
}
