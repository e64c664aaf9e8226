//! Operations on a phone's second secret: opening an enrolment, personalization, verifying what the phone MACs.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;

use super::context::Context;
use super::fault::{self, Fault};
use super::object::{self, Ephemeral};
use super::pool::Session;
use super::prove::oaep_mechanism;
use super::ring::{Bdk, Key};
use super::sign::transport as transport_label;
use super::{ffi, templates};
use crate::agreement;
use crate::derivation::{Algorithm, Usage};
use crate::error::Refusal;
use crate::keyblock::{self, KeyBlock, WRAPPED_LENGTH};
use crate::ksn::{DerivationId, Ikid};
use crate::model::{KeyPurpose, OpenEnrolment, TransportKind, WrappedInitialKey};
use crate::op::Answer;
use crate::rules::Action;

/// The only generation of `storage-kek` and `storage-mac` there is yet.
const KEK_VERSION: u16 = 1;

/// Verifies an AES-CMAC on the token, where the comparison happens too.
pub(super) fn verify_mac(session: &Session, key: ObjectHandle, message: &[u8], mac: &[u8; 16]) -> Result<(), Fault> {
    match session.verify(&Mechanism::AesCMac, key, message, mac) {
        Ok(()) => Ok(()),
        Err(Error::Pkcs11(RvError::SignatureInvalid | RvError::SignatureLenRange, _)) => Err(Refusal::MacMismatch.into()),
        Err(error) => Err(error.into()),
    }
}

fn storage_kwp(context: &Context) -> Result<Mechanism<'static>, Fault> {
    context.profile.kwp.map(ffi::plain).ok_or_else(|| Refusal::UnknownKey { label: templates::STORAGE_KEK.to_owned() }.into())
}

/// Protocol §3.4: the second secret arrives, is stored, and proves the transcript. It is never in this process.
pub(super) fn open_enrolment(context: &Context, session: &Session, enrolment: &OpenEnrolment) -> Result<Answer, Fault> {
    let OpenEnrolment { transport, wrapped_secret, ikid, transcript, mac } = enrolment;
    known_device(*ikid)?;
    let key = context.ring.get(transport_label(context, *transport)?)?;
    let secret = match transport {
        TransportKind::Rsa => by_oaep(context, session, key, wrapped_secret)?,
        TransportKind::Ecdh => by_agreement(context, session, key, wrapped_secret)?,
    };
    let wrapped = wrap_for_storage(context, session, &secret)?;
    drop(secret);
    let header = keyblock::authenticated(KEK_VERSION, *ikid, &wrapped);
    let storage_mac = context.ring.get(templates::STORAGE_MAC)?.working.on(session)?;
    let tag = object::twice(|| session.sign(&Mechanism::AesCMac, storage_mac, &header))?;
    let tag = tag.try_into().map_err(|_| Error::InvalidValue)?;
    let block = KeyBlock::new(KEK_VERSION, *ikid, wrapped, tag);
    // From here on as on every later use: out of the block, so that what is stored is known to work.
    verify_with_secret(context, session, &block, *ikid, transcript, mac)?;
    Ok(Answer::KeyBlock(block))
}

/// RFC 8017 §7.1.2 on the token.
fn by_oaep<'s>(context: &Context, session: &'s Session, key: &Key, wrapped: &[u8]) -> Result<Ephemeral<'s>, Fault> {
    let hash = context.profile.oaep.ok_or_else(|| Refusal::UnknownKey { label: key.design.label.clone() })?;
    if wrapped.len() != usize::from(key.design.bits / 8) {
        return Err(Refusal::UnwrapFailed.into());
    }
    let template = templates::unwrapped_to_be_wrapped(&context.profile);
    let key = key.working.on(session)?;
    unwrap(context, session, || session.unwrap_key(&oaep_mechanism(hash), key, wrapped, &template))
}

/// RFC 5753 §7.1.4 on the token. A point that is not on the curve ends here, so what the agreement itself fails with is the token's.
fn by_agreement<'s>(context: &Context, session: &'s Session, key: &Key, wrapped: &[u8]) -> Result<Ephemeral<'s>, Fault> {
    let (point, blob) = agreement::parse(wrapped).ok_or(Refusal::UnwrapFailed)?;
    let kek = object::agree(session, key.working.on(session)?, point, &templates::agreed(&context.profile))?;
    let template = templates::unwrapped_to_be_wrapped(&context.profile);
    let mechanism = storage_kwp(context)?;
    unwrap(context, session, || session.unwrap_key(&mechanism, kek.handle(), blob, &template))
}

/// The module's answer to a bad ciphertext may be `CKR_GENERAL_ERROR`: then the canary tells the phone's fault from the token's, and a second try the
/// phone's from an accident.
fn unwrap<'s>(context: &Context, session: &'s Session, unwrap: impl Fn() -> Result<ObjectHandle, Error>) -> Result<Ephemeral<'s>, Fault> {
    let outcome =
        unwrap().or_else(|error| if context.is_unwell(session, &error) || !fault::rule(&error).canary { Err(error) } else { unwrap() });
    match outcome {
        Ok(secret) => Ok(Ephemeral::new(session, secret)),
        Err(error) if context.is_unwell(session, &error) => Err(error.into()),
        Err(_) => Err(Refusal::UnwrapFailed.into()),
    }
}

