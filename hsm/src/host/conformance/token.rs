//! Module, token, PIN, and that nothing is left.

use cryptoki::context::Pkcs11;
use cryptoki::slot::{Limit, TokenInfo};

use super::report::{Report, Seen, Verdict, fail, note, pass, workaround};
use crate::host::trial::{PREFIX, Stage, describe};
use crate::host::{module, trial};
use crate::model::Finding;
use crate::trial::wire::Event;
use crate::uri::Pkcs11Uri;

/// All objects of Tillward, marks and room for a second set.
const ROOM: usize = 128 * 1024;

/// Unit 0. Without `told`, only opens what an earlier process has told of.
pub(super) fn open(uri: &Pkcs11Uri, told: bool, report: &mut Report<'_>) -> Option<Stage> {
    if !told {
        return keep(report, "module", "again", || trial::open(uri), |_| "the rest was tried in a new process".to_owned());
    }
    let module = keep(report, "module", "load", || loaded(uri), |_| "loaded and initialised, with OS locking".to_owned())?;
    report.event(&Event::Device(describe(uri, &module, None)));
    report.check("module", "interface", "C_GetInfo has to answer", || interface(&module));
    let (slot, token) = keep(report, "token", "label", || module::find_token(&module, uri), |_| "exactly one token has it".to_owned())?;
    report.event(&Event::Device(describe(uri, &module, Some(token))));
    report.check("token", "flags", "C_GetTokenInfo has to answer", || Ok(flags(&module.get_token_info(slot)?)));
    report.check("token", "limits", "C_GetTokenInfo has to answer", || Ok(limits(&module.get_token_info(slot)?)));
    if !report.check("token", "PIN tries", "C_GetTokenInfo has to answer", || Ok(tries(&module.get_token_info(slot)?))) {
        return None;
    }
    keep(report, "token", "login", || Stage::open(uri.clone(), module, slot), |_| "one attempt, with the PIN of the file".to_owned())
}

fn loaded(uri: &Pkcs11Uri) -> Result<Pkcs11, Finding> {
    let module = module::load(uri)?;
    module::initialise(&module)?;
    Ok(module)
}

/// A step that gives something to go on with.
fn keep<T>(
    report: &mut Report<'_>,
    group: &str,
    name: &str,
    step: impl FnOnce() -> Result<T, Finding>,
    told: impl FnOnce(&T) -> String,
) -> Option<T> {
    let mut kept = None;
    report.check(group, name, "", || match step() {
        Ok(found) => {
            let seen = pass(told(&found));
            kept = Some(found);
            Ok(seen)
        }
        Err(finding) => Ok(fail(finding.hint).with_code(finding.code)),
    });
    kept
}

fn interface(module: &Pkcs11) -> Seen {
    let version = module.get_library_info()?.cryptoki_version();
    let told = format!("PKCS#11 {version}");
    if (version.major(), version.minor()) >= (2, 40) {
        return Ok(pass(told));
    }
    Ok(workaround(format!("{told}, older than 2.40: nothing is taken from the version, everything below was tried")))
}

fn flags(info: &TokenInfo) -> Verdict {
    let wrong = [
        (!info.login_required(), "it asks for no login: whoever reaches it can use its keys"),
        (info.write_protected(), "it is write-protected: keys cannot be made"),
        (!info.user_pin_initialized(), "it has no user PIN yet: C_InitPIN, or `tillward init` on an empty token"),
        (info.user_pin_to_be_changed(), "its user PIN has to be changed first"),
        (info.protected_authentication_path(), "its PIN is typed at a pad of its own: a service cannot log in"),
        (info.error_state(), "it is in its error state"),
    ];
    match wrong.iter().find(|(wrong, _)| *wrong) {
        Some((_, what)) => fail(*what),
        None => pass("login required, user PIN set, writable"),
    }
}

fn limits(info: &TokenInfo) -> Verdict {
    let told = match info.max_rw_session_count() {
        Limit::Max(most) if most < 2 => return fail(format!("{most} session: the login takes one, every worker one more")),
        Limit::Max(most) => format!("{most} sessions"),
        Limit::Infinite => "no limit of sessions".to_owned(),
        Limit::Unavailable => "sessions: it does not say".to_owned(),
    };
    match info.free_private_memory().or(info.free_public_memory()) {
        Some(free) if free < ROOM => note(format!("{told}; {free} bytes free: the keys of the design need about {ROOM}")),
        Some(free) => pass(format!("{told}; {} KiB free", free / 1024)),
        None => pass(format!("{told}; memory: it does not say")),
    }
}

/// Before the PIN is tried: one wrong try too many locks a real token.
fn tries(info: &TokenInfo) -> Verdict {
    if info.user_pin_locked() {
        fail("the PIN is locked: the security officer unlocks it")
    } else if info.user_pin_final_try() {
        fail("one try is left, so it was not tried: log in once by the vendor's tool with the PIN of the file")
    } else if info.user_pin_count_low() {
        note("a wrong PIN was tried lately; Tillward tries once and never again by itself")
    } else {
        pass("no wrong PIN since the last login")
    }
}

/// Clears what an earlier trial has left, and counts. Gives the count.
pub(super) fn leftovers(stage: &Stage, told: bool, before: Option<u64>, report: &mut Report<'_>) -> Option<u64> {
    let mut counted = before;
    let mut clear = || {
        let swept = stage.sweep()?;
        if counted.is_none() {
            counted = u64::try_from(stage.objects()?.len()).ok();
        }
        Ok(match swept {
            0 => pass("no scratch object of an earlier trial"),
            some => note(format!("{some} scratch objects of an earlier trial were destroyed")),
        })
    };
    if told {
        report.check("objects", "leftovers", &format!("destroy what is labelled {PREFIX}… by hand"), clear);
    } else {
        drop(clear());
    }
    if let Some(count) = counted {
        report.event(&Event::Counted(count));
    }
    counted
}

/// At the very end: as many objects as before.
pub(super) fn objects(stage: &Stage, before: Option<u64>, report: &mut Report<'_>) {
    report.check("objects", "none is left", &format!("destroy what is labelled {PREFIX}… by hand"), || {
        let left = stage.sweep()?;
        let after = u64::try_from(stage.objects()?.len()).ok();
        Ok(match (left, before == after) {
            (0, true) => pass("every scratch object was destroyed; as many objects as before"),
            (0, false) => fail(format!(
                "{} objects before, {} after: something else uses the token, or a call that died left half a key, without a label",
                told(before),
                told(after)
            )),
            (left, _) => fail(format!("{left} scratch objects did not go when they were destroyed; they went now")),
        })
    });
}

fn told(count: Option<u64>) -> String {
    count.map_or_else(|| "uncounted".to_owned(), |count| count.to_string())
}
