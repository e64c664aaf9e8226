//! Signatures with managed keys.

use cryptoki::error::Error;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};

use super::super::context::Context;
use super::super::fault::Fault;
use super::super::pool::Session;
use super::super::profile::ed25519;
use super::super::ring::Key;
use super::{fits, label_for, shelf};
use crate::managed::{KeyRef, Purpose, SignatureScheme};
use crate::managed_op::ManagedAnswer;
use crate::op::Answer;

/// RFC 8017 §9.2, note 1: DER of the `DigestInfo` of SHA-256, up to the digest.
const SHA256_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

pub(super) fn sign(context: &Context, session: &Session, key: &KeyRef, scheme: SignatureScheme, input: &[u8]) -> Result<Answer, Fault> {
    let label = label_for(key, Purpose::Sign)?;
    if !SignatureScheme::of(key.algorithm).contains(&scheme) {
        return Err(Fault::input("scheme"));
    }
    fits("input", input)?;
    // `CKM_ECDSA` takes a thousand bytes and cuts them.
    if digest_length(scheme).is_some_and(|length| input.len() != length) {
        return Err(Fault::input("digest"));
    }
    shelf::with(context, session, &label, |key| Ok(Answer::Bytes(signature(session, key, scheme, input)?)))
}

/// Wrong is an answer, not an error.
pub(super) fn verify(
    context: &Context,
    session: &Session,
    key: &KeyRef,
    scheme: SignatureScheme,
    input: &[u8],
    signature: &[u8],
) -> Result<Answer, Fault> {
    let label = label_for(key, Purpose::Sign)?;
    if !SignatureScheme::of(key.algorithm).contains(&scheme) {
        return Err(Fault::input("scheme"));
    }
    fits("input", input)?;
    if digest_length(scheme).is_some_and(|length| input.len() != length) {
        return Err(Fault::input("digest"));
    }
    let valid = |key: &Key| Ok(Answer::Managed(ManagedAnswer::Valid(verifies(session, key, scheme, input, signature)?)));
    shelf::with(context, session, &label, valid)
}

/// Of what is signed; `None` where that is the message itself.
fn digest_length(scheme: SignatureScheme) -> Option<usize> {
    match scheme {
        SignatureScheme::Es256 | SignatureScheme::Ps256 | SignatureScheme::Rs256 => Some(32),
        SignatureScheme::Es384 => Some(48),
        SignatureScheme::EdDsa => None,
    }
}

/// Makes and verifies it: a faulty signature must not leave, it may tell of the key (Boneh and others 1997).
pub(in crate::host) fn signature(session: &Session, key: &Key, scheme: SignatureScheme, input: &[u8]) -> Result<Vec<u8>, Error> {
    let handle = key.working.on(session)?;
    let signature = match scheme {
        SignatureScheme::Es256 | SignatureScheme::Es384 => session.sign(&Mechanism::Ecdsa, handle, input),
        SignatureScheme::EdDsa => session.sign(&ed25519(), handle, input),
        SignatureScheme::Ps256 => {
            let parameters = PkcsPssParams { hash_alg: MechanismType::SHA256, mgf: PkcsMgfType::MGF1_SHA256, s_len: 32_u64.into() };
            session.sign(&Mechanism::RsaPkcsPss(parameters), handle, input)
        }
        SignatureScheme::Rs256 => session.sign(&Mechanism::RsaPkcs, handle, &[&SHA256_INFO[..], input].concat()),
    }?;
    if verifies(session, key, scheme, input, &signature)? { Ok(signature) } else { Err(Error::InvalidValue) }
}

/// In software; Ed25519 on the token.
pub(in crate::host) fn verifies(
    session: &Session,
    key: &Key,
    scheme: SignatureScheme,
    input: &[u8],
    signature: &[u8],
) -> Result<bool, Error> {
    let Some((handle, public)) = &key.public else { return Ok(false) };
    Ok(match scheme {
        SignatureScheme::EdDsa => signature.len() == 64 && session.verify(&ed25519(), handle.on(session)?, input, signature).is_ok(),
        _ => public.verifies_as(scheme, input, signature),
    })
}
