//! Each key of the design, made with its full template as a scratch token object, and every promise about it.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType};

use super::report::{Report, Seen, Trouble, fail, note, pass, says_nothing, workaround};
use super::uses;
use crate::host::object::{self, Ephemeral};
use crate::host::pool::Session;
use crate::host::profile::KEY;
use crate::host::templates::{self, Design};
use crate::host::trial::{Scratch, Stage};
use crate::host::{ffi, prove, ring};
use crate::model::{KeyKind, OaepHash};

const BROKEN: &str = "Tillward promises that this cannot be done with its keys: do not use the module";

pub(super) fn examine(stage: &Stage, design: &Design, report: &mut Report<'_>) {
    if !templates::is_made(design, &stage.profile) {
        return;
    }
    let group = format!("key {}", design.label);
    if design.kind == KeyKind::Ed25519 && !stage.profile.ed25519 {
        report.check(&group, "made", "", || Ok(workaround("no Ed25519: the audit log is signed with P-256")));
        return;
    }
    let Ok(session) = stage.session() else { return };
    let mut made = None;
    report.check(
        &group,
        "made",
        "with this template the key cannot be made; the vendor's manual says which attribute it does not take",
        || {
            made = Some(Scratch::make(stage, &session, design)?);
            Ok(pass("as a token object, with the full template"))
        },
    );
    let Some(key) = made else { return };
    let id = key.id.clone();
    report.check(&group, "attributes", "the key must be what its template says", || attributes(&session, &key));
    report.check(&group, "found", "keys are found by CKA_ID", || found(stage, &key));
    report.check(&group, "use", "the key has to do what it is for", || {
        prove::prove(&session, &stage.profile, &key.key()?)?;
        Ok(pass("does what it is for, from another session too"))
    });
    report.check(&group, "other uses", BROKEN, || other_uses(stage, &key));
    report.check(&group, "extraction", BROKEN, || extraction(stage, &key));
    report.check(&group, "change", BROKEN, || change(stage, &key));
    report.check(&group, "copy", BROKEN, || copy(stage, &key));
    if design.kind == KeyKind::Rsa {
        report.check(&group, "OAEP", "phones send their secret under RSA-OAEP: it needs C_UnwrapKey with CKM_RSA_PKCS_OAEP", || {
            oaep(&session, stage, &key)
        });
        report.check(&group, "wrong ciphertext", "", || wrong_ciphertext(stage, &key));
    }
    report.check(&group, "destruction", "what is destroyed has to be gone", move || {
        drop(key);
        let left = stage.session()?.find_objects(&[Attribute::Id(id)])?.len();
        Ok(if left == 0 { pass("gone") } else { fail(format!("{left} objects are still found by its id")) })
    });
}

fn attributes(session: &Session, key: &Scratch<'_>) -> Seen {
    ring::check(session, &key.design, key.handle, key.public)?;
    let provenance = Design::provenance();
    let origin = object::read_flags(session, key.handle, &provenance)?;
    for object in [Some(key.handle), key.public].into_iter().flatten() {
        let label = object::bytes(session, object, AttributeType::Label)?;
        if object::bytes(session, object, AttributeType::Id)?.as_ref() != Some(&key.id)
            || label.as_deref() != Some(key.design.label.as_bytes())
        {
            return Ok(fail("its CKA_ID or its label is not as given"));
        }
    }
    Ok(match object::difference(&origin, &provenance) {
        Some(difference) => fail(format!("{difference}: the token does not vouch for its origin")),
        None => pass("read back one by one, and generated here"),
    })
}

fn found(stage: &Stage, key: &Scratch<'_>) -> Seen {
    let session = stage.session()?;
    let objects = session.find_objects(&[Attribute::Id(key.id.clone())])?;
    let expected = 1 + usize::from(key.public.is_some());
    if objects.len() != expected {
        return Ok(fail(format!("{} objects have its id instead of {expected}", objects.len())));
    }
    Ok(if objects.contains(&key.handle) {
        pass("by its id, in another session")
    } else {
        note("by its id, in another session, under another handle")
    })
}

fn other_uses(stage: &Stage, key: &Scratch<'_>) -> Seen {
    let allowed = uses::wrongly_allowed(stage, key)?;
    Ok(if allowed.is_empty() { pass("refused") } else { fail(format!("it can also {}: {BROKEN}", allowed.join(", "))) })
}

fn extraction(stage: &Stage, key: &Scratch<'_>) -> Seen {
    let secrets = [AttributeType::Value, AttributeType::PrivateExponent, AttributeType::Prime1, AttributeType::Exponent1];
    for secret in secrets {
        // A module may refuse the question as a whole.
        let read = stage.session()?.get_attributes(key.handle, &[secret]).unwrap_or_default();
        if !read.is_empty() {
            return Ok(fail(format!("its value can be read ({secret:?}): {BROKEN}")));
        }
    }
    let mechanisms = [stage.profile.kwp.map(ffi::plain), Some(Mechanism::AesCbc([0; 16])), Some(Mechanism::AesKeyWrap)];
    for mechanism in mechanisms.into_iter().flatten() {
        let session = stage.session()?;
        let kek = Ephemeral::new(&session, session.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::WRAP, false))?);
        if session.wrap_key(&mechanism, kek.handle(), key.handle).is_ok() {
            return Ok(fail(format!("it leaves the token, wrapped by {}: {BROKEN}", mechanism.mechanism_type())));
        }
    }
    Ok(pass("refused: not read, not wrapped"))
}

