//! What only a quorum may ask for: the host reads the officers' file and verifies the plan itself, so that a service that was taken over cannot say
//! that somebody approved.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::fault::Fault;
use super::super::keeper::Host;
use crate::approval::{self, Approved, Roster};
use crate::error::Refusal;
use crate::plan::{Deed, Plan};

/// A thousand officers have room.
const LARGEST: u64 = 256 * 1024;

/// The plan, if enough officers of the file approved it, now, and it is for what `is_asked` says.
pub(in crate::host) fn demand(host: &Host, approved: &Approved, is_asked: impl FnOnce(&Deed) -> bool) -> Result<Plan, Fault> {
    verify(host.args.officers.as_deref(), approved, now(), is_asked).map_err(|reason| Refusal::NotApproved { reason }.into())
}

/// A destruction is executed when its waiting period begins, and done when it ends: long after the plan's own end.
fn verify(officers: Option<&Path>, approved: &Approved, now: i64, is_asked: impl FnOnce(&Deed) -> bool) -> Result<Plan, String> {
    let path = officers.ok_or("the HSM host was started without an officers' file")?;
    let waits = Plan::parse(&approved.plan).is_ok_and(|plan| matches!(plan.deed, Deed::DestroyKey(_)));
    let verified = if waits { approval::verify_after_waiting } else { approval::verify };
    let plan = verified(approved, &read(path)?, now).map_err(|error| error.to_string())?;
    if is_asked(&plan.deed) { Ok(plan) } else { Err(format!("the plan is for another {}", plan.deed.name())) }
}

/// The file as it is now: an officer who left a minute ago does not count.
fn read(path: &Path) -> Result<Roster, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST.saturating_add(1)).read_to_string(&mut text));
    let length = read.map_err(|error| format!("the officers' file cannot be read: {}", error.kind()))?;
    if u64::try_from(length).is_ok_and(|length| length > LARGEST) {
        return Err("the officers' file is longer than 256 KiB".to_owned());
    }
    Roster::parse(&text).map_err(|error| error.to_string())
}

/// Seconds since 1970. A clock before that is one at which no plan was made.
#[expect(clippy::disallowed_methods, reason = "the host takes nobody's word for the time; this is its one place that reads it")]
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::Approval;
    use crate::managed::KeyRef;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use p256::ecdsa::{Signature, SigningKey};
    use p256::pkcs8::EncodePublicKey as _;

    fn key(name: &str) -> KeyRef {
        KeyRef::parse(&format!("key:{name}:1:sign:ec-p256")).expect("a label")
    }

    fn officer(number: u8) -> SigningKey {
        SigningKey::from_slice(&[number; 32]).expect("a scalar")
    }

    fn line(name: &str, key: &SigningKey) -> String {
        let der = key.verifying_key().to_public_key_der().expect("DER");
        format!("{name} {}\n", data_encoding::BASE64.encode(der.as_bytes()))
    }

    fn approved(deed: Deed, by: &[(&str, SigningKey)]) -> Approved {
        let plan = Plan { id: [7; 16], requester: "urn:o:r".to_owned(), created: 1000, expires: 2000, quorum: 2, deed };
        let sign = |key: &SigningKey| -> Vec<u8> {
            let signature: Signature = key.sign_prehash(&plan.hash()).expect("signs");
            signature.to_vec()
        };
        let approvals = by.iter().map(|(name, key)| Approval { officer: (*name).to_owned(), signature: sign(key) }).collect();
        Approved { plan: plan.to_bytes(), approvals }
    }

    #[test]
    fn the_file_decides_as_it_is_now_and_the_deed_is_the_one_asked_for() {
        let path = std::env::temp_dir().join(format!("tillward-officers-{}", std::process::id()));
        std::fs::write(&path, line("urn:o:a", &officer(1)) + &line("urn:o:b", &officer(2))).expect("written");
        let both = approved(Deed::DestroyKey(key("a")), &[("urn:o:a", officer(1)), ("urn:o:b", officer(2))]);
        let ask = |now, name: &str| verify(Some(&path), &both, now, |deed| *deed == Deed::DestroyKey(key(name)));
        assert_eq!(ask(1500, "a").expect("approved").deed, Deed::DestroyKey(key("a")));
        assert!(ask(1500, "b").expect_err("another key").contains("another"));
        assert!(ask(2000, "a").is_ok(), "the waiting period is longer than the plan stands open");
        assert!(ask(1000 + approval::LONGEST_WAIT, "a").expect_err("too late").contains("expired"));
        let report = approved(Deed::ReportCompromise(key("a")), &[("urn:o:a", officer(1)), ("urn:o:b", officer(2))]);
        assert!(verify(Some(&path), &report, 2000, |_| true).expect_err("too late").contains("expired"));
        let one = approved(Deed::DestroyKey(key("a")), &[("urn:o:a", officer(1))]);
        assert!(verify(Some(&path), &one, 1500, |_| true).expect_err("one").contains("1 of 2"));

        std::fs::write(&path, line("urn:o:a", &officer(1))).expect("written");
        assert!(ask(1500, "a").expect_err("an officer left").contains("1 of 2"));
        std::fs::remove_file(&path).expect("removed");
        assert!(ask(1500, "a").expect_err("no file").contains("cannot be read"));
        assert!(verify(None, &both, 1500, |_| true).expect_err("no file named").contains("without"));
    }
}
