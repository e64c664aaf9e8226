//! Known answers: what the module computes is what the standards say.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;

use super::probe_templates as probes;
use super::report::{Report, Verdict, fail, pass, workaround};
use crate::derivation::{Algorithm, Usage};
use crate::host::object::{self, Ephemeral};
use crate::host::pool::Session;
use crate::host::profile::{self, KEK, KEY, KWP};
use crate::host::templates::{self, Use};
use crate::host::trial::Stage;
use crate::host::{ffi, selftest};

const GROUP: &str = "known answers";
const RIGHT: &str = "as X9.24-3 says";
const AES256: Algorithm = Algorithm::Aes256;
const WRONG: &str = "it computes something else than the standard: do not use it";
/// Every value below is under the public test key 00 01 .. and the identifier of zeros.
const IDENTIFIER: [u8; 8] = [0; 8];
const MAC_128_BY_128: [u8; 16] = [0xD4, 0xE9, 0x95, 0xDF, 0x58, 0x32, 0x7C, 0x52, 0x56, 0xDF, 0x25, 0x23, 0xE0, 0x94, 0xDE, 0x02];
const MAC_128_BY_256: [u8; 16] = [0x1F, 0x0F, 0xB5, 0xC8, 0xE7, 0xC7, 0xB1, 0x0E, 0xD7, 0x78, 0x22, 0xDD, 0x49, 0x72, 0xC5, 0xD2];
const MAC_192_BY_256: [u8; 16] = [0x07, 0xDE, 0xAC, 0x87, 0x31, 0xFA, 0x2F, 0x9A, 0xEE, 0x54, 0x1A, 0xF6, 0x07, 0x0C, 0xC9, 0x07];
const MAC_256_BY_256: [u8; 16] = [0x65, 0x87, 0xC2, 0x9B, 0x05, 0xA9, 0xEF, 0xDE, 0xD0, 0xCF, 0x63, 0x56, 0x0C, 0xC3, 0x67, 0x62];
const MAC_TREE: [u8; 16] = [0xAE, 0x32, 0xAD, 0xF0, 0x0F, 0x2B, 0xBA, 0x69, 0xB1, 0xC2, 0x17, 0xD6, 0xE5, 0xA4, 0xD0, 0xE5];
const TEXT: [u8; 16] = *b"tillward-doctor.";
const CIPHERTEXT: [u8; 16] = [0x47, 0x19, 0xB1, 0xA5, 0xA6, 0x79, 0x4E, 0x1B, 0x07, 0x35, 0x40, 0x88, 0xA9, 0x0C, 0x01, 0x97];
const WRAPPED: [u8; 40] = [
    0x75, 0x07, 0x7E, 0xE4, 0x40, 0x14, 0x80, 0x2F, 0x86, 0x13, 0xC1, 0x14, 0xB3, 0x10, 0x6E, 0xBD, 0x46, 0xF1, 0xDD, 0xC5, 0xB6, 0x52,
    0x3D, 0x61, 0xD9, 0x34, 0xC3, 0x40, 0x92, 0x5B, 0x63, 0x76, 0xFA, 0x73, 0xF1, 0x9A, 0xCA, 0xDE, 0x4A, 0x2B,
];
/// HMAC-SHA-256 (FIPS 198-1) of `tillward`.
const HMAC: [u8; 32] = [
    0x33, 0xAA, 0x3E, 0x2E, 0x7A, 0x36, 0xEC, 0x68, 0x82, 0x30, 0x72, 0xF4, 0x4A, 0x76, 0x94, 0x6C, 0x07, 0x22, 0x0E, 0x03, 0x13, 0x98,
    0xD7, 0xDE, 0xBF, 0xB5, 0x04, 0xA4, 0xF1, 0x74, 0x48, 0xC5,
];
/// RFC 5649 of the first 20 bytes of [`KEY`] under [`KEK`]; and of the same with four zero bytes behind.
const KWP_20: [u8; 32] = [
    0x90, 0x25, 0x1B, 0x1D, 0xE7, 0xED, 0x2C, 0x27, 0xCD, 0x1E, 0xDE, 0xDE, 0x94, 0x9D, 0x9E, 0x24, 0x06, 0xBE, 0xC5, 0x1A, 0xA4, 0x6B,
    0xA6, 0xE3, 0x7E, 0x15, 0x65, 0x33, 0xC3, 0x0B, 0x6A, 0xF8,
];
const KWP_20_ZEROS: [u8; 32] = [
    0x3B, 0xEB, 0x69, 0xFB, 0x9F, 0x89, 0x07, 0x32, 0x08, 0x3E, 0xC6, 0x06, 0xFD, 0xF5, 0x51, 0x1C, 0x94, 0xB7, 0x2B, 0xE3, 0xE9, 0x77,
    0x8E, 0x8B, 0x53, 0x09, 0xA4, 0xFD, 0xA6, 0x4F, 0x83, 0x1E,
];

