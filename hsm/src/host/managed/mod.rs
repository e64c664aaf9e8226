//! Managed keys: their beginning, their uses, their end; and keys on their way to and from partners.

mod approved;
mod carry;
mod end;
mod escrow;
mod exchange;
mod kek;
mod make;
pub(super) mod offers;
mod settle;
pub(super) mod shelf;
pub(super) mod use_aead;
mod use_mac;
pub(super) mod use_sign;
pub(super) mod use_wrap;

pub(super) use exchange::exchange;

use super::context::Context;
use super::fault::{self, Fault};
use super::keeper::Host;
use super::pool::Session;
use crate::error::Refusal;
use crate::managed::{KeyRef, Purpose};
use crate::managed_op::{Managed, ManagedAnswer};
use crate::op::Answer;
use cryptoki::context::Function;
use cryptoki::error::Error;

/// Longest message, plaintext or associated data. A plaintext and its associated data have to have room in one frame.
const LONGEST: usize = 32 * 1024;

/// What is asked of managed keys.
pub(super) fn perform(host: &Host, context: &Context, session: &Session, operation: &Managed) -> Result<Answer, Fault> {
    match operation {
        Managed::Offers => Ok(Answer::Managed(ManagedAnswer::Offers(context.profile.managed.clone()))),
        Managed::Generate { key, exportable } => make::generate(host, context, session, key, *exportable),
        Managed::Read { key } => make::read(context, session, key),
        Managed::Destroy { key, approved } => end::destroy(host, context, session, key, approved),
        Managed::Sign { key, scheme, input } => use_sign::sign(context, session, key, *scheme, input),
        Managed::Verify { key, scheme, input, signature } => use_sign::verify(context, session, key, *scheme, input, signature),
        Managed::Mac { key, message } => use_mac::mac(context, session, key, message),
        Managed::VerifyMac { key, message, mac } => use_mac::verify(context, session, key, message, mac),
        Managed::Encrypt { key, aad, plaintext } => use_aead::encrypt(context, session, key, aad, &plaintext.0),
        Managed::Decrypt { key, aad, ciphertext } => use_aead::decrypt(context, session, key, aad, ciphertext),
        Managed::Wrap { key, material } => use_wrap::wrap(context, session, key, &material.0),
        Managed::Unwrap { key, wrapped } => use_wrap::unwrap(context, session, key, wrapped),
    }
}

/// The label of a key that can be. What the service sends may be put together from parts that do not belong together.
fn label(key: &KeyRef) -> Result<String, Fault> {
    let label = key.label();
    if KeyRef::parse(&label).as_ref() == Some(key) { Ok(label) } else { Err(Fault::input("key")) }
}

/// The label of a key of that purpose.
fn label_for(key: &KeyRef, purpose: Purpose) -> Result<String, Fault> {
    if key.purpose == purpose { label(key) } else { Err(Fault::input("purpose")) }
}

fn fits(what: &str, bytes: &[u8]) -> Result<(), Fault> {
    if bytes.len() <= LONGEST { Ok(()) } else { Err(Fault::input(what)) }
}

/// Opens what a caller sent. The module's answer to a wrong one may be what a dead token says (SoftHSM: `CKR_GENERAL_ERROR`): then the canary tells
/// the caller's fault from the token's, and a second try the caller's from an accident.
fn open<T>(context: &Context, session: &Session, refusal: Refusal, open: impl Fn() -> Result<T, Error>) -> Result<T, Fault> {
    let vague = |error: &Error| fault::rule(error).canary;
    let outcome = open().or_else(|error| if !vague(&error) || context.is_unwell(session, &error) { Err(error) } else { open() });
    outcome.map_err(|error| {
        let of_input = matches!(error, Error::Pkcs11(_, Function::Decrypt | Function::UnwrapKey));
        if of_input && !context.is_unwell(session, &error) { refusal.into() } else { error.into() }
    })
}
