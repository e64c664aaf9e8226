//! What the module can do, found by trying it on session objects with public values. Never by the module's name.

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismInfo, MechanismType};
use cryptoki::object::Attribute;
use cryptoki::slot::Slot;
use cryptoki_sys::{
    CK_MECHANISM_TYPE, CKM_AES_CBC, CKM_AES_CMAC, CKM_AES_ECB_ENCRYPT_DATA, CKM_AES_KEY_GEN, CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD,
    CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKM_GENERIC_SECRET_KEY_GEN, CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_RSA_PKCS_OAEP, CKM_SHA256_HMAC,
};

use super::fault;
use super::ffi;
use super::object::{self, Ephemeral};
use super::pool::Session;
use super::templates::{self, Use};
use super::{prove, public};
use crate::derivation::{Algorithm, Usage};
use crate::model::{Finding, KeyKind, Profile};

type Needs = (CK_MECHANISM_TYPE, &'static str, fn(&MechanismInfo) -> bool);

/// Without these the main job cannot run. KWP is missing here because it has two numbers: it is probed by its result.
const NEEDED: [Needs; 11] = [
    (CKM_AES_KEY_GEN, "CKM_AES_KEY_GEN", MechanismInfo::generate),
    (CKM_GENERIC_SECRET_KEY_GEN, "CKM_GENERIC_SECRET_KEY_GEN", MechanismInfo::generate),
    (CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN", MechanismInfo::generate_key_pair),
    (CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN", MechanismInfo::generate_key_pair),
    (CKM_AES_ECB_ENCRYPT_DATA, "CKM_AES_ECB_ENCRYPT_DATA", MechanismInfo::derive),
    (CKM_AES_CMAC, "CKM_AES_CMAC", |info| info.sign() && info.verify()),
    (CKM_AES_CBC, "CKM_AES_CBC", MechanismInfo::decrypt),
    (CKM_ECDSA, "CKM_ECDSA", MechanismInfo::sign),
    (CKM_SHA256_HMAC, "CKM_SHA256_HMAC", MechanismInfo::sign),
    (CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP", MechanismInfo::unwrap),
    (CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP (wrap)", MechanismInfo::wrap),
];

/// One finding for each mechanism that the main job needs.
pub(super) fn mechanisms(module: &Pkcs11, slot: Slot) -> Vec<Finding> {
    NEEDED
        .iter()
        .map(|(number, name, serves)| {
            let finding = format!("mechanism:{name}");
            match module.get_mechanism_info(slot, ffi::mechanism_type(*number)) {
                Ok(info) if serves(&info) => Finding::passed(finding, "present"),
                Ok(_) => Finding::failed(finding, None, "the module has it, but not for this use: the main job needs it"),
                Err(error) => Finding::failed(finding, Some(fault::code(&error)), "the module lacks it: the main job needs it"),
            }
        })
        .collect()
}

/// Value of the probes' wrapping key: 00 01 .. 1F.
pub(super) const KEK: [u8; 32] = counting(0);
/// Value that they wrap: 20 21 .. 3F.
pub(super) const KEY: [u8; 32] = counting(32);
/// AES-KWP (RFC 5649) of [`KEY`] under [`KEK`].
pub(super) const KWP: [u8; 40] = [
    0x92, 0xF4, 0x8C, 0x52, 0x04, 0x5C, 0x08, 0x05, 0x0E, 0xC7, 0x96, 0xA5, 0xA9, 0x1C, 0x5D, 0xDA, 0xF7, 0xC6, 0x1C, 0xBD, 0xC9, 0x40,
    0xAD, 0xC8, 0xD3, 0xDC, 0x8A, 0x14, 0x4F, 0x61, 0x61, 0xA8, 0xC5, 0xD3, 0x29, 0x9E, 0x32, 0x5F, 0x17, 0x50,
];

const fn counting(from: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut rest: &mut [u8] = &mut bytes;
    let mut value = from;
    while let Some((first, tail)) = rest.split_first_mut() {
        *first = value;
        value += 1;
        rest = tail;
    }
    bytes
}

const WRAP_UNWRAP: Use = Use { wrap: true, unwrap: true, ..templates::NOTHING };

/// Tries everything that differs between modules. The session is to be thrown away afterwards.
pub(super) fn probe(session: &Session) -> Profile {
    let mut profile = Profile {
        kwp: [CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD].into_iter().find(|number| is_kwp(session, *number).unwrap_or(false)),
        value_len_on_unwrap: false,
        allowed_mechanisms: takes_allowed_mechanisms(session).is_ok(),
        unwrap_template: false,
        derive_template: derive_template_binds(session).unwrap_or(false),
        ecdh: false,
        aes_192: cuts_to_192(session).is_ok(),
        ed25519: makes_ed25519(session).unwrap_or(false),
        copies_sealed: copies_stay_sealed(session).unwrap_or(false),
        session_copies: false,
        oaep: None,
        managed: Vec::new(),
    };
    if let Some(kwp) = profile.kwp {
        profile.value_len_on_unwrap = unwraps(session, kwp, false).is_err() && unwraps(session, kwp, true).is_ok();
        profile.unwrap_template = unwrap_template_binds(session, kwp, profile.value_len_on_unwrap).unwrap_or(false);
    }
    profile.ecdh = agrees(session, &profile).unwrap_or(false);
    profile
}

/// 0x210A is KWP in PKCS#11 2.40 and in SoftHSM; PKCS#11 3.0 makes 0x210B KWP and 0x210A something else. So the result decides.
fn is_kwp(session: &Session, number: CK_MECHANISM_TYPE) -> Result<bool, Error> {
    let kek = import(session, &KEK, WRAP_UNWRAP, false)?;
    let key = import(session, &KEY, templates::NOTHING, true)?;
    Ok(session.wrap_key(&ffi::plain(number), kek.handle(), key.handle())? == KWP)
}

fn unwraps(session: &Session, kwp: CK_MECHANISM_TYPE, with_length: bool) -> Result<(), Error> {
    let kek = import(session, &KEK, WRAP_UNWRAP, false)?;
    let template = templates::probe_unwrapped(templates::DERIVE, false, with_length);
    session.unwrap_key(&ffi::plain(kwp), kek.handle(), &KWP, &template).map(|handle| drop(Ephemeral::new(session, handle)))
}

fn unwrap_template_binds(session: &Session, kwp: CK_MECHANISM_TYPE, with_length: bool) -> Result<bool, Error> {
    let template = templates::probe_binding(WRAP_UNWRAP, ffi::unwrap_template);
    let kek = Ephemeral::new(session, session.generate_key(&Mechanism::AesKeyGen, &template)?);
    let key = import(session, &KEY, templates::NOTHING, true)?;
    let wrapped = session.wrap_key(&ffi::plain(kwp), kek.handle(), key.handle())?;
    let unwrap = |extractable| {
        let template = templates::probe_unwrapped(templates::DERIVE, extractable, with_length);
        session.unwrap_key(&ffi::plain(kwp), kek.handle(), &wrapped, &template).map(|handle| Ephemeral::new(session, handle)).is_ok()
    };
    Ok(unwrap(false) && !unwrap(true))
}

fn derive_template_binds(session: &Session) -> Result<bool, Error> {
    let template = templates::probe_binding(templates::DERIVE, ffi::derive_template);
    let base = Ephemeral::new(session, session.generate_key(&Mechanism::AesKeyGen, &template)?);
    let derive =
        |template: &[Attribute]| object::derive(session, base.handle(), Usage::MacBoth, Algorithm::Aes256, [0; 8], template).is_ok();
    Ok(derive(&templates::derived(Algorithm::Aes256, templates::SIGN)) && !derive(&templates::probe_readable()))
}

/// The whole transport by key agreement on a session key pair: modules know the mechanism and not the derivation, or take no shared data.
fn agrees(session: &Session, profile: &Profile) -> Result<bool, Error> {
    let Some(design) = templates::designs(templates::ENROLMENT_TRANSPORT_EC).pop() else { return Ok(false) };
    let (public, private) = templates::session_pair(&design);
    let (public, private) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
    let (public, private) = (Ephemeral::new(session, public), Ephemeral::new(session, private));
    let Some(public) = public::read(session, public.handle(), design.kind)? else { return Ok(false) };
    prove::agrees(session, profile, private.handle(), &public)
}

fn takes_allowed_mechanisms(session: &Session) -> Result<(), Error> {
    let mut template = templates::generated(templates::SIGN, false);
    template.push(Attribute::AllowedMechanisms(vec![MechanismType::AES_CMAC]));
    let key = Ephemeral::new(session, session.generate_key(&Mechanism::AesKeyGen, &templates::sealed(template))?);
    session.sign(&Mechanism::AesCMac, key.handle(), &[0; 16]).map(drop)
}

/// PKCS#11 3.0 §5.7.2 lets a copy differ from its original. Where that goes for `MODIFIABLE` too, a copy can be given any use afterwards.
fn copies_stay_sealed(session: &Session) -> Result<bool, Error> {
    let key = Ephemeral::new(session, session.generate_key(&Mechanism::AesKeyGen, &templates::probe_copyable())?);
    let copy = |changed| session.copy_object(key.handle(), &[changed]).map(|copy| Ephemeral::new(session, copy)).is_ok();
    Ok(!copy(Attribute::Modifiable(true)) && !copy(Attribute::Decrypt(true)))
}

/// SoftHSM cuts 32 derived bytes to 24; kryoptic wants data and length to be equal.
fn cuts_to_192(session: &Session) -> Result<(), Error> {
    let base = import(session, &KEK, templates::DERIVE, false)?;
    let template = templates::derived(Algorithm::Aes192, templates::SIGN);
    object::derive(session, base.handle(), Usage::Derivation, Algorithm::Aes192, [0; 8], &template).map(drop)
}

fn makes_ed25519(session: &Session) -> Result<bool, Error> {
    let Some(design) = templates::designs(templates::AUDIT_SIGNING).into_iter().find(|design| design.kind == KeyKind::Ed25519) else {
        return Ok(false);
    };
    let (public, private) = templates::session_pair(&design);
    let (public, private) = session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private)?;
    let (public, private) = (Ephemeral::new(session, public), Ephemeral::new(session, private));
    let signature = session.sign(&ed25519(), private.handle(), &KEY)?;
    Ok(signature.len() == 64 && session.verify(&ed25519(), public.handle(), &KEY, &signature).is_ok())
}

/// Ed25519 over the message itself (RFC 8032, not prehashed).
pub(super) fn ed25519() -> Mechanism<'static> {
    Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure))
}

/// A session key with a value that everybody knows.
pub(super) fn import<'s>(session: &'s Session, value: &[u8], usage: Use, extractable: bool) -> Result<Ephemeral<'s>, Error> {
    session.create_object(&templates::public_test_value(value, usage, extractable)).map(|handle| Ephemeral::new(session, handle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::cipher::KeyInit;

    #[test]
    fn the_known_kwp_is_what_software_makes() {
        let kek = aes_kw::KwpAes256::new(&KEK.into());
        let mut wrapped = [0; 40];
        kek.wrap_key(&KEY, &mut wrapped).expect("wraps");
        assert_eq!(wrapped, KWP);
        assert_eq!(KEY[31], 63);
    }
}
