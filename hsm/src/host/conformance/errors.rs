//! What the module answers to bad input, which any phone can send: a code that says so, or one that sounds like a dead token.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::elliptic_curve::EcKdf;

use super::keys::refused;
use super::probe_templates as probes;
use super::report::{Report, Verdict, fail, note, pass, workaround};
use super::uses::agree;
use crate::host::object::Ephemeral;
use crate::host::profile::{self, KEK, KWP};
use crate::host::templates::{self, Use};
use crate::host::trial::Stage;
use crate::host::{ffi, selftest};

const GROUP: &str = "bad input";
const BOTH: Use = Use { sign: true, verify: true, ..templates::NOTHING };

pub(super) fn examine(stage: &Stage, report: &mut Report<'_>) {
    report.check(GROUP, "tampered key block", "", || {
        let Some(kwp) = stage.profile.kwp else { return Ok(note("not tried: no AES-KWP")) };
        let session = stage.session()?;
        let kek = profile::import(&session, &KEK, Use { unwrap: true, ..templates::NOTHING }, false)?;
        let template = templates::probe_unwrapped(templates::DERIVE, false, stage.profile.value_len_on_unwrap);
        let mut tampered = KWP;
        tampered[20] ^= 1;
        refused(stage, session.unwrap_key(&ffi::plain(kwp), kek.handle(), &tampered, &template).map(drop))
    });
    report.check(GROUP, "wrong MAC", "a wrong MAC has to be called CKR_SIGNATURE_INVALID", || {
        let session = stage.session()?;
        let key = profile::import(&session, &KEK, BOTH, false)?;
        let verified = session.verify(&Mechanism::AesCMac, key.handle(), &KWP, &[0; 16]);
        Ok(if selftest::refuses(&verified) {
            pass("refused as CKR_SIGNATURE_INVALID")
        } else {
            match verified {
                Ok(()) => fail("accepted: do not use the module"),
                Err(error) => fail("refused, but not as CKR_SIGNATURE_INVALID: a wrong MAC looks like a dead token").with(error),
            }
        })
    });
    report.check(GROUP, "digest of 1,000 bytes", "", || {
        let session = stage.session()?;
        let Some(design) = templates::designs(templates::ISSUING_CA).pop() else { return Ok(note("not tried")) };
        let (public, private) = templates::session_pair(&design);
        let (public, private) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
        let (_public, private) = (Ephemeral::new(&session, public), Ephemeral::new(&session, private));
        Ok(match session.sign(&Mechanism::Ecdsa, private.handle(), &[0x5A; 1000]) {
            Err(error) => pass("refused by CKM_ECDSA").with(error),
            Ok(_) => workaround("signed by CKM_ECDSA, cut: the host takes digests of the hash's length only"),
        })
    });
    report.check(GROUP, "point beside the curve", "", || {
        let session = stage.session()?;
        let (public, private) = probes::agreement(templates::P256);
        let Ok((public, private)) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private) else {
            return Ok(note("no key agreement to try it with"));
        };
        let (_public, private) = (Ephemeral::new(&session, public), Ephemeral::new(&session, private));
        // X9.62 uncompressed, with coordinates that fulfil no equation.
        let mut point = [0x11; 65];
        point[0] = 4;
        let agreed = agree(&session, private.handle(), &point, EcKdf::null()).map(drop);
        Ok(match agreed {
            Ok(()) => note("accepted: Tillward does not agree on keys with it"),
            Err(error) => note("refused; Tillward checks points itself before").with(error),
        })
    });
    report.check(GROUP, "wrong tag of AES-GCM", "", || gcm(stage));
}

fn gcm(stage: &Stage) -> Result<Verdict, super::report::Trouble> {
    let session = stage.session()?;
    let key = profile::import(&session, &KEK, templates::DECRYPT, false)?;
    let mut iv = [0; 12];
    let parameters = GcmParams::new(&mut iv, b"aad", 128.into())?;
    Ok(match session.decrypt(&Mechanism::AesGcm(parameters), key.handle(), &KWP) {
        Ok(_) => note("accepted: AES-GCM must not be used on it"),
        Err(error) => note("refused").with(error),
    })
}
