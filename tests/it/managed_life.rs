//! Managed keys, over each of the modules: several hosts, and the end of a key.

use std::time::Duration;

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;
use tillward_hsm::error::Fault;
use tillward_hsm::{Approval, Approved, Deed, Hsm, HsmConfig, KeyAlgorithm, KeyRef, Plan, Purpose, Refusal, SignatureScheme};

use super::MODULE;
use super::managed::{key, make, recoveries, refusal};
use crate::token::Token;

const OFFICERS: [(&str, u8); 3] = [("urn:tillward:o:anna", 1), ("urn:tillward:o:bert", 2), ("urn:tillward:o:cleo", 3)];

fn officer(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).expect("a scalar")
}

/// Writes the officers' file.
fn roster(token: &Token, officers: &[(&str, u8)]) {
    let line = |(name, number): &(&str, u8)| {
        let der = officer(*number).verifying_key().to_public_key_der().expect("DER");
        format!("{name} {}\n", data_encoding::BASE64.encode(der.as_bytes()))
    };
    std::fs::write(token.path("officers"), officers.iter().map(line).collect::<String>()).expect("written");
}

async fn host(token: &Token) -> Hsm {
    let config = HsmConfig { officers: Some(token.path("officers")), ..token.config() };
    Hsm::start(config).await.expect("the host is ready")
}

fn plan(deed: Deed, requester: &str) -> Plan {
    let now = tillward::clock::Clock::system().now().0;
    Plan { id: [5; 16], requester: requester.to_owned(), created: now, expires: now + 3600, quorum: 2, deed }
}

