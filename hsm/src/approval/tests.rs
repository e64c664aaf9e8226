//! Every attack on an approval, each under its name.

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::plan::Deed;
use crate::plan::tests::plan as plan_of;

const NAMES: [&str; 3] = ["urn:tillward:principal:officer", "urn:tillward:principal:officer-2", "urn:tillward:principal:officer-3"];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).expect("a scalar")
}

fn line(name: &str, key: &SigningKey) -> String {
    let der = key.verifying_key().to_public_key_der().expect("encodes");
    format!("{name} {}\n", data_encoding::BASE64.encode(der.as_bytes()))
}

/// Three officers, with the keys 1, 2 and 3.
fn roster() -> Roster {
    let text: String = NAMES.iter().zip(1..).map(|(name, seed)| line(name, &key(seed))).collect();
    Roster::parse(&text).expect("a roster")
}

fn plan() -> Plan {
    plan_of(Deed::ChangePolicy([1; 32]))
}

fn sign(hash: &[u8; 32], officer: usize, seed: u8) -> Approval {
    let signature: Signature = key(seed).sign_prehash(hash).expect("signs");
    Approval { officer: NAMES[officer].to_owned(), signature: signature.to_bytes().to_vec() }
}

/// The plan, approved by the first two officers.
fn approved(plan: &Plan) -> Approved {
    Approved { plan: plan.to_bytes(), approvals: vec![sign(&plan.hash(), 0, 1), sign(&plan.hash(), 1, 2)] }
}

fn outcome(approved: &Approved) -> Result<Plan, ApprovalError> {
    verify(approved, &roster(), plan().created + 60)
}

fn bad_signature(officer: usize) -> Result<Plan, ApprovalError> {
    Err(ApprovalError::Signature(NAMES[officer].to_owned()))
}

#[test]
fn a_quorum_of_officers_is_an_approval() {
    assert_eq!(outcome(&approved(&plan())), Ok(plan()));
    let mut three = approved(&plan());
    three.approvals.push(sign(&plan().hash(), 2, 3));
    assert_eq!(outcome(&three), Ok(plan()));
}

#[test]
fn a_changed_plan_is_refused() {
    let signed = approved(&plan());
    for other in [
        Plan { deed: Deed::ChangePolicy([2; 32]), ..plan() },
        Plan { deed: Deed::ChangeOfficers([1; 32]), ..plan() },
        Plan { expires: plan().expires + 1, ..plan() },
        Plan { id: [8; 16], ..plan() },
        Plan { requester: "urn:tillward:principal:another".to_owned(), ..plan() },
    ] {
        let changed = Approved { plan: other.to_bytes(), approvals: signed.approvals.clone() };
        assert_eq!(outcome(&changed), bad_signature(0), "{other:?}");
    }
}

#[test]
fn an_expired_plan_is_refused_and_one_from_the_future_too() {
    let signed = approved(&plan());
    assert!(verify(&signed, &roster(), plan().expires - 1).is_ok());
    assert_eq!(verify(&signed, &roster(), plan().expires), Err(ApprovalError::Expired));
    assert_eq!(verify(&signed, &roster(), i64::MAX), Err(ApprovalError::Expired));
    assert!(verify(&signed, &roster(), plan().created - CLOCKS).is_ok());
    assert_eq!(verify(&signed, &roster(), plan().created - CLOCKS - 1), Err(ApprovalError::Expired));
    assert_eq!(verify(&signed, &roster(), i64::MIN), Err(ApprovalError::Expired));
}

#[test]
fn a_repeated_signature_is_refused() {
    let hash = plan().hash();
    let one = sign(&hash, 0, 1);
    let twice = Approved { plan: plan().to_bytes(), approvals: vec![one.clone(), one] };
    assert_eq!(outcome(&twice), Err(ApprovalError::Twice(NAMES[0].to_owned())));
}

#[test]
fn the_mirrored_signature_of_an_officer_is_no_second_approval() {
    // (r, n − s) verifies wherever (r, s) does (SEC 1 §4.1.4): what is counted is officers, not signatures.
    let hash = plan().hash();
    let one = sign(&hash, 0, 1);
    let signature = Signature::from_slice(&one.signature).expect("a signature");
    let mirrored = Signature::from_scalars(signature.r().to_bytes(), (-*signature.s()).to_bytes()).expect("a signature");
    assert_ne!(signature, mirrored);
    let mirrored = Approval { officer: one.officer.clone(), signature: mirrored.to_bytes().to_vec() };
    assert_eq!(verify_one(&plan(), &mirrored, &roster()), Ok(()), "other signers make it half of the time");
    let both = Approved { plan: plan().to_bytes(), approvals: vec![one, mirrored.clone()] };
    assert_eq!(outcome(&both), Err(ApprovalError::Twice(NAMES[0].to_owned())));
    let under_another_name = Approval { officer: NAMES[1].to_owned(), ..mirrored };
    let both = Approved { plan: plan().to_bytes(), approvals: vec![sign(&hash, 0, 1), under_another_name] };
    assert_eq!(outcome(&both), bad_signature(1));
}

