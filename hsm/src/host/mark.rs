//! The derivation mark: how many derivation ids of an acquirer were ever given, kept on the token so that a restored database cannot
//! give one twice.

use cryptoki::error::Error;
use cryptoki::object::{AttributeType, ObjectHandle};

use super::context::Context;
use super::fault::Fault;
use super::pool::Session;
use super::{object, templates};
use crate::error::Refusal;
use crate::op::Answer;

fn label(acquirer: &str) -> Result<String, Fault> {
    if templates::is_acquirer(acquirer) { Ok(format!("derivation-mark:{acquirer}")) } else { Err(Fault::input("acquirer")) }
}

/// All marks of the acquirer, and the highest. An object without a number is one whose making was interrupted: its reservation was never
/// answered, so it counts for nothing.
fn read(session: &Session, label: &str) -> Result<(Vec<ObjectHandle>, Option<u32>), Error> {
    let objects = session.find_objects(&templates::mark_search(label))?;
    let mut highest = None;
    for object in &objects {
        let value = object::bytes(session, *object, AttributeType::Value)?;
        let value = value.and_then(|value| value.try_into().ok()).map(u32::from_be_bytes);
        highest = highest.max(value);
    }
    Ok((objects, highest))
}

pub(super) fn get(context: &Context, session: &Session, acquirer: &str) -> Result<Answer, Fault> {
    let label = label(acquirer)?;
    let _guard = context.searching(session);
    let (_, mark) = read(session, &label)?;
    if mark.is_none() {
        context.demand_login(session)?;
    }
    Ok(Answer::Mark(mark))
}

/// Moves the mark from what the database knows to `count` more. What a crash leaves after each step:
/// 1. read: nothing; 2. make the new object: two marks, the higher one counts, some ids are lost; 3. destroy the old ones: the same until done.
pub(super) fn reserve(context: &Context, session: &Session, acquirer: &str, expect: u32, count: u32) -> Result<Answer, Fault> {
    let label = label(acquirer)?;
    if count == 0 {
        return Err(Fault::input("count"));
    }
    let mark = expect.checked_add(count).ok_or(Refusal::MarkExhausted)?;
    let _guard = context.changing(session);
    let (old, token_mark) = read(session, &label)?;
    if let Some(token_mark) = token_mark.filter(|token_mark| *token_mark > expect) {
        return Err(Refusal::MarkAhead { token_mark }.into());
    }
    if token_mark.is_none() {
        context.demand_login(session)?;
    }
    let new = session.create_object(&templates::mark(&label, mark))?;
    let written = object::bytes(session, new, AttributeType::Value)?;
    if written.as_deref() != Some(&mark.to_be_bytes()[..]) {
        return Err(Refusal::Unproven { label, what: "being read back".to_owned() }.into());
    }
    for object in old {
        session.destroy_object(object)?;
    }
    Ok(Answer::Mark(Some(mark)))
}