fn equal(right: bool, what: &str) -> Verdict {
    if right { pass(what) } else { fail(WRONG) }
}

/// What every host tests at its start.
pub(super) fn self_tests(stage: &Stage, report: &mut Report<'_>) {
    let run = || stage.session().map(|session| selftest::run(&session, &stage.profile));
    let Ok(findings) = run() else { return };
    for finding in findings {
        let name = finding.name.strip_prefix("self-test:").unwrap_or(&finding.name).to_owned();
        report.check(GROUP, &name, "", || {
            let verdict = if finding.ok { pass("as published") } else { fail(finding.hint) };
            Ok(verdict.with_code(finding.code))
        });
    }
    report.check(GROUP, "hmac-sha-256", "activation codes are stored as HMACs: it needs CKM_SHA256_HMAC with 32-byte keys", || {
        let session = stage.session()?;
        let key = Ephemeral::new(&session, session.create_object(&probes::generic_secret(&KEK, false))?);
        Ok(equal(session.sign(&Mechanism::Sha256Hmac, key.handle(), b"tillward")? == HMAC, "as published"))
    });
}

/// `CKM_AES_ECB_ENCRYPT_DATA` into every length and every use.
pub(super) fn derivations(stage: &Stage, report: &mut Report<'_>) {
    let refused = "everything below the base keys is derived: it needs CKM_AES_ECB_ENCRYPT_DATA into this length and use";
    for (name, base, algorithm, expected) in [
        ("derive 128 from 128", &KEK[..16], Algorithm::Aes128, MAC_128_BY_128),
        ("derive 128 from 256", &KEK[..], Algorithm::Aes128, MAC_128_BY_256),
        ("derive 256 from 256", &KEK[..], Algorithm::Aes256, MAC_256_BY_256),
    ] {
        report.check(GROUP, name, refused, || {
            let session = stage.session()?;
            Ok(equal(mac_of(&session, base, algorithm)? == expected, RIGHT))
        });
    }
    report.check(GROUP, "derive 192 from 256", "", || {
        let session = stage.session()?;
        Ok(match mac_of(&session, &KEK, Algorithm::Aes192) {
            Ok(mac) if mac == MAC_192_BY_256 => pass(RIGHT),
            Ok(_) => fail(WRONG),
            Err(error) => workaround("keys of 192 bits are not offered").with(error),
        })
    });
    report.check(GROUP, "derive to verify", refused, || {
        let session = stage.session()?;
        let key = derived(&session, &KEK, Usage::MacBoth, AES256, templates::VERIFY)?;
        session.verify(&Mechanism::AesCMac, key.handle(), &[0; 16], &MAC_256_BY_256)?;
        Ok(equal(session.verify(&Mechanism::AesCMac, key.handle(), &[0; 16], &MAC_TREE).is_err(), RIGHT))
    });
    report.check(GROUP, "derive to decrypt", refused, || {
        let session = stage.session()?;
        let key = derived(&session, &KEK, Usage::DataEncryption, AES256, templates::DECRYPT)?;
        Ok(equal(session.decrypt(&Mechanism::AesCbc([0; 16]), key.handle(), &CIPHERTEXT)? == TEXT, RIGHT))
    });
    report.check(GROUP, "derive to derive", refused, || {
        let session = stage.session()?;
        let key = derived(&session, &KEK, Usage::Derivation, AES256, templates::DERIVE)?;
        let template = templates::derived(AES256, templates::SIGN);
        let leaf = object::derive(&session, key.handle(), Usage::MacBoth, AES256, IDENTIFIER, &template)?;
        Ok(equal(session.sign(&Mechanism::AesCMac, leaf.handle(), &[0; 16])? == MAC_TREE, RIGHT))
    });
    let Some(kwp) = stage.profile.kwp else { return };
    report.check(GROUP, "derive to wrap", refused, || {
        let session = stage.session()?;
        let key = derived(&session, &KEK, Usage::KeyEncryption, AES256, templates::WRAP)?;
        let leaving = profile::import(&session, &KEY, templates::NOTHING, true)?;
        Ok(equal(session.wrap_key(&ffi::plain(kwp), key.handle(), leaving.handle())? == WRAPPED, RIGHT))
    });
    report.check(GROUP, "derive to be wrapped", refused, || {
        let session = stage.session()?;
        let base = profile::import(&session, &KEK, templates::DERIVE, false)?;
        let kek = profile::import(&session, &KEK, templates::WRAP, false)?;
        let template = templates::derived_to_be_wrapped(AES256);
        let leaving = object::derive(&session, base.handle(), Usage::InitialKey, AES256, IDENTIFIER, &template)?;
        Ok(equal(session.wrap_key(&ffi::plain(kwp), kek.handle(), leaving.handle())?.len() == 40, "wrapped once and destroyed"))
    });
}

