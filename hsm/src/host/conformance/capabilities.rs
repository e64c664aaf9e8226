//! Which mechanisms and attributes there are, and what Tillward does where one is not.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::Attribute;
use cryptoki_sys::CKM_AES_KEY_WRAP_KWP;

use super::probe_templates as probes;
use super::report::{Report, Seen, Verdict, fail, note, pass, workaround};
use crate::derivation::{Algorithm, Usage, derivation_data};
use crate::host::ffi;
use crate::host::object::{self, Ephemeral};
use crate::host::pool::Session;
use crate::host::profile::{self, KEK};
use crate::host::templates::{self, Use};
use crate::host::trial::Stage;

pub(super) fn mechanisms(stage: &Stage, report: &mut Report<'_>) {
    for finding in profile::mechanisms(&stage.module, stage.slot) {
        let name = finding.name.strip_prefix("mechanism:").unwrap_or(&finding.name).to_owned();
        report.check("mechanisms", &name, "", || {
            let verdict = if finding.ok { pass(finding.hint) } else { fail(finding.hint) };
            Ok(verdict.with_code(finding.code))
        });
    }
}

/// What the probes decided.
pub(super) fn choices(stage: &Stage, report: &mut Report<'_>) {
    let group = "choices";
    let profile = &stage.profile;
    let choice = |present: bool, yes: &str, no: &str| Ok(if present { pass(yes) } else { workaround(no) });
    report.check(group, "AES-KWP", "", || {
        Ok(match profile.kwp {
            Some(CKM_AES_KEY_WRAP_KWP) => pass("CKM_AES_KEY_WRAP_KWP (0x210B)"),
            Some(other) => workaround(format!("not by CKM_AES_KEY_WRAP_KWP: {other:#06x} gives what RFC 5649 says, so that is used")),
            None => fail("neither 0x210B nor 0x210A gives what RFC 5649 says: keys could not be stored"),
        })
    });
    report.check(group, "CKA_VALUE_LEN on unwrap", "", || {
        choice(profile.value_len_on_unwrap, "wanted, and given", "not wanted: left out, the length follows from the wrapped key")
    });
    report.check(group, "AES-192", "", || {
        choice(profile.aes_192, "derived by cutting 32 bytes", "not derived from 32 bytes: acquirers' keys are of 128 or 256 bits")
    });
    report.check(group, "Ed25519", "", || choice(profile.ed25519, "signs the audit log", "lacking: P-256 signs the audit log"));
}

/// What the module enforces by itself.
pub(super) fn templates(stage: &Stage, report: &mut Report<'_>) {
    let group = "templates";
    let (allowed, unwrap) = (stage.profile.allowed_mechanisms, stage.profile.unwrap_template);
    report.check(group, "CKA_ALLOWED_MECHANISMS", "a key does what its list does not name: do not use the module", || {
        if !allowed {
            return Ok(workaround("not known: a key is bound to its use by the usage attributes and the host's operations"));
        }
        confined(&stage.session()?)
    });
    report.check(group, "CKA_UNWRAP_TEMPLATE", "", || {
        Ok(if unwrap {
            pass("binds: a stored key cannot be brought back readable")
        } else {
            workaround("does not bind: the host's templates alone keep a stored key from being brought back readable")
        })
    });
    report.check(group, "CKA_DERIVE_TEMPLATE", "", || {
        if stage.profile.derive_template {
            return Ok(pass("binds: what a base key derives cannot be made readable"));
        }
        let session = stage.session()?;
        let template = templates::probe_binding(templates::DERIVE, ffi::derive_template);
        Ok(match session.generate_key(&Mechanism::AesKeyGen, &template) {
            Ok(key) => {
                drop(Ephemeral::new(&session, key));
                workaround("known and does not bind: the host's templates alone keep what a key derives from being read")
            }
            Err(error) => workaround("not known: the host's templates alone keep what a key derives from being read").with(error),
        })
    });
    report.check(group, "derived readable keys", "the base key has to derive", || readable(&stage.session()?));
    report.check(group, "CKA_WRAP_WITH_TRUSTED", "", || Ok(trusted(&stage.session()?)));
    report.check(group, "defaults", "an AES key has to be made without usage attributes", || defaults(&stage.session()?));
    report.check(group, "CKA_MODIFIABLE in front", "", || in_front(&stage.session()?));
}

