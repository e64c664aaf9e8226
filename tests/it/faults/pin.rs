//! The PIN: one login owner, one attempt, and none that could lock the token.

use tillward_hsm::{Hsm, HsmConfig, HsmError, Outage};

use super::{Faulty, recovered};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_tried_exactly_once_whoever_asks_and_however_often() {
    let faulty = Faulty::new().await;
    faulty.script("pin-tries 3");
    faulty.token.write_pin("pin", "not-the-pin");
    let before = faulty_calls(&faulty).await;
    let hsm = Hsm::start_for_diagnosis(HsmConfig { workers: 8, ..faulty.config() }).await.expect("answers");
    for _ in 0..50 {
        hsm.random(1).await.expect_err("no login");
        assert!(!hsm.status().await.expect("status").is_ready());
    }
    let problem = hsm.status().await.expect("status").problems().next().cloned().expect("a problem");
    assert_eq!((problem.name.as_str(), problem.code.as_deref()), ("pin", Some("CKR_PIN_INCORRECT")));
    assert!(problem.hint.contains("exactly one login was tried"), "{problem}");
    assert_eq!(faulty.calls("C_Login"), before + 1, "the token counts one");
    faulty.token.write_pin("pin", "user-pin-4711");
    recovered(&hsm).await;
    assert_eq!(faulty.calls("C_Login"), before + 2);
    hsm.shutdown().await;
}

/// Makes the state, and counts the login of a host that works.
async fn faulty_calls(faulty: &Faulty) -> u64 {
    faulty.token.write_pin("pin", "user-pin-4711");
    let hsm = faulty.start().await;
    hsm.shutdown().await;
    faulty.token.write_pin("pin", "not-the-pin");
    faulty.calls("C_Login")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_try_is_never_made() {
    let faulty = Faulty::new().await;
    faulty.script("pin-tries 3");
    for wrong in ["wrong-1", "wrong-2"] {
        faulty.token.write_pin("pin", wrong);
        let error = Hsm::start(faulty.config()).await.expect_err("no login");
        assert!(matches!(error, HsmError::Unavailable(Outage::NotReady(_))), "{error}");
    }
    assert_eq!(faulty.calls("C_Login"), 2);
    // Right or wrong: the host cannot know, and the operator can.
    faulty.token.write_pin("pin", "user-pin-4711");
    let error = Hsm::start(faulty.config()).await.expect_err("no login is tried");
    assert_eq!(faulty.calls("C_Login"), 2);
    assert!(error.to_string().contains("one wrong PIN more locks the token"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_login_is_made_once_for_all_workers() {
    let faulty = Faulty::new().await;
    let hsm = Hsm::start(HsmConfig { workers: 8, ..faulty.config() }).await.expect("ready");
    let logins = faulty.calls("C_Login");
    faulty.script("C_SignInit next 1 shared drop-login");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let hsm = hsm.clone();
        calls.spawn(async move { super::sign(&hsm).await });
    }
    for outcome in calls.join_all().await {
        outcome.expect("signed, after the login");
    }
    let made = faulty.calls("C_Login") - logins;
    assert!((1..=2).contains(&made), "{made} logins for one that was lost");
    hsm.shutdown().await;
}
