//! Known-answer tests at start, on session objects with public values. A module that fails one gets no work.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;

use super::fault;
use super::ffi;
use super::object::{self, Ephemeral};
use super::pool::Session;
use super::profile::{self, KEK, KWP};
use super::public;
use super::templates::{self, Use};
use crate::derivation::{Algorithm, Usage};
use crate::ksn::Ikid;
use crate::model::{Finding, KeyKind, Profile};

/// Runs all of them. The session is to be thrown away afterwards.
pub(super) fn run(session: &Session, profile: &Profile) -> Vec<Finding> {
    vec![
        finding("aes-dukpt-128", dukpt(session, Algorithm::Aes128)),
        finding("aes-dukpt-256", dukpt(session, Algorithm::Aes256)),
        finding("aes-cmac", cmac(session)),
        finding("aes-kwp", kwp(session, profile)),
        finding("ecdsa-p256", ecdsa(session)),
    ]
}

fn finding(name: &str, result: Result<bool, Error>) -> Finding {
    let name = format!("self-test:{name}");
    match result {
        Ok(true) => Finding::passed(name, "passed"),
        Ok(false) => Finding::failed(name, None, "the module computes something else: do not use it"),
        Err(error) => Finding::failed(name, Some(fault::code(&error)), "the module refuses the test: see its log and mechanisms"),
    }
}

/// BDK and initial key id of the X9.24-3:2017 test vectors.
const BDK: [u8; 16] = [0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10, 0xF1, 0xF1, 0xF1, 0xF1, 0xF1, 0xF1, 0xF1, 0xF1];
const IKID: Ikid = Ikid([0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56]);
/// AES-CMAC over 16 zero bytes under the MAC generation key of counter 7 (three derivations deep).
const MAC_128: [u8; 16] = [0xB6, 0x77, 0x58, 0x00, 0xFA, 0xF7, 0x5E, 0x0F, 0x06, 0x6E, 0xC3, 0xAE, 0xF8, 0xF1, 0x7B, 0x69];
const MAC_256: [u8; 16] = [0xB8, 0xA2, 0x9F, 0x7E, 0x87, 0x59, 0xE2, 0x1F, 0x87, 0x25, 0x0A, 0x11, 0x5A, 0x41, 0x28, 0x1D];

/// Whether it is the BDK of the published vectors, in one of the three sizes.
pub(super) fn is_public_test_bdk(bdk: &[u8]) -> bool {
    matches!(bdk.len(), 16 | 24 | 32) && bdk.iter().eq(BDK.iter().cycle().take(bdk.len()))
}

fn dukpt(session: &Session, algorithm: Algorithm) -> Result<bool, Error> {
    let (bdk, expected) = match algorithm {
        Algorithm::Aes128 => (BDK.to_vec(), MAC_128),
        _ => ([BDK, BDK].concat(), MAC_256),
    };
    let bdk = profile::import(session, &bdk, templates::DERIVE, false)?;
    let key = object::transaction_key(session, bdk.handle(), algorithm, IKID, 7)?;
    let identifier = crate::derivation::transaction_identifier(IKID, 7);
    let template = templates::derived(algorithm, templates::SIGN);
    let mac = object::derive(session, key.handle(), Usage::MacGeneration, algorithm, identifier, &template)?;
    Ok(session.sign(&Mechanism::AesCMac, mac.handle(), &[0; 16])? == expected)
}

/// RFC 4493 §4: key and message of example 2.
const CMAC_KEY: [u8; 16] = [0x2B, 0x7E, 0x15, 0x16, 0x28, 0xAE, 0xD2, 0xA6, 0xAB, 0xF7, 0x15, 0x88, 0x09, 0xCF, 0x4F, 0x3C];
const CMAC_MESSAGE: [u8; 16] = [0x6B, 0xC1, 0xBE, 0xE2, 0x2E, 0x40, 0x9F, 0x96, 0xE9, 0x3D, 0x7E, 0x11, 0x73, 0x93, 0x17, 0x2A];
const CMAC: [u8; 16] = [0x07, 0x0A, 0x16, 0xB4, 0x6B, 0x4D, 0x41, 0x44, 0xF7, 0x9B, 0xDD, 0x9D, 0xD0, 0x4A, 0x28, 0x7C];