/// SoftHSM works through the template of a derived key in order, and refuses what stands behind `CKA_MODIFIABLE` = false.
fn in_front(session: &Session) -> Seen {
    let base = profile::import(session, &KEK, templates::DERIVE, false)?;
    let mut template = templates::derived(Algorithm::Aes256, templates::SIGN);
    template.rotate_right(1);
    let derived = object::derive(session, base.handle(), Usage::MacBoth, Algorithm::Aes256, [0; 8], &template);
    Ok(match derived.map(drop) {
        Ok(()) => pass("the order of a template does not matter"),
        Err(error) => workaround("the order of a template matters: the host puts CKA_MODIFIABLE last").with(error),
    })
}

/// A key that may sign and encrypt, and whose list has CMAC alone.
fn confined(session: &Session) -> Seen {
    let mut template = templates::generated(Use { sign: true, encrypt: true, ..templates::NOTHING }, false);
    template.push(Attribute::AllowedMechanisms(vec![MechanismType::AES_CMAC]));
    let key = Ephemeral::new(session, session.generate_key(&Mechanism::AesKeyGen, &templates::sealed(template))?);
    session.sign(&Mechanism::AesCMac, key.handle(), b"allowed")?;
    Ok(match session.encrypt(&Mechanism::AesCbc([0; 16]), key.handle(), &[0; 16]) {
        Err(_) => pass("taken and enforced"),
        Ok(_) => workaround("taken and not enforced: a key is bound to its use by the usage attributes and the host's operations"),
    })
}

/// PKCS#11 lets a derived key be readable unless `CKA_DERIVE_TEMPLATE` forbids it.
fn readable(session: &Session) -> Seen {
    let base = profile::import(session, &KEK, templates::DERIVE, false)?;
    let data = derivation_data(Usage::MacBoth, Algorithm::Aes256, [0; 8]);
    let data = cryptoki::mechanism::misc::KeyDerivationStringData::new(&data);
    let derived = match session.derive_key(&ffi::aes_ecb_encrypt_data(&data), base.handle(), &probes::readable()) {
        Ok(handle) => Ephemeral::new(session, handle),
        Err(_) => return Ok(pass("refused: a sensitive key derives sensitive keys only")),
    };
    let value = object::bytes(session, derived.handle(), cryptoki::object::AttributeType::Value)?;
    Ok(if value.is_some_and(|value| !value.is_empty()) {
        workaround("a sensitive key derives a readable one if it is asked to: the host's templates keep the promise, not the token")
    } else {
        pass("what a sensitive key derives cannot be read, whatever is asked")
    })
}

/// Nothing of Tillward stands on `CKA_TRUSTED`; said, because others may.
fn trusted(session: &Session) -> Verdict {
    let mut template = templates::generated(Use { wrap: true, ..templates::NOTHING }, false);
    template.insert(0, Attribute::Trusted(true));
    match session.generate_key(&Mechanism::AesKeyGen, &template) {
        Ok(key) => {
            drop(Ephemeral::new(session, key));
            note("any user can make a trusted key: it protects nothing here, and Tillward does not rely on it")
        }
        Err(_) => note("a user cannot make a trusted key; Tillward does not rely on it"),
    }
}

/// A key without a word about its use. SoftHSM lets it do everything.
fn defaults(session: &Session) -> Seen {
    let key = Ephemeral::new(session, session.generate_key(&Mechanism::AesKeyGen, &probes::bare())?);
    let asked = [
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Sign(true),
        Attribute::Verify(true),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Derive(true),
        Attribute::Sensitive(true),
    ];
    let flags = object::read_flags(session, key.handle(), &asked)?;
    let mut risky: Vec<String> = flags.iter().filter(|(name, on)| **on && *name != "SENSITIVE").map(|(name, _)| name.clone()).collect();
    if flags.get("SENSITIVE") == Some(&false) {
        risky.push("readable".to_owned());
    }
    Ok(if risky.is_empty() {
        pass("a key without usage attributes may do nothing, and is sensitive")
    } else {
        workaround(format!("a key without usage attributes is {}: the host's templates name every one", risky.join(", ")))
    })
}
