//! A key is proven by use before it is reported as made: half-written keys and modules that accept what they cannot do show here.

use cryptoki::error::Error;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;

use super::ffi;
use super::managed::{use_aead, use_sign, use_wrap};
use super::object::{self, Ephemeral};
use super::pool::Session;
use super::profile::{self, KEY, ed25519};
use super::public::PublicKey;
use super::ring::{Key, Ring};
use super::templates::{self, Use};
use crate::agreement;
use crate::derivation::{Algorithm, Usage};
use crate::managed::SignatureScheme;
use crate::model::{Finding, KeyKind, OaepHash, Profile};

/// Why a key is not proven: it failed at something, or the module did.
#[derive(Debug)]
pub(super) enum Unproven {
    At(&'static str),
    Token(Error),
}

impl From<Error> for Unproven {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

fn demand(holds: bool, what: &'static str) -> Result<(), Unproven> {
    if holds { Ok(()) } else { Err(Unproven::At(what)) }
}

/// Uses the key for what it is for, and for one thing that must fail.
pub(super) fn prove(session: &Session, profile: &Profile, key: &Key) -> Result<(), Unproven> {
    match (key.design.kind, key.design.usage) {
        (KeyKind::GenericSecret, _) => hmac(session, key),
        (KeyKind::Rsa, Use { sign: true, .. }) => rsa(session, key),
        (KeyKind::Rsa, _) => demand(oaep(session, profile, key).is_some(), "unwrapping what its public half wrapped"),
        (KeyKind::P256, Use { derive: true, .. }) => {
            let public = key.public.as_ref().map(|(_, public)| public).ok_or(Unproven::At("having a public half"))?;
            demand(agrees(session, profile, key.handle.on(session)?, public)?, "key agreement")
        }
        (KeyKind::P256, _) => ecdsa(session, key, &[0x5A; 32]),
        (KeyKind::P384, _) => ecdsa(session, key, &[0x5A; 48]),
        (KeyKind::Ed25519, _) => eddsa(session, key),
        (KeyKind::Aes, Use { derive: true, .. }) => derives(session, key),
        (KeyKind::Aes, Use { wrap: true, .. }) if key.design.gives_only_to_wrap() => rewraps(session, profile, key),
        (KeyKind::Aes, Use { wrap: true, .. }) if key.design.unwraps == Some(templates::managed::CALLERS) => {
            wraps_for_callers(session, profile, key)
        }
        (KeyKind::Aes, Use { wrap: true, .. }) => wraps(session, profile, key),
        (KeyKind::Aes, Use { encrypt: true, .. }) => seals(session, key),
        (KeyKind::Aes, _) => cmac(session, key),
    }
}

fn hmac(session: &Session, key: &Key) -> Result<(), Unproven> {
    let mac = |message: &[u8]| session.sign(&Mechanism::Sha256Hmac, key.handle.on(session)?, message);
    let (one, again, other) = (mac(b"one")?, mac(b"one")?, mac(b"other")?);
    demand(one.len() == 32 && one == again && one != other, "HMAC-SHA-256")
}

fn cmac(session: &Session, key: &Key) -> Result<(), Unproven> {
    let mac = session.sign(&Mechanism::AesCMac, key.handle.on(session)?, b"one")?;
    session.verify(&Mechanism::AesCMac, key.handle.on(session)?, b"one", &mac)?;
    demand(session.verify(&Mechanism::AesCMac, key.handle.on(session)?, b"other", &mac).is_err(), "refusing a wrong MAC")
}

fn ecdsa(session: &Session, key: &Key, digest: &[u8]) -> Result<(), Unproven> {
    let signature = session.sign(&Mechanism::Ecdsa, key.handle.on(session)?, digest)?;
    let mut other = digest.to_vec();
    other.rotate_left(1);
    if let Some(first) = other.first_mut() {
        *first ^= 1;
    }
    let verifies = |digest: &[u8]| key.public.as_ref().is_some_and(|(_, public)| public.verifies(digest, &signature));
    demand(verifies(digest) && !verifies(&other), "a signature that verifies in software")
}

fn eddsa(session: &Session, key: &Key) -> Result<(), Unproven> {
    let Some((public, _)) = &key.public else { return Err(Unproven::At("having a public half")) };
    let signature = session.sign(&ed25519(), key.handle.on(session)?, b"one")?;
    let verifies = |message: &[u8]| public.on(session).and_then(|public| session.verify(&ed25519(), public, message, &signature)).is_ok();
    demand(signature.len() == 64 && verifies(b"one") && !verifies(b"other"), "a signature that verifies")
}

/// By both schemes: a signature is verified where it is made.
fn rsa(session: &Session, key: &Key) -> Result<(), Unproven> {
    for scheme in [SignatureScheme::Ps256, SignatureScheme::Rs256] {
        let signature = use_sign::signature(session, key, scheme, &[0x5A; 32])?;
        demand(!use_sign::verifies(session, key, scheme, &[0xA5; 32], &signature)?, "a signature over one digest alone")?;
    }
    Ok(())
}

fn seals(session: &Session, key: &Key) -> Result<(), Unproven> {
    let handle = key.handle.on(session)?;
    let mut sealed = use_aead::seal(session, handle, b"one", &KEY)?;
    demand(use_aead::unseal(session, handle, b"other", &sealed).is_err(), "refusing other associated data")?;
    if let Some(last) = sealed.last_mut() {
        *last ^= 1;
    }
    demand(use_aead::unseal(session, handle, b"one", &sealed).is_err(), "refusing a wrong tag")
}

/// What a caller brings goes in and comes back; as a key that could be used or stored it does not.
fn wraps_for_callers(session: &Session, profile: &Profile, key: &Key) -> Result<(), Unproven> {
    let (handle, kwp) = (key.handle.on(session)?, profile.kwp.map(ffi::plain).ok_or(Unproven::At("AES-KWP: the module has none"))?);
    let wrapped = use_wrap::wrap_material(session, profile, handle, &KEY)?;
    demand(use_wrap::unwrap_material(session, profile, handle, &wrapped)?.0 == KEY, "unwrapping what it wrapped")?;
    for usage in [templates::SIGN, templates::DERIVE, templates::NOTHING] {
        let template = templates::probe_unwrapped(usage, false, profile.value_len_on_unwrap);
        let other = session.unwrap_key(&kwp, handle, &wrapped, &template).map(|other| Ephemeral::new(session, other));
        demand(!profile.unwrap_template || other.is_err(), "refusing to bring in a key that can be used")?;
    }
    Ok(())
}

fn derives(session: &Session, key: &Key) -> Result<(), Unproven> {
    let Some(algorithm) = Algorithm::of_bits(key.design.bits) else { return Err(Unproven::At("its length")) };
    let check = |identifier| {
        let template = templates::derived(algorithm, templates::SIGN);
        let key = object::derive(session, key.handle.on(session)?, Usage::InitialKey, algorithm, identifier, &template)?;
        object::check_value(session, key.handle())
    };
    let (one, again, other) = (check([1; 8])?, check([1; 8])?, check([2; 8])?);
    demand(one == again && one != other, "deriving")
}

/// Whether the key agreement works with the token's own key, where there is one: else it is not offered.
pub(super) fn ecdh(session: &Session, profile: &mut Profile, ring: &Ring) -> Option<Finding> {
    if !profile.ecdh {
        return None;
    }
    let name = "mechanism:ECDH";
    Some(match ring.get(templates::ENROLMENT_TRANSPORT_EC).map(|key| prove(session, profile, key)) {
        Ok(Ok(())) => Finding::passed(name, "P-256 with CKD_SHA256_KDF, offered beside RSA-OAEP"),
        Ok(Err(_)) => {
            profile.ecdh = false;
            Finding::failed(name, None, "enrollment-transport-ec does not unwrap what was wrapped to its public half")
        }
        Err(_) => Finding::passed(name, "the module can do it, the token has no key for it: `tillward init` makes it"),
    })
}

/// Whether the key agreement of [`crate::agreement`] on the token gives what software gives, shared data included: the software's key wraps,
/// the token's unwraps.
pub(super) fn agrees(session: &Session, profile: &Profile, private: ObjectHandle, public: &PublicKey) -> Result<bool, Error> {
    let Some(kwp) = profile.kwp else { return Ok(false) };
    // The scalar is a public test value, like the key that it wraps.
    let ephemeral = p256::SecretKey::from_slice(&KEY).map_err(|_| Error::InvalidValue)?;
    let Some(agreed) = public.agree(&ephemeral) else { return Ok(false) };
    let kek = profile::import(session, &*agreement::key(agreed.raw_secret_bytes(), &agreement::SHARED_INFO), templates::WRAP, false)?;
    let sample = profile::import(session, &KEY, templates::SIGN, true)?;
    let wrapped = session.wrap_key(&ffi::plain(kwp), kek.handle(), sample.handle())?;
    let point = ephemeral.public_key().to_sec1_bytes();
    let kek = object::agree(session, private, &point, &templates::agreed(profile))?;
    let template = templates::probe_unwrapped(templates::SIGN, true, profile.value_len_on_unwrap);
    let back = Ephemeral::new(session, session.unwrap_key(&ffi::plain(kwp), kek.handle(), &wrapped, &template)?);
    same(session, sample.handle(), back.handle())
}

fn wraps(session: &Session, profile: &Profile, key: &Key) -> Result<(), Unproven> {
    let Some(kwp) = profile.kwp else { return Err(Unproven::At("AES-KWP: the module has none")) };
    let sample = Ephemeral::new(session, session.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::SIGN, true))?);
    let wrapped = session.wrap_key(&ffi::plain(kwp), key.handle.on(session)?, sample.handle())?;
    let unwrap = |extractable| {
        let template = templates::probe_unwrapped(templates::SIGN, extractable, profile.value_len_on_unwrap);
        session.unwrap_key(&ffi::plain(kwp), key.handle.on(session)?, &wrapped, &template).map(|handle| Ephemeral::new(session, handle))
    };
    let back = unwrap(false)?;
    demand(same(session, sample.handle(), back.handle())?, "unwrapping what it wrapped")?;
    demand(!profile.unwrap_template || unwrap(true).is_err(), "refusing to unwrap into an extractable key")
}

