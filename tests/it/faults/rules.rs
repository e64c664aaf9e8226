//! Every line of the failure table, at the functions a signature and a phone's MAC go through.

use tillward_hsm::rules::{self, Action};
use tillward_hsm::{Hsm, HsmConfig, HsmError, KeyBlock, Refusal};

use super::{Faulty, recovered, sign};
use crate::software::Phone;

struct Scene {
    faulty: Faulty,
    hsm: Hsm,
    phone: Phone,
    block: KeyBlock,
}

impl Scene {
    async fn set() -> Self {
        let faulty = Faulty::new().await;
        let hsm = faulty.start().await;
        let phone = Phone::new(tillward_hsm::Ikid::new(crate::token::ACME.1, tillward_hsm::DerivationId(7)));
        let block = crate::softhsm::hsm::enrol(&hsm, &phone).await;
        Self { faulty, hsm, phone, block }
    }

    async fn verify_mac(&self) -> Result<(), HsmError> {
        let message = [9; 32];
        self.hsm.verify_device_mac(&self.block, self.phone.ikid, &message, &self.phone.mac(&message)).await
    }
}

/// What may come of one failure that is over at once.
fn expected(action: Action, outcome: &Result<(), HsmError>) -> bool {
    match outcome {
        // Nothing was done where the host pushes back, so the client asks again.
        Ok(()) => !matches!(action, Action::Fail | Action::AskOperator),
        Err(HsmError::Refused(Refusal::Busy)) => action == Action::PushBack,
        Err(HsmError::Refused(Refusal::Token { .. })) => matches!(action, Action::Fail | Action::AskOperator),
        // A host that ends takes its calls with it, unless they can be asked again.
        Err(HsmError::Unavailable(_)) => action == Action::Restart,
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_of_every_kind_costs_at_most_the_call_that_met_it() {
    let scene = Scene::set().await;
    let mut met = 0;
    for rule in rules::RULES {
        for function in ["C_SignInit", "C_Sign"] {
            if !rule.from.is_empty() && !rule.from.contains(&function) {
                continue;
            }
            let first = rules::rule(rule.code, function);
            scene.faulty.script(&format!("{function} next 1 shared return {}\n# {} {function}", rule.code, rule.code));
            let outcome = sign(&scene.hsm).await;
            assert!(expected(first.action, &outcome), "{} from {function} ({:?}): {outcome:?}", rule.code, first.action);
            scene.faulty.script("");
            recovered(&scene.hsm).await;
            met += 1;
        }
    }
    assert!(met > 150, "{met}");
    scene.hsm.shutdown().await;
}

/// These say that the phone's data is bad, so they are the phone's fault whoever says them.
const PHONES: [&str; 2] = ["CKR_SIGNATURE_INVALID", "CKR_SIGNATURE_LEN_RANGE"];

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_the_middle_of_a_derivation_leaves_nothing_half_done() {
    let scene = Scene::set().await;
    for rule in rules::RULES.iter().filter(|rule| rule.from.is_empty()) {
        for function in ["C_UnwrapKey", "C_DeriveKey", "C_Verify"] {
            let first = rules::rule(rule.code, function);
            scene.faulty.script(&format!("{function} next 1 shared return {}\n# {} {function}", rule.code, rule.code));
            let outcome = scene.verify_mac().await;
            if function == "C_Verify" && PHONES.contains(&rule.code) {
                assert!(matches!(outcome, Err(HsmError::Refused(Refusal::KeyBlockRefused))), "{outcome:?}");
            } else {
                assert!(expected(first.action, &outcome), "{} from {function} ({:?}): {outcome:?}", rule.code, first.action);
            }
            scene.faulty.script("");
            recovered(&scene.hsm).await;
            scene.verify_mac().await.expect("verifies again");
        }
    }
    scene.hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_blob_that_the_token_answers_vaguely_does_not_touch_the_token() {
    let scene = Scene::set().await;
    let before = scene.hsm.status().await.expect("status");
    // SoftHSM answers CKR_GENERAL_ERROR to a tampered RSA ciphertext.
    let mut enrolment = crate::softhsm::hsm::enrolment(&scene.hsm, &scene.phone).await;
    enrolment.wrapped_secret[100] ^= 1;
    for _ in 0..10 {
        let refused = scene.hsm.open_enrolment(enrolment.clone()).await.expect_err("bad");
        assert!(matches!(refused, HsmError::Refused(Refusal::UnwrapFailed)), "{refused}");
    }
    // A good one that met such an answer once is not blamed for it.
    scene.faulty.script("C_UnwrapKey next 1 shared return CKR_FUNCTION_FAILED");
    let good = crate::softhsm::hsm::enrolment(&scene.hsm, &scene.phone).await;
    scene.hsm.open_enrolment(good).await.expect("opened at the second try");
    scene.faulty.script("");
    let after = scene.hsm.status().await.expect("status");
    assert_eq!((after.generation, after.pid), (before.generation, before.pid));
    assert_eq!(after.recoveries.get("re-initialise"), before.recoveries.get("re-initialise"));
    scene.hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_the_token_is_not_repeated_once_it_has_begun() {
    let scene = Scene::set().await;
    let mark = scene.hsm.derivation_mark("acme").await.expect("reads").unwrap_or(0);
    scene.faulty.script("C_CreateObject next 1 shared after return CKR_SESSION_HANDLE_INVALID");
    let created = scene.faulty.calls("C_CreateObject");
    scene.hsm.reserve_derivation_ids("acme", mark, 16).await.expect_err("it is not known whether it was done");
    assert_eq!(scene.faulty.calls("C_CreateObject"), created + 1);
    scene.faulty.script("");
    recovered(&scene.hsm).await;
    // It was done, as the token tells whoever asks again with the old mark.
    let again = scene.hsm.reserve_derivation_ids("acme", mark, 16).await.expect_err("done");
    assert_eq!(again, HsmError::Refused(Refusal::MarkAhead { token_mark: mark + 16 }));
    scene.hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_does_not_verify_never_leaves_the_host() {
    let scene = Scene::set().await;
    scene.faulty.script("C_Sign next 1 shared output corrupt");
    sign(&scene.hsm).await.expect("an accident happens once: the second signature is sound");
    scene.faulty.script("C_Sign output corrupt");
    let refused = sign(&scene.hsm).await.expect_err("none is sound");
    assert!(matches!(refused, HsmError::Refused(_)), "{refused}");
    scene.faulty.script("");
    recovered(&scene.hsm).await;
    let code = scene.hsm.activation_mac(b"code").await.expect("a MAC");
    scene.faulty.script("C_Sign next 1 shared output corrupt");
    assert_eq!(scene.hsm.activation_mac(b"code").await.expect("computed again"), code);
    scene.faulty.script("");
    scene.hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_workers_share_the_sixteen_sessions_of_a_small_token() {
    let faulty = Faulty::new().await;
    faulty.script("limit sessions 16");
    let hsm = Hsm::start(HsmConfig { workers: 200, queue: 1000, ..faulty.config() }).await.expect("ready");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let hsm = hsm.clone();
        calls.spawn(async move { sign(&hsm).await });
    }
    for outcome in calls.join_all().await {
        outcome.expect("slower, but signed");
    }
    let status = hsm.status().await.expect("status");
    assert!(status.sessions.used <= 16, "{:?}", status.sessions);
    assert_eq!(status.sessions.token, Some(16), "the limit is shown: {:?}", status.sessions);
    assert_eq!(status.sessions.most, Some(201));
    hsm.shutdown().await;
}