fn cmac(session: &Session) -> Result<bool, Error> {
    let key = profile::import(session, &CMAC_KEY, Use { sign: true, verify: true, ..templates::NOTHING }, false)?;
    let made = session.sign(&Mechanism::AesCMac, key.handle(), &CMAC_MESSAGE)? == CMAC;
    session.verify(&Mechanism::AesCMac, key.handle(), &CMAC_MESSAGE, &CMAC)?;
    let mut wrong = CMAC;
    wrong[15] ^= 1;
    Ok(made && refuses(&session.verify(&Mechanism::AesCMac, key.handle(), &CMAC_MESSAGE, &wrong)))
}

/// A verification that must fail, and with the code that says so.
pub(super) fn refuses(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Pkcs11(RvError::SignatureInvalid, _)))
}

fn kwp(session: &Session, profile: &Profile) -> Result<bool, Error> {
    let Some(kwp) = profile.kwp else { return Ok(false) };
    let kek = profile::import(session, &KEK, Use { unwrap: true, ..templates::NOTHING }, false)?;
    let mut template = templates::unwrapped_to_derive(profile);
    let key = Ephemeral::new(session, session.unwrap_key(&ffi::plain(kwp), kek.handle(), &KWP, &template)?);
    // What came out derives the same as the value that went in.
    let same = profile::import(session, &profile::KEY, templates::DERIVE, false)?;
    template = templates::derived(Algorithm::Aes256, templates::SIGN);
    let check = |key| {
        let key = object::derive(session, key, Usage::MacBoth, Algorithm::Aes256, IKID.0, &template)?;
        object::check_value(session, key.handle())
    };
    let mut broken = KWP;
    broken[20] ^= 1;
    let accepted = session
        .unwrap_key(&ffi::plain(kwp), kek.handle(), &broken, &templates::unwrapped_to_derive(profile))
        .map(|handle| Ephemeral::new(session, handle))
        .is_ok();
    Ok(check(key.handle())? == check(same.handle())? && !accepted)
}

fn ecdsa(session: &Session) -> Result<bool, Error> {
    let Some(design) = templates::designs(templates::ISSUING_CA).pop() else { return Ok(false) };
    let (public, private) = templates::session_pair(&design);
    let (public, private) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
    let (public, private) = (Ephemeral::new(session, public), Ephemeral::new(session, private));
    let Some(key) = public::read(session, public.handle(), KeyKind::P256)? else { return Ok(false) };
    let digest = [0x5A; 32];
    let mut signature = session.sign(&Mechanism::Ecdsa, private.handle(), &digest)?;
    let good = key.verifies(&digest, &signature) && session.verify(&Mechanism::Ecdsa, public.handle(), &digest, &signature).is_ok();
    if let Some(last) = signature.last_mut() {
        *last ^= 1;
    }
    Ok(good && !key.verifies(&digest, &signature) && refuses(&session.verify(&Mechanism::Ecdsa, public.handle(), &digest, &signature)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivation::{derivation_data, transaction_identifier};
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use cmac::Mac;

    fn derive(parent: &[u8], usage: Usage, algorithm: Algorithm, identifier: [u8; 8]) -> Vec<u8> {
        let mut data = derivation_data(usage, algorithm, identifier);
        for block in data.chunks_exact_mut(16) {
            let block: &mut [u8; 16] = block.try_into().expect("16");
            if parent.len() == 16 {
                aes::Aes128::new_from_slice(parent).expect("16").encrypt_block(block.into());
            } else {
                aes::Aes256::new_from_slice(parent).expect("32").encrypt_block(block.into());
            }
        }
        data
    }

    fn cmac(key: &[u8], message: &[u8]) -> [u8; 16] {
        if key.len() == 16 {
            cmac::Cmac::<aes::Aes128>::new_from_slice(key).expect("16").chain_update(message).finalize().into_bytes().into()
        } else {
            cmac::Cmac::<aes::Aes256>::new_from_slice(key).expect("32").chain_update(message).finalize().into_bytes().into()
        }
    }

    #[test]
    fn the_known_answers_are_what_software_computes() {
        for (bdk, algorithm, expected) in [(BDK.to_vec(), Algorithm::Aes128, MAC_128), ([BDK, BDK].concat(), Algorithm::Aes256, MAC_256)] {
            let mut key = derive(&bdk, Usage::InitialKey, algorithm, IKID.0);
            for register in [4, 6, 7] {
                key = derive(&key, Usage::Derivation, algorithm, transaction_identifier(IKID, register));
            }
            let mac = derive(&key, Usage::MacGeneration, algorithm, transaction_identifier(IKID, 7));
            assert_eq!(cmac(&mac, &[0; 16]), expected);
        }
        assert_eq!(cmac(&CMAC_KEY, &CMAC_MESSAGE), CMAC);
    }
}