/// What comes back can only be wrapped again: so it is, and KWP gives the same bytes for the same key.
fn rewraps(session: &Session, profile: &Profile, key: &Key) -> Result<(), Unproven> {
    let Some(kwp) = profile.kwp else { return Err(Unproven::At("AES-KWP: the module has none")) };
    let template = templates::generated_to_be_wrapped(Algorithm::Aes256);
    let sample = Ephemeral::new(session, session.generate_key(&Mechanism::AesKeyGen, &template)?);
    let wrap = |object| session.wrap_key(&ffi::plain(kwp), key.handle.on(session)?, object);
    let wrapped = wrap(sample.handle())?;
    let unwrap = |usage| {
        let template = templates::unwrapped_as(profile, Algorithm::Aes256, usage, true);
        session.unwrap_key(&ffi::plain(kwp), key.handle.on(session)?, &wrapped, &template).map(|handle| Ephemeral::new(session, handle))
    };
    demand(wrap(unwrap(templates::NOTHING)?.handle())? == wrapped, "unwrapping what it wrapped")?;
    demand(!profile.unwrap_template || unwrap(templates::SIGN).is_err(), "refusing to unwrap into a key that can be used")
}

fn same(session: &Session, one: ObjectHandle, other: ObjectHandle) -> Result<bool, Error> {
    Ok(session.sign(&Mechanism::AesCMac, one, b"same")? == session.sign(&Mechanism::AesCMac, other, b"same")?)
}

