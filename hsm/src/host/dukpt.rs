//! Operations under a data BDK (protocol §7): verify a MAC, verify and decrypt. PIN BDKs are not for this process.

use cryptoki::mechanism::Mechanism;

use super::context::Context;
use super::fault::Fault;
use super::object::{self, Ephemeral};
use super::phone::verify_mac;
use super::pool::Session;
use super::ring::Bdk;
use super::templates::{self, Use};
use super::{profile, selftest};
use crate::derivation::{Algorithm, Usage, transaction_identifier};
use crate::ksn::Ksn;
use crate::model::{KeyPurpose, KnownAnswer, KnownAnswerKey};
use crate::op::{Answer, Plaintext};

/// Longest message of [`verify`].
const LONGEST: usize = 32 * 1024;

pub(super) fn verify(context: &Context, session: &Session, ksn: Ksn, data: &[u8], mac: &[u8; 16]) -> Result<Answer, Fault> {
    if data.len() > LONGEST {
        return Err(Fault::input("data"));
    }
    let bdk = context.ring.bdk(ksn.ikid().bdk(), KeyPurpose::Data)?;
    let transaction = object::transaction_key(session, bdk.handle.on(session)?, bdk.algorithm, ksn.ikid(), ksn.counter().get())?;
    let key = working_key(session, bdk, &transaction, ksn, Usage::MacGeneration, templates::VERIFY)?;
    verify_mac(session, key.handle(), data, mac)?;
    Ok(Answer::Done)
}

pub(super) fn decrypt(
    context: &Context,
    session: &Session,
    ksn: Ksn,
    iv: [u8; 16],
    aad: &[u8],
    ciphertext: &[u8],
    mac: &[u8; 16],
) -> Result<Answer, Fault> {
    if ciphertext.is_empty() || ciphertext.len() > 8192 || !ciphertext.len().is_multiple_of(16) {
        return Err(Fault::input("ciphertext"));
    }
    let aad_length = u32::try_from(aad.len()).ok().filter(|length| *length <= 1024).ok_or_else(|| Fault::input("aad"))?;
    let bdk = context.ring.bdk(ksn.ikid().bdk(), KeyPurpose::Data)?;
    let transaction = object::transaction_key(session, bdk.handle.on(session)?, bdk.algorithm, ksn.ikid(), ksn.counter().get())?;

    let key = working_key(session, bdk, &transaction, ksn, Usage::MacGeneration, templates::VERIFY)?;
    let message = [&ksn.to_bytes()[..], &iv, &aad_length.to_be_bytes(), aad, ciphertext].concat();
    verify_mac(session, key.handle(), &message, mac)?;

    let key = working_key(session, bdk, &transaction, ksn, Usage::DataEncryption, templates::DECRYPT)?;
    let mut plaintext = Plaintext(session.decrypt(&Mechanism::AesCbc(iv), key.handle(), ciphertext)?);
    let unpadded = unpad(&plaintext.0).ok_or_else(|| Fault::input("padding"))?.len();
    plaintext.0.truncate(unpadded);
    Ok(Answer::Plaintext(plaintext))
}

/// PKCS#7 (RFC 5652 §6.3), strictly. The MAC was verified, so a wrong padding is the phone's mistake and no oracle.
fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let length = usize::from(*padded.last()?);
    let (text, padding) = padded.split_at_checked(padded.len().checked_sub(length)?)?;
    ((1..=16).contains(&length) && padding.iter().all(|byte| usize::from(*byte) == length)).then_some(text)
}

/// The working key of the BDK's own size.
fn working_key<'s>(
    session: &'s Session,
    bdk: &Bdk,
    transaction: &Ephemeral<'_>,
    ksn: Ksn,
    usage: Usage,
    allowed: Use,
) -> Result<Ephemeral<'s>, Fault> {
    let identifier = transaction_identifier(ksn.ikid(), ksn.counter().get());
    let template = templates::derived(bdk.algorithm, allowed);
    Ok(object::derive(session, transaction.handle(), usage, bdk.algorithm, identifier, &template)?)
}

/// For the test over the published vectors: AES-CMAC of 16 zero bytes under the derived key. The key itself cannot be asked for.
pub(super) fn known_answer(session: &Session, asked: &KnownAnswer) -> Result<Answer, Fault> {
    let algorithm =
        u16::try_from(asked.bdk.len().saturating_mul(8)).ok().and_then(Algorithm::of_bits).ok_or_else(|| Fault::input("bdk"))?;
    // Only the published test BDK and its doublings: this must not become a way to bring keys in.
    if !selftest::is_public_test_bdk(&asked.bdk) {
        return Err(Fault::input("bdk"));
    }
    let bdk = profile::import(session, &asked.bdk, templates::DERIVE, false)?;
    let sign = |algorithm| templates::derived(algorithm, templates::SIGN);
    let key = match asked.at {
        KnownAnswerKey::Initial => object::derive(session, bdk.handle(), Usage::InitialKey, algorithm, asked.ikid.0, &sign(algorithm))?,
        KnownAnswerKey::Intermediate { counter } => {
            // The last step again, into a key that may sign: a key of the tree only derives.
            let lowest = 1_u32.checked_shl(counter.trailing_zeros()).ok_or_else(|| Fault::input("counter"))?;
            let parent = object::transaction_key(session, bdk.handle(), algorithm, asked.ikid, counter ^ lowest)?;
            let identifier = transaction_identifier(asked.ikid, counter);
            object::derive(session, parent.handle(), Usage::Derivation, algorithm, identifier, &sign(algorithm))?
        }
        KnownAnswerKey::Working { counter, usage, algorithm: working } => {
            let parent = object::transaction_key(session, bdk.handle(), algorithm, asked.ikid, counter)?;
            let identifier = transaction_identifier(asked.ikid, counter);
            object::derive(session, parent.handle(), usage, working, identifier, &sign(working))?
        }
    };
    Ok(Answer::Bytes(session.sign(&Mechanism::AesCMac, key.handle(), &[0; 16])?))
}

#[cfg(test)]
mod tests {
    use super::unpad;

    #[test]
    fn only_correct_padding_is_cut() {
        let mut text = [b"fifteen bytes..".to_vec(), vec![1]].concat();
        assert_eq!(unpad(&text), Some(&b"fifteen bytes.."[..]));
        assert_eq!(unpad(&[16; 16]), Some(&[][..]));
        for wrong in [0, 2, 17, 255] {
            text[15] = wrong;
            assert_eq!(unpad(&text), None, "{wrong}");
        }
        assert_eq!(unpad(&[]), None);
    }
}
