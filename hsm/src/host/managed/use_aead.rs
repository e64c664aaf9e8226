//! AES-GCM with managed keys (NIST SP 800-38D). The nonce is the token's: a nonce that comes twice gives the key's authentication away.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use subtle::ConstantTimeEq as _;

use super::super::context::Context;
use super::super::fault::Fault;
use super::super::pool::Session;
use super::{LONGEST, fits, label_for, open, shelf};
use crate::error::Refusal;
use crate::managed::{KeyRef, Purpose};
use crate::op::{Answer, Plaintext};

/// 96 bits: SP 800-38D §8.2.2 for nonces of a random generator, 2^32 of them a key at most.
const NONCE: usize = 12;
const TAG: usize = 16;

pub(super) fn encrypt(context: &Context, session: &Session, key: &KeyRef, aad: &[u8], plaintext: &[u8]) -> Result<Answer, Fault> {
    let label = label_for(key, Purpose::Encrypt)?;
    fits("aad", aad)?;
    fits("plaintext", plaintext)?;
    shelf::with(context, session, &label, |key| Ok(Answer::Bytes(seal(session, key.working.on(session)?, aad, plaintext)?)))
}

pub(super) fn decrypt(context: &Context, session: &Session, key: &KeyRef, aad: &[u8], ciphertext: &[u8]) -> Result<Answer, Fault> {
    let label = label_for(key, Purpose::Encrypt)?;
    fits("aad", aad)?;
    let length = ciphertext.len().checked_sub(NONCE + TAG).ok_or(Refusal::DecryptionFailed)?;
    if length > LONGEST {
        return Err(Fault::input("ciphertext"));
    }
    shelf::with(context, session, &label, |key| {
        let handle = key.working.on(session)?;
        let plaintext = open(context, session, Refusal::DecryptionFailed, || unseal(session, handle, aad, ciphertext))?;
        Ok(Answer::Plaintext(plaintext))
    })
}

/// Nonce, ciphertext and tag, opened once before they leave: what cannot be decrypted is found now, and not when the plaintext is gone.
pub(in crate::host) fn seal(session: &Session, key: ObjectHandle, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let mut nonce = [0; NONCE];
    session.generate_random_slice(&mut nonce)?;
    let mut sealed = nonce.to_vec();
    sealed.extend(session.encrypt(&gcm(&mut nonce, aad)?, key, plaintext)?);
    if sealed.len() != plaintext.len() + NONCE + TAG {
        return Err(Error::InvalidValue);
    }
    let opened = unseal(session, key, aad, &sealed)?;
    if bool::from(opened.0.ct_eq(plaintext)) { Ok(sealed) } else { Err(Error::InvalidValue) }
}

/// The reverse.
pub(in crate::host) fn unseal(session: &Session, key: ObjectHandle, aad: &[u8], sealed: &[u8]) -> Result<Plaintext, Error> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>().ok_or(Error::InvalidValue)?;
    let mut nonce = *nonce;
    let plaintext = Plaintext(session.decrypt(&gcm(&mut nonce, aad)?, key, ciphertext)?);
    if plaintext.0.len() + TAG == ciphertext.len() { Ok(plaintext) } else { Err(Error::InvalidValue) }
}

fn gcm<'a>(nonce: &'a mut [u8; NONCE], aad: &'a [u8]) -> Result<Mechanism<'a>, Error> {
    Ok(Mechanism::AesGcm(GcmParams::new(nonce, aad, 128_u64.into())?))
}