/// RSA-OAEP with that hash for digest and mask.
pub(super) fn oaep_mechanism(hash: OaepHash) -> Mechanism<'static> {
    let (digest, mask) = match hash {
        OaepHash::Sha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
        OaepHash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
    };
    Mechanism::RsaPkcsOaep(PkcsOaepParams::new(digest, mask, PkcsOaepSource::empty()))
}

/// The better hash of OAEP with which the pair gives back what it was given.
pub(super) fn oaep(session: &Session, profile: &Profile, key: &Key) -> Option<OaepHash> {
    let (public, _) = key.public.as_ref()?;
    [OaepHash::Sha256, OaepHash::Sha1].into_iter().find(|hash| {
        let round_trip = || {
            let sample = session.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::SIGN, true))?;
            let sample = Ephemeral::new(session, sample);
            let wrapped = session.wrap_key(&oaep_mechanism(*hash), public.on(session)?, sample.handle())?;
            let template = templates::probe_unwrapped(templates::SIGN, true, profile.value_len_on_unwrap);
            let back = session.unwrap_key(&oaep_mechanism(*hash), key.handle.on(session)?, &wrapped, &template)?;
            same(session, sample.handle(), Ephemeral::new(session, back).handle())
        };
        round_trip().unwrap_or(false)
    })
}