fn change(stage: &Stage, key: &Scratch<'_>) -> Seen {
    let mut objects = vec![(key.handle, Attribute::Sensitive(false)), (key.handle, Attribute::Extractable(true))];
    objects.extend([
        (key.handle, Attribute::Modifiable(true)),
        (key.handle, Attribute::Decrypt(true)),
        (key.handle, Attribute::Unwrap(true)),
    ]);
    objects.extend(key.public.map(|public| (public, Attribute::Encrypt(true))));
    for (object, wanted) in objects {
        let session = stage.session()?;
        let before = object::read_flags(&session, object, std::slice::from_ref(&wanted))?;
        let set = session.update_attributes(object, std::slice::from_ref(&wanted));
        let after = object::read_flags(&stage.session()?, object, std::slice::from_ref(&wanted))?;
        if before != after {
            return Ok(fail(format!("{:?} can be set afterwards: {BROKEN}", wanted.attribute_type())));
        }
        // Setting a value that is there already may be allowed; anything else was refused or ignored.
        if set.is_ok() && object::difference(&after, std::slice::from_ref(&wanted)).is_some() {
            return Ok(workaround("a change is answered OK and not made: keys are read back after they are made"));
        }
    }
    Ok(pass("refused"))
}

fn copy(stage: &Stage, key: &Scratch<'_>) -> Seen {
    let changed = [Attribute::Extractable(true), Attribute::Sensitive(false), Attribute::Derive(true), Attribute::Modifiable(true)];
    let mut taken = Vec::new();
    for wanted in changed {
        let session = stage.session()?;
        if let Ok(copy) = session.copy_object(key.handle, &[Attribute::Token(false), wanted.clone()]) {
            let copy = Ephemeral::new(&session, copy);
            let flags = object::read_flags(&session, copy.handle(), std::slice::from_ref(&wanted))?;
            if object::difference(&flags, std::slice::from_ref(&wanted)).is_none() {
                taken.push(wanted);
            }
        }
    }
    let leaks = |attribute: &Attribute| matches!(attribute, Attribute::Extractable(_) | Attribute::Sensitive(_));
    if let Some(leak) = taken.iter().find(|attribute| leaks(attribute)) {
        return Ok(fail(format!("a copy can have {leak:?}: {BROKEN}")));
    }
    let session = stage.session()?;
    let plain = session.copy_object(key.handle, &templates::session_copy()).map(|copy| Ephemeral::new(&session, copy));
    Ok(match (key.design.copyable, plain) {
        (false, Err(_)) if taken.is_empty() => pass("refused"),
        (false, _) => fail(format!("it can be copied, though CKA_COPYABLE is false: {BROKEN}")),
        (true, Ok(_)) if taken.is_empty() => pass("a session copy for speed, with nothing changed"),
        (true, Ok(_)) => workaround(format!("a copy can be given {taken:?}: only the host copies, and it changes nothing")),
        (true, Err(error)) => workaround("no session copy of a key that cannot be changed: the token key signs").with(error),
    })
}

fn oaep(session: &Session, stage: &Stage, key: &Scratch<'_>) -> Seen {
    Ok(match prove::oaep(session, &stage.profile, &key.key()?) {
        Some(OaepHash::Sha256) => pass("RSA-OAEP-256: SHA-256 and MGF1-SHA-256"),
        Some(OaepHash::Sha1) => workaround("SHA-256 is refused: phones are told RSA-OAEP with SHA-1, which is safe in OAEP"),
        None => fail("neither SHA-256 nor SHA-1 unwraps what the public half wrapped: no phone could enrol"),
    })
}

/// What a phone can send at any time.
fn wrong_ciphertext(stage: &Stage, key: &Scratch<'_>) -> Seen {
    let Some(hash) = prove::oaep(&stage.session()?, &stage.profile, &key.key()?) else { return Ok(note("not tried")) };
    let template = templates::probe_unwrapped(templates::NOTHING, true, stage.profile.value_len_on_unwrap);
    let mut wrong = vec![0x5A; 384];
    wrong[..32].copy_from_slice(&KEY);
    refused(stage, stage.session()?.unwrap_key(&prove::oaep_mechanism(hash), key.handle, &wrong, &template).map(drop))
}

/// A bad input that has to be refused, and not as if the token were dead.
pub(super) fn refused(stage: &Stage, result: Result<(), cryptoki::error::Error>) -> Result<super::report::Verdict, Trouble> {
    Ok(match result {
        Ok(()) => fail("it is accepted: do not use the module"),
        Err(error) if says_nothing(&error) => {
            // The next one has to work: that is what the host's canary looks for.
            let session = stage.session()?;
            let key = Ephemeral::new(&session, session.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::SIGN, false))?);
            session.sign(&Mechanism::AesCMac, key.handle(), b"alive")?;
            workaround("refused with a code that a dead token gives too: the host's canary tells which").with(error)
        }
        Err(error) => pass("refused with a code of its own").with(error),
    })
}