#[test]
fn the_requester_cannot_approve_although_it_is_an_officer() {
    let own = Plan { requester: NAMES[1].to_owned(), ..plan() };
    assert_eq!(outcome(&approved(&own)), Err(ApprovalError::OwnRequest));
    assert_eq!(roster().who_can_approve(NAMES[1]), 2);
}

#[test]
fn a_foreign_officer_is_refused_and_spoils_the_rest() {
    let hash = plan().hash();
    let mut signed = approved(&plan());
    let signature: Signature = key(9).sign_prehash(&hash).expect("signs");
    let foreign = "urn:tillward:principal:stranger".to_owned();
    signed.approvals.push(Approval { officer: foreign.clone(), signature: signature.to_bytes().to_vec() });
    assert_eq!(outcome(&signed), Err(ApprovalError::Foreign(foreign)));
    assert!(matches!(verify(&approved(&plan()), &Roster::default(), plan().created), Err(ApprovalError::Foreign(_))));
}

#[test]
fn a_signature_by_the_key_of_another_officer_is_refused() {
    let hash = plan().hash();
    let signed = Approved { plan: plan().to_bytes(), approvals: vec![sign(&hash, 0, 1), sign(&hash, 1, 1)] };
    assert_eq!(outcome(&signed), bad_signature(1));
}

#[test]
fn a_signature_over_other_bytes_is_refused() {
    let text: [u8; 32] = Sha256::digest(b"tillward-plan 1\n").into();
    for hash in [[0; 32], [0xff; 32], text, Plan { id: [8; 16], ..plan() }.hash()] {
        let signed = Approved { plan: plan().to_bytes(), approvals: vec![sign(&plan().hash(), 0, 1), sign(&hash, 1, 2)] };
        assert_eq!(outcome(&signed), bad_signature(1));
    }
}

#[test]
fn a_truncated_longer_or_empty_signature_is_refused() {
    let good = sign(&plan().hash(), 1, 2).signature;
    let longer: Vec<u8> = good.iter().copied().chain([0]).collect();
    for signature in [&good[..63], &good[..32], &[][..], &longer[..], &[0; 64][..], &[0xff; 64][..]] {
        let mut signed = approved(&plan());
        signed.approvals[1].signature = signature.to_vec();
        assert_eq!(outcome(&signed), bad_signature(1), "{} bytes", signature.len());
    }
}

#[test]
fn too_few_and_too_many_approvals_are_refused() {
    let mut signed = approved(&plan());
    signed.approvals.pop();
    assert_eq!(outcome(&signed), Err(ApprovalError::TooFew { have: 1, need: 2 }));
    signed.approvals.clear();
    assert_eq!(outcome(&signed), Err(ApprovalError::TooFew { have: 0, need: 2 }));
    let three = Plan { quorum: 3, ..plan() };
    assert_eq!(outcome(&approved(&three)), Err(ApprovalError::TooFew { have: 2, need: 3 }));
    signed.approvals = vec![sign(&plan().hash(), 0, 1); MOST + 1];
    assert_eq!(outcome(&signed), Err(ApprovalError::TooMany));
}

#[test]
fn a_quorum_of_one_none_or_missing_is_no_plan() {
    let text = String::from_utf8(plan().to_bytes()).expect("text");
    for bad in [
        text.replace("quorum 2", "quorum 0"),
        text.replace("quorum 2", "quorum 1"),
        text.replace("quorum 2", "quorum 9"),
        text.replace("quorum 2\n", ""),
    ] {
        let hash = Sha256::digest(bad.as_bytes()).into();
        let signed = Approved { plan: bad.into_bytes(), approvals: vec![sign(&hash, 0, 1), sign(&hash, 1, 2)] };
        assert!(matches!(outcome(&signed), Err(ApprovalError::Plan(_))));
    }
}

