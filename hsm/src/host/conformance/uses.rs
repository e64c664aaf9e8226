//! Every use that a key is not for, tried for real. A fresh session for each: errors are what is hoped for, and they spoil it.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};

use super::probe_templates as probes;
use super::report::Trouble;
use crate::derivation::{Algorithm, Usage};
use crate::host::ffi;
use crate::host::object::{self, Ephemeral};
use crate::host::pool::Session;
use crate::host::profile::{self, KEK, KEY, KWP, ed25519};
use crate::host::prove;
use crate::host::templates;
use crate::host::trial::{Scratch, Stage};
use crate::model::{KeyKind, OaepHash};

/// One key, one session, one attempt: whether the module did it.
struct Attempt<'a> {
    stage: &'a Stage,
    key: &'a Scratch<'a>,
}

/// A use, whether the design has it, and how to try it.
type Try<'a> = (&'static str, bool, fn(&Attempt<'a>, &Session) -> Result<bool, Error>);

/// The uses that the module allowed, though the key's design does not.
pub(super) fn wrongly_allowed(stage: &Stage, key: &Scratch<'_>) -> Result<Vec<&'static str>, Trouble> {
    let attempt = Attempt { stage, key };
    let mut allowed = Vec::new();
    for (name, wanted, did) in tries(key) {
        if !wanted && did(&attempt, &stage.session()?)? {
            allowed.push(name);
        }
    }
    Ok(allowed)
}

fn tries<'a>(key: &Scratch<'_>) -> Vec<Try<'a>> {
    let usage = key.design.usage;
    match key.design.kind {
        KeyKind::Aes | KeyKind::GenericSecret => vec![
            ("encrypt", usage.encrypt, Attempt::encrypts),
            ("decrypt", usage.decrypt, Attempt::decrypts),
            ("sign", usage.sign, Attempt::signs),
            ("verify", usage.verify, Attempt::verifies),
            ("wrap", usage.wrap, Attempt::wraps),
            ("unwrap", usage.unwrap, Attempt::unwraps),
            ("derive", usage.derive, Attempt::derives),
        ],
        KeyKind::Rsa => vec![
            ("sign", usage.sign, Attempt::signs),
            ("decrypt what was wrapped", usage.decrypt, Attempt::decrypts_what_was_wrapped),
            ("encrypt with the public half", false, Attempt::public_encrypts),
        ],
        KeyKind::P256 | KeyKind::P384 | KeyKind::Ed25519 => {
            vec![
                ("sign", usage.sign, Attempt::signs),
                ("agree on a key", usage.derive, Attempt::agrees),
                ("verify with the private half", usage.verify, Attempt::verifies),
            ]
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "all of one shape: some have to prepare something first, which can fail")]
impl Attempt<'_> {
    fn mac(&self) -> Mechanism<'static> {
        match self.key.design.kind {
            KeyKind::GenericSecret => Mechanism::Sha256Hmac,
            KeyKind::Aes => Mechanism::AesCMac,
            KeyKind::Rsa => Mechanism::RsaPkcs,
            KeyKind::Ed25519 => ed25519(),
            KeyKind::P256 | KeyKind::P384 => Mechanism::Ecdsa,
        }
    }

    fn encrypts(&self, session: &Session) -> Result<bool, Error> {
        Ok(session.encrypt(&Mechanism::AesCbc([0; 16]), self.key.handle, &KEK).is_ok())
    }

    fn decrypts(&self, session: &Session) -> Result<bool, Error> {
        Ok(session.decrypt(&Mechanism::AesCbc([0; 16]), self.key.handle, &KEK).is_ok())
    }

    fn signs(&self, session: &Session) -> Result<bool, Error> {
        Ok(session.sign(&self.mac(), self.key.handle, &KEY).is_ok())
    }

    /// A wrong signature that is called wrong was verified.
    fn verifies(&self, session: &Session) -> Result<bool, Error> {
        let wrong: &[u8] = match self.key.design.kind {
            KeyKind::Aes => &[1; 16],
            KeyKind::GenericSecret => &[1; 32],
            KeyKind::Rsa => &[1; 384],
            KeyKind::P384 => &[1; 96],
            KeyKind::P256 | KeyKind::Ed25519 => &[1; 64],
        };
        let verified = session.verify(&self.mac(), self.key.handle, &KEY, wrong);
        Ok(matches!(verified, Ok(()) | Err(Error::Pkcs11(RvError::SignatureInvalid | RvError::SignatureLenRange, _))))
    }

    fn wraps(&self, session: &Session) -> Result<bool, Error> {
        let sample = profile::import(session, &KEY, templates::NOTHING, true)?;
        let wrapped = |mechanism: &Mechanism<'_>| session.wrap_key(mechanism, self.key.handle, sample.handle()).is_ok();
        Ok(self.stage.profile.kwp.is_some_and(|kwp| wrapped(&ffi::plain(kwp))) || wrapped(&Mechanism::AesCbc([0; 16])))
    }

    /// By CBC, which makes a key of any bytes; AES-KWP would refuse these for themselves.
    fn unwraps(&self, session: &Session) -> Result<bool, Error> {
        let template = templates::probe_unwrapped(templates::SIGN, false, self.stage.profile.value_len_on_unwrap);
        let unwrapped = |mechanism: &Mechanism<'_>, bytes: &[u8]| {
            session.unwrap_key(mechanism, self.key.handle, bytes, &template).map(|key| Ephemeral::new(session, key)).is_ok()
        };
        Ok(unwrapped(&Mechanism::AesCbc([0; 16]), &KEY) || self.stage.profile.kwp.is_some_and(|kwp| unwrapped(&ffi::plain(kwp), &KWP)))
    }

    fn derives(&self, session: &Session) -> Result<bool, Error> {
        let template = templates::derived(Algorithm::Aes128, templates::SIGN);
        Ok(object::derive(session, self.key.handle, Usage::MacBoth, Algorithm::Aes128, [0; 8], &template).is_ok())
    }

    /// Clulow's attack: decrypting, as data, what was wrapped as a key.
    fn decrypts_what_was_wrapped(&self, session: &Session) -> Result<bool, Error> {
        let Some(public) = self.key.public else { return Ok(false) };
        let sample = profile::import(session, &KEY, templates::NOTHING, true)?;
        let hash = if session.wrap_key(&prove::oaep_mechanism(OaepHash::Sha256), public, sample.handle()).is_ok() {
            OaepHash::Sha256
        } else {
            OaepHash::Sha1
        };
        let session = self.stage.session()?;
        let sample = profile::import(&session, &KEY, templates::NOTHING, true)?;
        let wrapped = session.wrap_key(&prove::oaep_mechanism(hash), public, sample.handle())?;
        Ok(session.decrypt(&prove::oaep_mechanism(hash), self.key.handle, &wrapped).is_ok())
    }

    fn public_encrypts(&self, session: &Session) -> Result<bool, Error> {
        let Some(public) = self.key.public else { return Ok(false) };
        let encrypts = |hash| self.stage.session().is_ok_and(|session| session.encrypt(&prove::oaep_mechanism(hash), public, &KEY).is_ok());
        Ok(session.encrypt(&Mechanism::RsaPkcs, public, &KEY).is_ok() || encrypts(OaepHash::Sha256) || encrypts(OaepHash::Sha1))
    }

    /// ECDH with the key's own point.
    fn agrees(&self, session: &Session) -> Result<bool, Error> {
        let Some(public) = self.key.public else { return Ok(false) };
        let point = object::bytes(session, public, AttributeType::EcPoint)?.unwrap_or_default();
        Ok(agree(session, self.key.handle, &point, EcKdf::null()).is_ok())
    }
}

/// ECDH into an AES-256 session key. The point as `CKA_EC_POINT` gives it, or bare.
pub(super) fn agree<'s>(session: &'s Session, private: ObjectHandle, point: &[u8], kdf: EcKdf<'_>) -> Result<Ephemeral<'s>, Error> {
    // X9.62 uncompressed points begin with 04 and have an odd length; in an OCTET STRING the length stands between.
    let bare = match point {
        [4, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        [4, 0x81, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        other => other,
    };
    let mut template = probes::bare();
    template.extend([Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Sign(true)]);
    let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(kdf, bare));
    session.derive_key(&mechanism, private, &template).map(|key| Ephemeral::new(session, key))
}
