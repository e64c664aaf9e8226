//! Sessions, login and the random generator: what belongs to whom, and what an error leaves behind.

use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::SessionState;

use super::report::{Report, Seen, fail, note, pass, workaround};
use crate::host::object::Ephemeral;
use crate::host::pool::Session;
use crate::host::templates::{self, Design};
use crate::host::trial::{Scratch, Stage};

const GROUP: &str = "sessions";

pub(super) fn random(stage: &Stage, report: &mut Report<'_>) {
    report.check("random", "generator", "identifiers and codes are drawn from the token: it needs C_GenerateRandom", || {
        let session = stage.session()?;
        let (one, other) = (session.generate_random_vec(32)?, session.generate_random_vec(32)?);
        let long = session.generate_random_vec(1024)?;
        if one == other || long.iter().all(|byte| Some(byte) == long.first()) {
            return Ok(fail("it gives the same bytes again"));
        }
        if stage.module.get_token_info(stage.slot)?.rng() {
            Ok(pass("32 bytes, 1 KiB"))
        } else {
            Ok(note("it gives bytes, though CKF_RNG is not set"))
        }
    });
}

pub(super) fn parallel(stage: &Stage, wanted: usize, report: &mut Report<'_>) {
    report.check(GROUP, "parallel", "no session can be opened beside that of the login", || {
        // One is that of the login.
        let mut open = vec![stage.session()?];
        let mut end = None;
        while open.len() < wanted.max(1) && end.is_none() {
            match stage.session() {
                Ok(session) => open.push(session),
                Err(error) => end = Some(error),
            }
        }
        Ok(match end {
            None => pass(format!("{} beside that of the login, as many as were asked for", open.len())),
            Some(error) => {
                workaround(format!("{} of {wanted} beside that of the login: a host works with fewer workers", open.len())).with(error)
            }
        })
    });
    report.check(GROUP, "closed beside another", "a worker that closes its session must not disturb the others", || {
        let (one, other) = (stage.session()?, stage.session()?);
        let key = Ephemeral::new(&one, one.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::SIGN, false))?);
        drop(other);
        one.sign(&Mechanism::AesCMac, key.handle(), b"alive")?;
        Ok(pass("the others work on"))
    });
    report.check(GROUP, "login stays", "the session that logged in is kept open, and the login with it", || {
        drop((stage.session()?, stage.session()?));
        let found = stage.session()?.get_session_info()?.session_state();
        Ok(if found == SessionState::RwUser {
            pass("with the session that logged in, whatever others are closed")
        } else {
            fail("a new session is not logged in, though the one that logged in is open")
        })
    });
}

pub(super) fn together(stage: &Stage, report: &mut Report<'_>) {
    let Some(design) = hmac() else { return };
    report.check(GROUP, "token key in every session", "a key is found once and its handle used by every worker", || {
        let (one, other) = (stage.session()?, stage.session()?);
        let key = Scratch::make(stage, &one, &design)?;
        let mac = one.sign(&Mechanism::Sha256Hmac, key.handle, b"one key")?;
        let same = other.sign(&Mechanism::Sha256Hmac, key.handle, b"one key")? == mac;
        Ok(if same { pass("one handle serves all of them") } else { fail("another session computes something else with the same handle") })
    });
    report.check(GROUP, "session key in another session", "session objects have to work in the session that made them", || {
        let (one, other) = (stage.session()?, stage.session()?);
        let key = Ephemeral::new(&one, one.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::SIGN, false))?);
        Ok(match other.sign(&Mechanism::AesCMac, key.handle(), b"shared") {
            Ok(_) => pass("usable"),
            Err(error) => workaround("hot keys are used from the token, not as copies of the login's session").with(error),
        })
    });
    report.check(GROUP, "session keys end with it", "", || {
        let (one, other) = (stage.session()?, stage.session()?);
        let key = one.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::SIGN, false))?;
        drop(one);
        Ok(match other.sign(&Mechanism::AesCMac, key, b"gone") {
            Err(_) => pass("gone with their session"),
            Ok(_) => workaround("they outlive it: the host destroys every one by itself"),
        })
    });
}

/// A key that every token makes quickly.
fn hmac() -> Option<Design> {
    templates::designs(templates::ACTIVATION_MAC).pop()
}