/// SoftHSM does not tell the length of an unwrapped key, but KWP does: 32 bytes wrap to 40, and nothing else may.
fn wrap_for_storage(context: &Context, session: &Session, secret: &Ephemeral<'_>) -> Result<[u8; WRAPPED_LENGTH], Fault> {
    let kek = context.ring.get(templates::STORAGE_KEK)?;
    match session.wrap_key(&storage_kwp(context)?, kek.working.on(session)?, secret.handle()) {
        Ok(wrapped) => wrapped.try_into().map_err(|_| Refusal::UnwrapFailed.into()),
        // A module that unwraps to an AES key of no AES length refuses here at the latest.
        Err(error) if fault::rule(&error).action == Action::Fail => Err(Refusal::UnwrapFailed.into()),
        Err(error) => Err(error.into()),
    }
}

/// The second secret out of its block, for deriving only. The block's MAC and owner are verified first.
fn secret<'s>(context: &Context, session: &'s Session, block: &KeyBlock, ikid: Ikid) -> Result<Ephemeral<'s>, Fault> {
    if block.identifier() != ikid || block.kek_version() != KEK_VERSION {
        return Err(Refusal::KeyBlockRefused.into());
    }
    let storage_mac = context.ring.get(templates::STORAGE_MAC)?;
    match verify_mac(session, storage_mac.working.on(session)?, &block.authenticated(), block.mac()) {
        Err(Fault::Refused(Refusal::MacMismatch)) => return Err(Refusal::KeyBlockRefused.into()),
        other => other?,
    }
    let kek = context.ring.get(templates::STORAGE_KEK)?;
    let template = templates::unwrapped_to_derive(&context.profile);
    let handle = session.unwrap_key(&storage_kwp(context)?, kek.working.on(session)?, block.wrapped(), &template)?;
    Ok(Ephemeral::new(session, handle))
}

fn verify_with_secret(
    context: &Context,
    session: &Session,
    block: &KeyBlock,
    ikid: Ikid,
    message: &[u8; 32],
    mac: &[u8; 16],
) -> Result<(), Fault> {
    let secret = secret(context, session, block, ikid)?;
    let template = templates::derived(Algorithm::Aes256, templates::VERIFY);
    let key = object::derive(session, secret.handle(), Usage::MacBoth, Algorithm::Aes256, ikid.0, &template)?;
    verify_mac(session, key.handle(), message, mac)
}

/// Protocol §4: a MAC of an enrolled phone.
pub(super) fn verify_device_mac(
    context: &Context,
    session: &Session,
    block: &KeyBlock,
    ikid: Ikid,
    message: &[u8; 32],
    mac: &[u8; 16],
) -> Result<Answer, Fault> {
    verify_with_secret(context, session, block, ikid, message, mac)?;
    Ok(Answer::Done)
}

/// Protocol §3.6: both initial keys of the phone, wrapped on the token under the KEK that the second secret gives.
pub(super) fn personalize(context: &Context, session: &Session, block: &KeyBlock, ikid: Ikid, acquirer: &str) -> Result<Answer, Fault> {
    known_device(ikid)?;
    if !templates::is_acquirer(acquirer) {
        return Err(Fault::input("acquirer"));
    }
    let data = context.ring.bdk(ikid.bdk(), KeyPurpose::Data)?;
    if data.acquirer != acquirer {
        return Err(Refusal::UnknownBdk.into());
    }
    let pin = context.ring.bdk_of(acquirer, KeyPurpose::Pin)?;
    let secret = secret(context, session, block, ikid)?;
    let template = templates::derived(Algorithm::Aes256, templates::WRAP);
    let kek = object::derive(session, secret.handle(), Usage::KeyEncryption, Algorithm::Aes256, ikid.0, &template)?;
    let pin = initial_key(context, session, pin, ikid.derivation(), &kek)?;
    let data = initial_key(context, session, data, ikid.derivation(), &kek)?;
    Ok(Answer::InitialKeys(vec![pin, data]))
}

/// Two objects of one key, because each may do one thing: one is wrapped, the other makes the check value.
fn initial_key(
    context: &Context,
    session: &Session,
    bdk: &Bdk,
    derivation: DerivationId,
    kek: &Ephemeral<'_>,
) -> Result<WrappedInitialKey, Fault> {
    let ikid = Ikid::new(bdk.id, derivation);
    let derive = |template: &[_]| object::derive(session, bdk.handle.on(session)?, Usage::InitialKey, bdk.algorithm, ikid.0, template);
    let leaving = derive(&templates::derived_to_be_wrapped(bdk.algorithm))?;
    let mechanism = storage_kwp(context)?;
    let wrapped = object::twice(|| session.wrap_key(&mechanism, kek.handle(), leaving.handle()))?;
    drop(leaving);
    let checked = derive(&templates::derived(bdk.algorithm, templates::SIGN))?;
    let kcv = object::check_value(session, checked.handle())?;
    Ok(WrappedInitialKey { usage: bdk.purpose, ikid, algorithm: bdk.algorithm, wrapped, kcv })
}

/// Derivation id 0 is never given.
fn known_device(ikid: Ikid) -> Result<(), Fault> {
    if ikid.derivation() == DerivationId(0) { Err(Fault::input("ikid")) } else { Ok(()) }
}
