//! The forms in which a key travels under a partner's KEK.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;

use super::super::context::Context;
use super::super::fault::{self, Fault};
use super::super::object::{self, Ephemeral};
use super::super::phone::verify_mac;
use super::super::pool::Session;
use super::super::ring::Key;
use super::super::templates;
use super::settle::kwp;
use crate::block::{Block, BlockError, Direction};
use crate::derivation::Algorithm;
use crate::error::Refusal;
use crate::escrow::wrapped_bytes;
use crate::managed::{KekForm, KekRef, KeyRef};
use crate::rules::Action;

impl From<BlockError> for Fault {
    fn from(_: BlockError) -> Self {
        Refusal::KeyBlockRefused.into()
    }
}

/// Wraps a key that can only be wrapped, in the form of the KEK.
pub(super) fn send(
    context: &Context,
    session: &Session,
    (kek, under): (&KekRef, &Key),
    (key, label): (&KeyRef, &str),
    leaving: &Ephemeral<'_>,
) -> Result<Vec<u8>, Fault> {
    let (mechanism, handle) = (kwp(context)?, under.handle.on(session)?);
    let wrap = |with| object::twice(|| session.wrap_key(&mechanism, with, leaving.handle()));
    if kek.form == KekForm::Kwp {
        return Ok(wrap(handle)?);
    }
    let direction = Direction::Export;
    let derive = |usage, template: &[_]| object::derive(session, handle, usage, Algorithm::Aes256, direction.identifier(), template);
    let wrapping = derive(direction.wrapping(), &templates::derived(Algorithm::Aes256, templates::WRAP))?;
    let wrapped = wrap(wrapping.handle())?;
    drop(wrapping);
    let signing = derive(direction.mac(), &templates::derived(Algorithm::Aes256, templates::SIGN))?;
    let block = Block::seal(key, label, wrapped, |text| {
        let mac = object::twice(|| session.sign(&Mechanism::AesCMac, signing.handle(), text))?;
        Ok::<_, Fault>(mac.try_into().map_err(|_| Error::InvalidValue)?)
    })?;
    Ok(block.to_text().into_bytes())
}

/// Unwraps what a partner wrapped into a key that can only be wrapped. Header and MAC of a block are verified before.
pub(super) fn receive<'s>(
    context: &Context,
    session: &'s Session,
    (kek, under): (&KekRef, &Key),
    key: &KeyRef,
    algorithm: Algorithm,
    sent: &[u8],
) -> Result<Ephemeral<'s>, Fault> {
    let handle = under.handle.on(session)?;
    if kek.form == KekForm::Kwp {
        if sent.len() != wrapped_bytes(algorithm) {
            return Err(Refusal::UnwrapFailed.into());
        }
        let arrived = unwrap(context, session, handle, algorithm, sent)?;
        return same_again(context, session, handle, &arrived, sent).map(|()| arrived);
    }
    let block = Block::parse(sent)?;
    if !block.is_of(key) {
        return Err(Refusal::KeyBlockRefused.into());
    }
    let direction = Direction::Import;
    let derive = |usage, template: &[_]| object::derive(session, handle, usage, Algorithm::Aes256, direction.identifier(), template);
    let verifying = derive(direction.mac(), &templates::derived(Algorithm::Aes256, templates::VERIFY))?;
    verify_mac(session, verifying.handle(), block.authenticated().as_bytes(), block.mac())?;
    drop(verifying);
    let unwrapping = derive(direction.wrapping(), &templates::derived_to_unwrap(&context.profile))?;
    let arrived = unwrap(context, session, unwrapping.handle(), block.algorithm(), block.wrapped())?;
    drop(unwrapping);
    let wrapping = derive(direction.wrapping(), &templates::derived(Algorithm::Aes256, templates::WRAP))?;
    same_again(context, session, wrapping.handle(), &arrived, block.wrapped()).map(|()| arrived)
}

/// KWP says how long a key is, and SoftHSM 2.6.1 fills one of 25 to 31 bytes up with zeros. What was unwrapped as it is, wraps to the same bytes.
fn same_again(context: &Context, session: &Session, with: ObjectHandle, arrived: &Ephemeral<'_>, wrapped: &[u8]) -> Result<(), Fault> {
    match session.wrap_key(&kwp(context)?, with, arrived.handle()) {
        Ok(again) if again == wrapped => Ok(()),
        Ok(_) => Err(Refusal::UnwrapFailed.into()),
        // A module that unwraps to an AES key of no AES length may refuse here.
        Err(error) if fault::rule(&error).action == Action::Fail => Err(Refusal::UnwrapFailed.into()),
        Err(error) => Err(error.into()),
    }
}

/// A blob that does not unwrap is the partner's fault, where the token is well.
fn unwrap<'s>(
    context: &Context,
    session: &'s Session,
    with: ObjectHandle,
    algorithm: Algorithm,
    wrapped: &[u8],
) -> Result<Ephemeral<'s>, Fault> {
    let template = templates::unwrapped_as(&context.profile, algorithm, templates::NOTHING, true);
    match session.unwrap_key(&kwp(context)?, with, wrapped, &template) {
        Ok(key) => Ok(Ephemeral::new(session, key)),
        Err(error) if context.is_unwell(session, &error) => Err(error.into()),
        Err(error) => {
            tracing::debug!(code = fault::code(&error), "what a partner sent does not unwrap");
            Err(Refusal::UnwrapFailed.into())
        }
    }
}