fn approved(plan: &Plan, by: &[(&str, u8)]) -> Approved {
    let approve = |(name, number): &(&str, u8)| {
        let signature: Signature = officer(*number).sign_prehash(&plan.hash()).expect("signs");
        Approval { officer: (*name).to_owned(), signature: signature.to_vec() }
    };
    Approved { plan: plan.to_bytes(), approvals: by.iter().map(approve).collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_quorum_of_the_officers_of_today_destroys_a_key_and_only_the_one_that_they_named() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    roster(&token, &OFFICERS);
    let (hsm, without) = (host(&token).await, token.start().await);
    let (doomed, other) = (key("doomed", Purpose::Sign, KeyAlgorithm::EcP256), key("other", Purpose::Sign, KeyAlgorithm::EcP256));
    for key in [&doomed, &other] {
        make(&hsm, key).await;
    }
    let destroy = |key: &KeyRef| plan(Deed::DestroyKey(key.clone()), "urn:tillward:o:olaf");
    let two = &OFFICERS[..2];
    let good = approved(&destroy(&doomed), two);
    let expired = Plan { created: 1000, expires: 2000, ..destroy(&doomed) };
    let mut changed = good.clone();
    changed.plan = String::from_utf8(changed.plan).expect("text").replace("key doomed", "key other").into_bytes();
    let single = String::from_utf8(destroy(&doomed).to_bytes()).expect("text").replace("quorum 2", "quorum 1").into_bytes();
    let next = KeyRef { version: 2, ..doomed.clone() };
    for (name, key, plan) in [
        ("another key's plan", &other, good.clone()),
        ("another version's plan", &next, good.clone()),
        ("a changed plan", &other, changed),
        ("another deed", &doomed, approved(&plan(Deed::ReportCompromise(doomed.clone()), "urn:tillward:o:olaf"), two)),
        ("no approval", &doomed, approved(&destroy(&doomed), &[])),
        ("one approval", &doomed, approved(&destroy(&doomed), &two[..1])),
        ("one officer twice", &doomed, approved(&destroy(&doomed), &[two[0], two[0]])),
        ("the requester's own", &doomed, approved(&plan(Deed::DestroyKey(doomed.clone()), two[0].0), two)),
        ("a foreign officer", &doomed, approved(&destroy(&doomed), &[two[0], ("urn:tillward:o:eve", 9)])),
        ("a foreign key", &doomed, approved(&destroy(&doomed), &[two[0], (two[1].0, 9)])),
        ("an expired plan", &doomed, approved(&expired, two)),
        ("a quorum of one", &doomed, Approved { plan: single, ..approved(&destroy(&doomed), &two[..1]) }),
        ("no plan", &doomed, Approved { plan: Vec::new(), approvals: Vec::new() }),
    ] {
        let refused = refusal(hsm.destroy_key(key, &plan).await);
        assert!(matches!(refused, Refusal::NotApproved { .. }), "{name}: {refused:?}");
    }
    assert!(matches!(refusal(without.destroy_key(&doomed, &good).await), Refusal::NotApproved { .. }), "a host without officers");
    roster(&token, &OFFICERS[1..]);
    assert!(matches!(refusal(hsm.destroy_key(&doomed, &good).await), Refusal::NotApproved { .. }), "an officer left");
    roster(&token, &OFFICERS);
    hsm.read_key(&doomed).await.expect("is there still");

    hsm.destroy_key(&doomed, &good).await.expect("destroys");
    hsm.destroy_key(&doomed, &good).await.expect("is done already");
    assert!(matches!(refusal(hsm.read_key(&doomed).await), Refusal::UnknownKey { .. }));
    hsm.read_key(&other).await.expect("nobody named it");
    assert!(hsm.inventory().await.expect("inventory").iter().all(|key| key.label != doomed.label()), "neither half is left");
    hsm.shutdown().await;
    without.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_know_each_others_keys_and_a_key_that_one_destroys_is_unknown_to_the_other_which_goes_on() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    roster(&token, &OFFICERS);
    let (one, other) = (host(&token).await, host(&token).await);
    let keys = [
        key("pair", Purpose::Sign, KeyAlgorithm::EcP256),
        key("mac", Purpose::Mac, KeyAlgorithm::Aes256),
        key("seal", Purpose::Encrypt, KeyAlgorithm::Aes256),
        key("wrap", Purpose::Wrap, KeyAlgorithm::Aes256),
    ];
    let used = async |hsm: &Hsm, key: &KeyRef| match key.purpose {
        Purpose::Sign => hsm.key_sign(key, SignatureScheme::Es256, vec![7; 32]).await.map(drop),
        Purpose::Mac => hsm.key_mac(key, b"one".to_vec()).await.map(drop),
        Purpose::Encrypt => hsm.key_encrypt(key, Vec::new(), b"one").await.map(drop),
        _ => hsm.key_wrap(key, &[1; 16]).await.map(drop),
    };
    for key in &keys {
        make(&one, key).await;
        used(&other, key).await.expect("the other host finds it");
    }
    let mac = one.key_mac(&keys[1], b"message".to_vec()).await.expect("a MAC");
    other.key_verify_mac(&keys[1], b"message".to_vec(), mac).await.expect("it is the same key");

    let before = (recoveries(&other).await, other.status().await.expect("status").generation);
    for key in &keys {
        let destroyed = approved(&plan(Deed::DestroyKey(key.clone()), "urn:tillward:o:olaf"), &OFFICERS[1..]);
        one.destroy_key(key, &destroyed).await.expect("destroys");
        let gone = used(&other, key).await;
        assert_eq!(gone.as_ref().expect_err("destroyed").fault(), Fault::Caller, "it opens no breaker: {gone:?}");
        assert!(matches!(refusal(gone), Refusal::UnknownKey { .. }), "{}", key.label());
        assert!(matches!(refusal(used(&one, key).await), Refusal::UnknownKey { .. }), "{}", key.label());
        let read = refusal(other.read_key(key).await);
        assert!(matches!(read, Refusal::UnknownKey { .. }), "{}: {read:?}", key.label());
    }
    assert_eq!((recoveries(&other).await, other.status().await.expect("status").generation), before);
    other.canary().await.expect("sings");
    assert!(other.is_ready());
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_hundreds_of_keys_that_are_not_there_does_not_stop_the_others() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = Hsm::start(HsmConfig { workers: 2, queue: 1024, ..token.config() }).await.expect("ready");
    let known = key("known", Purpose::Mac, KeyAlgorithm::Aes256);
    make(&hsm, &known).await;
    let before = recoveries(&hsm).await;
    let strangers: Vec<_> = (0..300)
        .map(|number| {
            let (hsm, key) = (hsm.clone(), key(&format!("stranger-{number}"), Purpose::Mac, KeyAlgorithm::Aes256));
            tokio::spawn(async move { refusal(hsm.key_mac(&key, b"one".to_vec()).await) })
        })
        .collect();
    for _ in 0..50 {
        let mac = tokio::time::timeout(Duration::from_secs(10), hsm.key_mac(&known, b"one".to_vec()));
        mac.await.expect("in time").expect("a MAC");
    }
    for stranger in strangers {
        let refused = stranger.await.expect("joins");
        assert!(matches!(refused, Refusal::UnknownKey { .. } | Refusal::Busy), "{refused:?}");
    }
    assert_eq!(recoveries(&hsm).await.get("re-initialise"), before.get("re-initialise"));
    assert_eq!(recoveries(&hsm).await.get("find-again"), before.get("find-again"));
    hsm.canary().await.expect("sings");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_of_a_service_that_make_the_same_key_at_once_leave_one_key() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = Hsm::start(HsmConfig { hosts: 2, ..token.config() }).await.expect("ready");
    for number in 0..8 {
        let key = key(&format!("race-{number}"), Purpose::Sign, KeyAlgorithm::EcP256);
        let (one, other) = tokio::join!(hsm.generate_key(&key, false), hsm.generate_key(&key, false));
        let (one, other) = (one.expect("makes or finds it"), other.expect("makes or finds it"));
        assert_eq!(one.record.fingerprint, other.record.fingerprint);
        assert!(one.record.created != other.record.created, "one of them made it");
        let uses: Vec<_> = (0..8)
            .map(|_| {
                let (hsm, key) = (hsm.clone(), key.clone());
                tokio::spawn(async move { hsm.key_sign(&key, SignatureScheme::Es256, vec![7; 32]).await })
            })
            .collect();
        for used in uses {
            used.await.expect("joins").expect("both hosts sign with it");
        }
    }
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_full_gets_no_key_and_the_host_works_on() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    let used = hsm.status().await.expect("status").objects.used;
    hsm.shutdown().await;
    let hsm = Hsm::start(HsmConfig { objects: Some(used + 1), ..token.config() }).await.expect("ready");
    let pair = key("pair", Purpose::Sign, KeyAlgorithm::EcP256);
    for _ in 0..20 {
        let refused = hsm.generate_key(&pair, false).await;
        assert_eq!(refused.as_ref().expect_err("two objects").fault(), Fault::Caller, "it opens no breaker");
        assert_eq!(refusal(refused), Refusal::ObjectBudget { used, most: used + 1 });
    }
    let secret = key("secret", Purpose::Mac, KeyAlgorithm::Aes256);
    make(&hsm, &secret).await;
    assert!(!hsm.generate_key(&secret, false).await.expect("is there").record.created, "what is there is told of, full or not");
    let full = refusal(hsm.generate_key(&key("more", Purpose::Mac, KeyAlgorithm::Aes256), false).await);
    assert!(matches!(full, Refusal::ObjectBudget { .. }), "{full:?}");
    hsm.canary().await.expect("sings");
    hsm.shutdown().await;
}