/// A key below a public test value, that may do one thing.
fn derived<'s>(session: &'s Session, base: &[u8], usage: Usage, algorithm: Algorithm, allowed: Use) -> Result<Ephemeral<'s>, Error> {
    let base = profile::import(session, base, templates::DERIVE, false)?;
    object::derive(session, base.handle(), usage, algorithm, IDENTIFIER, &templates::derived(algorithm, allowed))
}

fn mac_of(session: &Session, base: &[u8], algorithm: Algorithm) -> Result<Vec<u8>, Error> {
    let key = derived(session, base, Usage::MacBoth, algorithm, templates::SIGN)?;
    session.sign(&Mechanism::AesCMac, key.handle(), &[0; 16])
}

/// AES-KWP: there, back, and with a key that is no multiple of eight bytes.
pub(super) fn wrapping(stage: &Stage, report: &mut Report<'_>) {
    let Some(kwp) = stage.profile.kwp else { return };
    let wrap = Use { wrap: true, unwrap: true, ..templates::NOTHING };
    report.check(GROUP, "kwp wraps", "keys are stored wrapped: it needs AES-KWP", || {
        let session = stage.session()?;
        let (kek, key) = (profile::import(&session, &KEK, wrap, false)?, profile::import(&session, &KEY, templates::NOTHING, true)?);
        Ok(equal(session.wrap_key(&ffi::plain(kwp), kek.handle(), key.handle())? == KWP, "as RFC 5649 says"))
    });
    report.check(GROUP, "kwp unwraps", "keys are stored wrapped: it needs AES-KWP", || {
        let session = stage.session()?;
        let kek = profile::import(&session, &KEK, wrap, false)?;
        let template = templates::probe_unwrapped(templates::SIGN, false, stage.profile.value_len_on_unwrap);
        let key = Ephemeral::new(&session, session.unwrap_key(&ffi::plain(kwp), kek.handle(), &KWP, &template)?);
        let same = profile::import(&session, &KEY, templates::SIGN, false)?;
        let mac = |key: &Ephemeral<'_>| session.sign(&Mechanism::AesCMac, key.handle(), b"same");
        Ok(equal(mac(&key)? == mac(&same)?, "as RFC 5649 says"))
    });
    report.check(GROUP, "kwp of 20 bytes", "", || {
        let session = stage.session()?;
        let kek = profile::import(&session, &KEK, wrap, false)?;
        let secret = session.create_object(&probes::generic_secret(&KEY[..20], true))?;
        let secret = Ephemeral::new(&session, secret);
        Ok(match session.wrap_key(&ffi::plain(kwp), kek.handle(), secret.handle()) {
            Ok(wrapped) if wrapped == KWP_20 => pass("as RFC 5649 says"),
            Ok(wrapped) if wrapped == KWP_20_ZEROS => {
                workaround("zero bytes are wrapped with it up to a multiple of 8: the host wraps keys of 16 and 32 bytes only")
            }
            Ok(_) => workaround("not what RFC 5649 says: the host wraps keys of 16 and 32 bytes only"),
            Err(error) => workaround("refused: the host wraps keys of 16 and 32 bytes only").with(error),
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivation::derivation_data;
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use cmac::Mac;

    fn derive(parent: &[u8], usage: Usage, algorithm: Algorithm) -> Vec<u8> {
        let mut data = derivation_data(usage, algorithm, IDENTIFIER);
        for block in data.chunks_exact_mut(16) {
            let block: &mut [u8; 16] = block.try_into().expect("16");
            if parent.len() == 16 {
                aes::Aes128::new_from_slice(parent).expect("16").encrypt_block(block.into());
            } else {
                aes::Aes256::new_from_slice(parent).expect("32").encrypt_block(block.into());
            }
        }
        data.truncate(algorithm.bytes());
        data
    }

    fn cmac(key: &[u8]) -> [u8; 16] {
        match key.len() {
            16 => cmac::Cmac::<aes::Aes128>::new_from_slice(key).expect("16").chain_update([0; 16]).finalize().into_bytes().into(),
            24 => cmac::Cmac::<aes::Aes192>::new_from_slice(key).expect("24").chain_update([0; 16]).finalize().into_bytes().into(),
            _ => cmac::Cmac::<aes::Aes256>::new_from_slice(key).expect("32").chain_update([0; 16]).finalize().into_bytes().into(),
        }
    }

    #[test]
    fn the_known_answers_are_what_software_computes() {
        for (base, algorithm, expected) in [
            (&KEK[..16], Algorithm::Aes128, MAC_128_BY_128),
            (&KEK, Algorithm::Aes128, MAC_128_BY_256),
            (&KEK, Algorithm::Aes192, MAC_192_BY_256),
            (&KEK, Algorithm::Aes256, MAC_256_BY_256),
        ] {
            assert_eq!(cmac(&derive(base, Usage::MacBoth, algorithm)), expected, "{algorithm:?}");
        }
        let tree = derive(&derive(&KEK, Usage::Derivation, Algorithm::Aes256), Usage::MacBoth, Algorithm::Aes256);
        assert_eq!(cmac(&tree), MAC_TREE);
        // The first block of CBC with a zero vector is the block cipher itself.
        let mut block = TEXT;
        let key = derive(&KEK, Usage::DataEncryption, Algorithm::Aes256);
        aes::Aes256::new_from_slice(&key).expect("32").encrypt_block((&mut block).into());
        assert_eq!(block, CIPHERTEXT);
    }

    #[test]
    fn the_known_wrapped_keys_are_what_software_makes() {
        let key: [u8; 32] = derive(&KEK, Usage::KeyEncryption, Algorithm::Aes256).try_into().expect("32");
        let mut padded = [0; 24];
        padded[..20].copy_from_slice(&KEY[..20]);
        for (kek, secret, expected) in [(key, &KEY[..], &WRAPPED[..]), (KEK, &KEY[..20], &KWP_20), (KEK, &padded[..], &KWP_20_ZEROS)] {
            let mut wrapped = vec![0; expected.len()];
            aes_kw::KwpAes256::new(&kek.into()).wrap_key(secret, &mut wrapped).expect("wraps");
            assert_eq!(wrapped, expected);
        }
    }
}
