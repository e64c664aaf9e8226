//! Which managed keys the module can make and use, tried on session objects with public values. RSA keys take seconds to make, so the module's word
//! is taken for them; a key proves itself when it is made.

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::slot::Slot;
use cryptoki_sys::{CK_MECHANISM_TYPE, CKM_RSA_PKCS, CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_RSA_PKCS_PSS};

use super::super::ffi;
use super::super::object::Ephemeral;
use super::super::pool::Session;
use super::super::profile::{KEK, KEY};
use super::super::templates;
use super::{use_aead, use_wrap};
use crate::managed::{KeyAlgorithm, Purpose};
use crate::model::Profile;

/// All of them, purpose by purpose. The session is to be thrown away afterwards.
pub(in crate::host) fn probe(module: &Pkcs11, slot: Slot, session: &Session, profile: &Profile) -> Vec<(Purpose, KeyAlgorithm)> {
    let rsa = rsa_bits(module, slot);
    let offered = |purpose: Purpose, algorithm| match (purpose, algorithm) {
        // A base derivation key and a CA are begun in a ceremony.
        (Purpose::Derive | Purpose::Ca, _) => false,
        (Purpose::Sign, KeyAlgorithm::Ed25519) => profile.ed25519,
        (Purpose::Sign, KeyAlgorithm::Rsa3072) => rsa >= 3072,
        (Purpose::Sign, KeyAlgorithm::Rsa4096) => rsa >= 4096,
        // P-256, P-384, CMAC and HMAC-SHA-256 are needed for the keys that every token has.
        (Purpose::Sign | Purpose::Mac, _) => true,
        (Purpose::Encrypt, algorithm) => gcm(session, algorithm).unwrap_or(false),
        (Purpose::Wrap, _) => wraps(session, profile).unwrap_or(false),
    };
    let all = Purpose::ALL.into_iter().flat_map(|purpose| KeyAlgorithm::ALL.map(|algorithm| (purpose, algorithm)));
    all.filter(|(purpose, algorithm)| purpose.takes(*algorithm) && offered(*purpose, *algorithm)).collect()
}

/// Longest RSA key that can be made and sign by both schemes; 0 where there is none.
fn rsa_bits(module: &Pkcs11, slot: Slot) -> usize {
    let info = |number: CK_MECHANISM_TYPE| module.get_mechanism_info(slot, ffi::mechanism_type(number));
    let signs = |number| info(number).is_ok_and(|info| info.sign());
    match info(CKM_RSA_PKCS_KEY_PAIR_GEN) {
        Ok(info) if info.generate_key_pair() && signs(CKM_RSA_PKCS) && signs(CKM_RSA_PKCS_PSS) => info.max_key_size(),
        _ => 0,
    }
}

/// Tag of AES-GCM (NIST SP 800-38D) over `associated` and the first half of [`KEY`], nonce of zeros, under the first half of [`KEK`].
const TAG_128: [u8; 16] = [0x3B, 0x67, 0xB1, 0xD2, 0x2C, 0xD7, 0xD3, 0x73, 0x9A, 0xB9, 0xB7, 0x22, 0x69, 0x31, 0xA8, 0xE1];
/// The same under all of it.
const TAG_256: [u8; 16] = [0xB9, 0x94, 0xDB, 0x50, 0x50, 0x9C, 0x6A, 0x85, 0x7C, 0x5E, 0x2A, 0xEA, 0xDA, 0x86, 0xAE, 0x26];

fn gcm(session: &Session, algorithm: KeyAlgorithm) -> Result<bool, Error> {
    let (value, tag) = if algorithm == KeyAlgorithm::Aes128 { (&KEK[..16], TAG_128) } else { (&KEK[..], TAG_256) };
    let key = Ephemeral::new(session, session.create_object(&templates::managed::probe_encrypt_key(value))?);
    let (mut nonce, aad) = ([0; 12], b"associated");
    let known = session.encrypt(&Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128_u64.into())?), key.handle(), &KEY[..16])?;
    let mut sealed = use_aead::seal(session, key.handle(), aad, &KEY)?;
    if let Some(last) = sealed.last_mut() {
        *last ^= 1;
    }
    Ok(known.ends_with(&tag) && use_aead::unseal(session, key.handle(), aad, &sealed).is_err())
}

fn wraps(session: &Session, profile: &Profile) -> Result<bool, Error> {
    let key = session.generate_key(&Mechanism::AesKeyGen, &templates::managed::probe_wrap_key(profile))?;
    let key = Ephemeral::new(session, key);
    for length in [16, 24, 32] {
        let material = KEY.get(..length).ok_or(Error::InvalidValue)?;
        let wrapped = use_wrap::wrap_material(session, profile, key.handle(), material)?;
        if use_wrap::unwrap_material(session, profile, key.handle(), &wrapped)?.0 != material {
            return Ok(false);
        }
    }
    Ok(true)
}
