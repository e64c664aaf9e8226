//! What Tillward does not need today and may use where it is there.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::elliptic_curve::EcKdf;
use cryptoki::object::AttributeType;

use super::probe_templates as probes;
use super::report::{Report, Seen, note};
use super::uses::agree;
use crate::host::object::{self, Ephemeral};
use crate::host::profile::{self, KEK};
use crate::host::templates::{self, Use};
use crate::host::trial::Stage;

const GROUP: &str = "extras";

pub(super) fn examine(stage: &Stage, report: &mut Report<'_>) {
    report.check(GROUP, "AES-GCM", "", || gcm(stage));
    report.check(GROUP, "ECDH", "", || agreement(stage, EcKdf::null));
    report.check(GROUP, "ECDH with SHA-256 KDF", "", || agreement(stage, || EcKdf::sha256(b"tillward")));
    report.check(GROUP, "CKA_UNIQUE_ID", "", || {
        let session = stage.session()?;
        let key = profile::import(&session, &KEK, templates::SIGN, false)?;
        let there = session.get_attributes(key.handle(), &[AttributeType::UniqueId]).is_ok_and(|found| !found.is_empty());
        Ok(note(if there { "there" } else { "not there" }))
    });
}

/// GCM of `tillward-doctor.` under the public test key, IV of zeros, `aad` (NIST SP 800-38D).
const SEALED: [u8; 32] = [
    0x7A, 0xD5, 0xD9, 0xB2, 0xC2, 0x4D, 0xF1, 0xD9, 0x25, 0xCC, 0xC6, 0x56, 0x6C, 0x43, 0xE3, 0xB7, 0x80, 0xBA, 0x5E, 0xE2, 0xB5, 0xF7,
    0xD8, 0x46, 0x36, 0x55, 0xAB, 0x30, 0x4A, 0x13, 0x49, 0xDF,
];

fn gcm(stage: &Stage) -> Seen {
    let session = stage.session()?;
    let key = profile::import(&session, &KEK, Use { encrypt: true, decrypt: true, ..templates::NOTHING }, false)?;
    let mut iv = [0; 12];
    let parameters = GcmParams::new(&mut iv, b"aad", 128.into())?;
    Ok(match session.encrypt(&Mechanism::AesGcm(parameters), key.handle(), b"tillward-doctor.") {
        Ok(sealed) if sealed == SEALED => note("there, as NIST SP 800-38D says"),
        Ok(_) => note("there, and computes something else than NIST SP 800-38D"),
        Err(error) => note("not there").with(error),
    })
}

/// Both sides, which have to agree.
fn agreement<'a>(stage: &Stage, kdf: impl Fn() -> EcKdf<'a>) -> Seen {
    let session = stage.session()?;
    let (public, private) = probes::agreement(templates::P256);
    let pair = || -> Result<_, cryptoki::error::Error> {
        let (public, private) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
        let (public, private) = (Ephemeral::new(&session, public), Ephemeral::new(&session, private));
        let point = object::bytes(&session, public.handle(), AttributeType::EcPoint)?.unwrap_or_default();
        Ok((private, point))
    };
    let agreed = || -> Result<bool, cryptoki::error::Error> {
        let ((one, one_point), (other, other_point)) = (pair()?, pair()?);
        let (here, there) = (agree(&session, one.handle(), &other_point, kdf())?, agree(&session, other.handle(), &one_point, kdf())?);
        Ok(object::check_value(&session, here.handle())? == object::check_value(&session, there.handle())?)
    };
    Ok(match agreed() {
        Ok(true) => note("there: phones could enrol by it beside RSA-OAEP"),
        Ok(false) => note("there, and both sides do not agree"),
        Err(error) => note("not there: phones enrol by RSA-OAEP").with(error),
    })
}