fn problem(text: &str) -> Option<(usize, &'static str)> {
    Roster::parse(text).err().map(|error| (error.line, error.problem))
}

#[test]
fn a_roster_is_read_with_its_comments() {
    let text = format!("# officers\n\n  {}{}", line(NAMES[0], &key(1)), line(NAMES[1], &key(2)));
    let roster = Roster::parse(&text).expect("a roster");
    assert_eq!(roster.officers().collect::<Vec<_>>(), &NAMES[..2]);
    assert_eq!(roster.key(NAMES[1]), Some(key(2).verifying_key()));
    assert_eq!(roster.key(NAMES[2]), None);
    let again = VerifyingKey::from_public_key_der(&roster.spki(NAMES[0]).expect("an officer")).expect("DER");
    assert_eq!(&again, key(1).verifying_key());
}

#[test]
fn the_same_key_under_two_names_is_refused_in_every_encoding() {
    let twice = format!("{}{}", line(NAMES[0], &key(1)), line(NAMES[1], &key(1)));
    assert_eq!(problem(&twice), Some((2, "the key is another officer's")));
    // SubjectPublicKeyInfo with the compressed point: other bytes, the same key.
    let point = key(1).verifying_key().to_sec1_point(true);
    let mut der = data_encoding::HEXLOWER.decode(b"3039301306072a8648ce3d020106082a8648ce3d030107032200").expect("hex");
    der.extend_from_slice(point.as_bytes());
    let compressed = format!("{} {}\n", NAMES[1], data_encoding::BASE64.encode(&der));
    assert!(Roster::parse(&compressed).is_ok(), "an encoding of its own");
    assert_eq!(problem(&format!("{}{compressed}", line(NAMES[0], &key(1)))), Some((2, "the key is another officer's")));
}

#[test]
fn a_line_that_is_not_an_officer_is_named() {
    let good = line(NAMES[0], &key(1));
    let again = line(NAMES[0], &key(2));
    assert_eq!(problem(&format!("{good}\n{again}")), Some((3, "the officer stands in the file already")));
    assert_eq!(problem(NAMES[0]), Some((1, "a URI, a blank, a public key")));
    assert_eq!(problem(&format!("{} ***", NAMES[0])), Some((1, "the key is not base64")));
    assert_eq!(problem(&format!("{} AAAA", NAMES[0])), Some((1, "the key is not EC P-256")));
    assert_eq!(problem(&good.replace("urn:", "")).map(|(line, _)| line), None, "any scheme");
    assert_eq!(problem(&good.replace(NAMES[0], "officer")), Some((1, "the URI is not one")));
    assert_eq!(problem(&good.replace(NAMES[0], &"u:".repeat(200))), Some((1, "the URI is not one")));
}

#[test]
fn a_key_on_another_curve_is_refused() {
    // RFC 5480: a P-384 and an Ed25519 key (RFC 8410).
    for spki in [
        "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEqofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3NhfeSpYmLG9dnpi/kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
        "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    ] {
        assert_eq!(problem(&format!("{} {spki}", NAMES[0])), Some((1, "the key is not EC P-256")));
    }
}

proptest! {
    #[test]
    fn one_changed_byte_anywhere_spoils_it(at in 0_usize..1000, flip in 1_u8..=255) {
        let mut signed = approved(&plan());
        let mut parts: Vec<&mut u8> = signed.plan.iter_mut().collect();
        let length = parts.len();
        if at < length {
            *parts[at] ^= flip;
        } else {
            let at = at - length;
            signed.approvals[at % 2].signature[at / 2 % 64] ^= flip;
        }
        prop_assert!(outcome(&signed).is_err());
    }

    #[test]
    fn no_roster_panics(text in "(urn:a |# |[a-z: ]{0,9})[A-Za-z0-9+/=\n ]{0,120}") {
        let _ = Roster::parse(&text);
    }

    #[test]
    fn only_who_is_counted_approves(officers in proptest::collection::vec((0_usize..3, 1_u8..4), 0..5)) {
        let hash = plan().hash();
        let approvals: Vec<_> = officers.iter().map(|(officer, seed)| sign(&hash, *officer, *seed)).collect();
        let honest = officers.iter().all(|(officer, seed)| officer + 1 == usize::from(*seed));
        let different = officers.iter().map(|(officer, _)| officer).collect::<BTreeSet<_>>().len();
        let good = honest && different == officers.len() && different >= 2;
        prop_assert_eq!(outcome(&Approved { plan: plan().to_bytes(), approvals }).is_ok(), good);
    }
}