pub(super) fn after_errors(stage: &Stage, report: &mut Report<'_>) {
    let key = |session: &Session| session.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::SIGN, false));
    report.check(GROUP, "after a refused call", "a session has to work again after an error, or another has to", || {
        let session = stage.session()?;
        let key = key(&session)?;
        drop(session.decrypt(&Mechanism::AesCbc([0; 16]), key, &[0; 16]));
        Ok(match session.sign(&Mechanism::AesCMac, key, b"again") {
            Ok(_) => pass("the session works on; the host opens a new one all the same"),
            Err(error) => workaround("the session is spoilt: the host opens a new one after every error").with(error),
        })
    });
    report.check(GROUP, "after an abandoned call", "a session has to work again after an error, or another has to", || {
        let session = stage.session()?;
        let key = key(&session)?;
        session.sign_init(&Mechanism::AesCMac, key)?;
        let again = session.sign(&Mechanism::AesCMac, key, b"again");
        Ok(match again {
            Ok(_) => pass("a new operation takes its place"),
            Err(error) => {
                stage.session()?.generate_random_vec(8)?;
                workaround("the session is spoilt, others are not: the host opens a new one after every error").with(error)
            }
        })
    });
}

/// Tries before a race is called absent. SoftHSM 2.6.1 loses one key in five.
const TRIES: usize = 100;

/// Token keys are made while another thread searches (softhsm/SoftHSMv2#573). Only on demand: a module that loses the race leaves half a key
/// behind, which has no label and so cannot be told from somebody else's.
pub(super) fn races(stage: &Stage, report: &mut Report<'_>) {
    let Some(design) = templates::designs(templates::ISSUING_CA).pop() else { return };
    report.check(GROUP, "making while searching", "keys cannot be made on it reliably", || {
        let (maker, searcher) = (stage.session()?, stage.session()?);
        let before = stage.objects()?.len();
        let stop = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    drop(searcher.find_objects(&[]));
                }
            });
            let outcome = (0..TRIES).try_for_each(|_| Scratch::make(stage, &maker, &design).map(drop));
            stop.store(true, Ordering::SeqCst);
            outcome
        });
        drop(maker);
        let Err(error) = outcome else { return Ok(pass(format!("{TRIES} pairs made while another session searched"))) };
        stage.sweep()?;
        let left = stage.objects()?.len().saturating_sub(before);
        let hint = "a pair is lost when another session searches: the host lets nobody search while it makes keys";
        let left = if left == 0 { String::new() } else { format!("; {left} half-made objects without a label are left now") };
        Ok(workaround(format!("{hint}{left}")).with(error))
    });
}

/// Behind everything that holds a handle: afterwards every handle of this process may be dead.
pub(super) fn log_in_again(stage: &Stage, report: &mut Report<'_>) {
    let Some(design) = hmac() else { return };
    report.check(GROUP, "after a lost login", "after a new login the keys have to be there again", || {
        let session = stage.session()?;
        let key = Scratch::make(stage, &session, &design)?;
        let mac = session.sign(&Mechanism::Sha256Hmac, key.handle, b"before")?;
        let (id, old) = (key.id.clone(), key.handle);
        // Its destruction is not for the session that is about to lose its login.
        std::mem::forget(key);
        stage.log_in_again()?;
        let session = stage.session()?;
        let again = |handle| session.sign(&Mechanism::Sha256Hmac, handle, b"before");
        let seen: Seen = match session.find_objects(&[Attribute::Id(id)])?[..] {
            [found] if again(found)? == mac => Ok(match stage.session()?.sign(&Mechanism::Sha256Hmac, old, b"before") {
                Ok(same) if same == mac => pass("the keys are there, under their old handles"),
                Ok(_) => fail("an old handle names another key now"),
                Err(error) => workaround(dead(&error)).with(error),
            }),
            [_] => Ok(fail("the key found by its id is another one")),
            _ => Ok(fail("the key is not found by its id")),
        };
        stage.sweep()?;
        seen
    });
}

fn dead(error: &Error) -> &'static str {
    match error {
        Error::Pkcs11(RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid, _) => {
            "old handles are dead: the host finds every key again by its id after a login"
        }
        _ => "old handles are dead, with an unusual code: the host finds every key again by its id after a login",
    }
}
