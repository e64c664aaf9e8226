//! Operations: signatures, public keys, the MAC of activation codes, random numbers.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;

use super::context::Context;
use super::fault::Fault;
use super::pool::Session;
use super::profile::ed25519;
use super::{object, templates};
use crate::error::Refusal;
use crate::model::{KeyKind, PublicKeyOf, SigningKey, TransportKind};
use crate::op::Answer;

fn label(key: SigningKey) -> &'static str {
    match key {
        SigningKey::Attestation => templates::ATTESTATION_SIGNING,
        SigningKey::Personalization => templates::PERSONALIZATION_SIGNING,
        SigningKey::IssuingCa => templates::ISSUING_CA,
        SigningKey::Audit => templates::AUDIT_SIGNING,
    }
}

pub(super) fn sign(context: &Context, session: &Session, key: SigningKey, digest: &[u8]) -> Result<Answer, Fault> {
    sign_with(context, session, label(key), digest)
}

pub(super) fn sign_root(context: &Context, session: &Session, digest: &[u8]) -> Result<Answer, Fault> {
    sign_with(context, session, templates::ROOT_CA, digest)
}

/// The length of the digest is checked here: `CKM_ECDSA` takes a thousand bytes and cuts them.
fn sign_with(context: &Context, session: &Session, label: &str, digest: &[u8]) -> Result<Answer, Fault> {
    let key = context.ring.get(label)?;
    let (length, signature_length, mechanism) = match key.design.kind {
        KeyKind::P256 => (32, 64, Mechanism::Ecdsa),
        KeyKind::P384 => (48, 96, Mechanism::Ecdsa),
        KeyKind::Ed25519 => (32, 64, ed25519()),
        KeyKind::Rsa | KeyKind::Aes | KeyKind::GenericSecret => return Err(Fault::input("key")),
    };
    if digest.len() != length {
        return Err(Fault::input("digest"));
    }
    let signature = session.sign(&mechanism, key.working.on(session)?, digest)?;
    // A faulty signature must not leave: it would not be believed, and may tell of the key (Boneh, DeMillo, Lipton 1997).
    let verifies = || match (&key.public, key.design.kind) {
        (Some((public, _)), KeyKind::Ed25519) => {
            public.on(session).and_then(|public| session.verify(&mechanism, public, digest, &signature)).is_ok()
        }
        (Some((_, public)), _) => public.verifies(digest, &signature),
        (None, _) => false,
    };
    if signature.len() != signature_length || !verifies() {
        return Err(Error::InvalidValue.into());
    }
    Ok(Answer::Bytes(signature))
}

pub(super) fn public_key(context: &Context, key: PublicKeyOf) -> Result<Answer, Fault> {
    let label = match key {
        PublicKeyOf::Signing(key) => label(key),
        PublicKeyOf::Transport(kind) => transport(context, kind)?,
        PublicKeyOf::RootCa => templates::ROOT_CA,
    };
    let key = context.ring.get(label)?;
    let (_, public) = key.public.as_ref().ok_or_else(|| Refusal::UnknownKey { label: label.to_owned() })?;
    Ok(Answer::Bytes(public.spki.clone()))
}

/// The label of a transport key, where the module can use it.
pub(super) fn transport(context: &Context, kind: TransportKind) -> Result<&'static str, Fault> {
    let (label, usable) = match kind {
        TransportKind::Rsa => (templates::ENROLMENT_TRANSPORT, context.profile.oaep.is_some()),
        TransportKind::Ecdh => (templates::ENROLMENT_TRANSPORT_EC, context.profile.ecdh),
    };
    if usable { Ok(label) } else { Err(Refusal::UnknownKey { label: label.to_owned() }.into()) }
}

pub(super) fn activation_mac(context: &Context, session: &Session, message: &[u8]) -> Result<Answer, Fault> {
    if message.len() > 1024 {
        return Err(Fault::input("message"));
    }
    let key = context.ring.get(templates::ACTIVATION_MAC)?;
    Ok(Answer::Bytes(object::twice(|| session.sign(&Mechanism::Sha256Hmac, key.working.on(session)?, message))?))
}

pub(super) fn random(session: &Session, length: u16) -> Result<Answer, Fault> {
    if !(1..=1024).contains(&length) {
        return Err(Fault::input("length"));
    }
    Ok(Answer::Bytes(session.generate_random_vec(u32::from(length))?))
}
