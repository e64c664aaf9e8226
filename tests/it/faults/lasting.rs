//! Faults that stay until something is done about them, or until they end.

use tillward_hsm::HsmError;

use super::{Faulty, recovered, sign};

/// The host gets over it without the call noticing, and does no more than it has to.
async fn got_over(script: &str, action: &str) {
    let faulty = Faulty::new().await;
    let hsm = faulty.start().await;
    let before = hsm.status().await.expect("status");
    faulty.script(script);
    sign(&hsm).await.unwrap_or_else(|error| panic!("{script}: {error}"));
    let after = recovered(&hsm).await;
    let times = |status: &tillward_hsm::HostStatus| status.recoveries.get(action).copied().unwrap_or(0);
    assert!(times(&after) > times(&before), "{script}: {:?}", after.recoveries);
    assert_eq!(after.pid, before.pid, "{script}");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_sessions_are_opened_again() {
    got_over("C_SignInit next 1 shared close-session", "reopen-sessions").await;
    got_over("C_SignInit next 1 shared close-sessions", "log-in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_login_is_made_again() {
    got_over("C_SignInit next 1 shared drop-login", "log-in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_handles_are_found_again() {
    got_over("C_SignInit next 1 shared stale-objects", "find-again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_to_other_slots_and_handles_is_followed() {
    got_over("C_SignInit next 1 shared change-slots\nC_SignInit next 1 shared close-sessions", "re-initialise").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_lost_its_state_or_its_device_is_initialised_anew() {
    got_over("C_SignInit next 1 shared lose-init", "re-initialise").await;
    got_over("C_SignInit next 1 shared break-device", "re-initialise").await;
    got_over("C_SignInit next 1 shared break-device CKR_GENERAL_ERROR", "re-initialise").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_pulled_out_and_put_back_is_found_by_the_same_host() {
    let faulty = Faulty::new().await;
    let hsm = faulty.start().await;
    let before = hsm.status().await.expect("status");
    faulty.script("* remove-token");
    let error = sign(&hsm).await.expect_err("there is no token");
    assert_eq!(error.fault(), tillward_hsm::error::Fault::Hsm, "{error}");
    let refused = sign(&hsm).await.expect_err("and none comes");
    assert!(matches!(refused, HsmError::Refused(_) | HsmError::Unavailable(_)), "{refused}");
    faulty.script("");
    assert_eq!(recovered(&hsm).await.pid, before.pid);
    sign(&hsm).await.expect("signs");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_returns_or_kills_the_process_costs_the_host() {
    let faulty = Faulty::new().await;
    let hsm = faulty.start().await;
    for fault in ["hang", "abort", "segfault"] {
        let before = recovered(&hsm).await.pid;
        faulty.script(&format!("C_Sign next 1 shared {fault}\n# {fault}"));
        // Answered by the next host, or refused in time.
        match sign(&hsm).await {
            Ok(()) => {}
            Err(error) => assert_eq!(error.fault(), tillward_hsm::error::Fault::Hsm, "{fault}: {error}"),
        }
        faulty.script("");
        assert_ne!(recovered(&hsm).await.pid, before, "{fault}");
    }
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_budget_is_kept_and_shown() {
    let token = crate::token::Token::empty(crate::token::Module::SoftHsm).expect("SoftHSM is installed");
    let hsm =
        tillward_hsm::Hsm::start(tillward_hsm::HsmConfig { ceremony: true, objects: Some(5), ..token.config() }).await.expect("answers");
    hsm.init_token(&token.path("so-pin")).await.expect("initialises");
    let refused = hsm.create_keys(crate::token::Token::spec()).await.expect_err("more than five");
    assert_eq!(refused, HsmError::Refused(tillward_hsm::Refusal::ObjectBudget { used: 0, most: 5 }));
    let status = hsm.status().await.expect("status");
    assert_eq!((status.objects.used, status.objects.most), (0, Some(5)));
    hsm.shutdown().await;
}
