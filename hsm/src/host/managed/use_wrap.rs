//! AES-KWP (RFC 5649) with managed keys, over key material that callers bring. Keys of the token do not go this way: the object that is wrapped is made
//! of what the caller sent, and what is unwrapped can be read and nothing else.

use cryptoki::error::Error;
use cryptoki::object::{AttributeType, ObjectHandle};
use subtle::ConstantTimeEq as _;

use super::super::context::Context;
use super::super::fault::Fault;
use super::super::object::{self, Ephemeral};
use super::super::pool::Session;
use super::super::{ffi, templates};
use super::{label_for, open, shelf};
use crate::error::Refusal;
use crate::managed::{KeyRef, Purpose};
use crate::model::Profile;
use crate::op::{Answer, Plaintext};

/// What a length of key material wraps to.
fn wrapped_length(material: usize) -> Option<usize> {
    [16, 24, 32].contains(&material).then_some(material.saturating_add(8))
}

pub(super) fn wrap(context: &Context, session: &Session, key: &KeyRef, material: &[u8]) -> Result<Answer, Fault> {
    let label = label_for(key, Purpose::Wrap)?;
    wrapped_length(material.len()).ok_or_else(|| Fault::input("material"))?;
    shelf::with(context, session, &label, |key| {
        let handle = key.working.on(session)?;
        let wrapped = wrap_material(session, &context.profile, handle, material)?;
        // What cannot be unwrapped is found now, and not when the material is gone.
        let back = unwrap_material(session, &context.profile, handle, &wrapped)?;
        if bool::from(back.0.ct_eq(material)) { Ok(Answer::Bytes(wrapped)) } else { Err(Error::InvalidValue.into()) }
    })
}

pub(super) fn unwrap(context: &Context, session: &Session, key: &KeyRef, wrapped: &[u8]) -> Result<Answer, Fault> {
    let label = label_for(key, Purpose::Wrap)?;
    if wrapped.len().checked_sub(8).and_then(wrapped_length).is_none() {
        return Err(Fault::input("wrapped"));
    }
    shelf::with(context, session, &label, |key| {
        let handle = key.working.on(session)?;
        let material = open(context, session, Refusal::UnwrapFailed, || unwrap_material(session, &context.profile, handle, wrapped))?;
        // A shorter key, padded to that length (RFC 5649 §3).
        if material.0.len() + 8 == wrapped.len() { Ok(Answer::Plaintext(material)) } else { Err(Refusal::UnwrapFailed.into()) }
    })
}

/// Wraps what everybody could know.
pub(in crate::host) fn wrap_material(session: &Session, profile: &Profile, key: ObjectHandle, material: &[u8]) -> Result<Vec<u8>, Error> {
    let kwp = profile.kwp.map(ffi::plain).ok_or(Error::NotSupported)?;
    let material = session.create_object(&templates::managed::callers_to_be_wrapped(material))?;
    let material = Ephemeral::new(session, material);
    session.wrap_key(&kwp, key, material.handle())
}

/// The reverse.
pub(in crate::host) fn unwrap_material(
    session: &Session,
    profile: &Profile,
    key: ObjectHandle,
    wrapped: &[u8],
) -> Result<Plaintext, Error> {
    let kwp = profile.kwp.map(ffi::plain).ok_or(Error::NotSupported)?;
    let template = templates::managed::callers_to_be_read(profile, wrapped.len().saturating_sub(8));
    let material = Ephemeral::new(session, session.unwrap_key(&kwp, key, wrapped, &template)?);
    object::bytes(session, material.handle(), AttributeType::Value)?.map(Plaintext).ok_or(Error::InvalidValue)
}
