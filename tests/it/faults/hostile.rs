//! What a hostile reader found: waits that were taken for hangs, hangs that nobody watched, logins that would have locked a token, and another
//! token under the same label.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tillward_hsm::{Hsm, HsmConfig, Identity, PublicKeyOf, SigningKey};
use tokio::process::{Child, Command};

use super::{Faulty, recovered, sign};

/// A host of its own, behind a socket.
struct Listening {
    child: Child,
    socket: PathBuf,
}

impl Listening {
    async fn start(faulty: &Faulty, arguments: &[&str]) -> (Self, Hsm) {
        let socket = faulty.token.path("hsm.sock");
        let config = faulty.config();
        let child = Command::new(&config.executable)
            .arg("hsm-host")
            .args(arguments)
            .arg("--listen")
            .arg(&socket)
            .arg(config.uri.to_string())
            .env_clear()
            .envs(&config.environment)
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let host = Self { child, socket };
        let hsm = until("it listens", async || Hsm::attach(faulty.config(), host.socket.clone()).await.ok()).await;
        (host, hsm)
    }
}

/// Asks until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asked).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

fn pids(hsm: &Hsm) -> Vec<Option<u32>> {
    hsm.view().hosts.iter().map(|host| host.pid).collect()
}

async fn all_serve(hsm: &Hsm) {
    until("every host serves", async || hsm.view().hosts.iter().all(|host| host.state == "serving").then_some(())).await;
}

/// So many signatures at once; every one of them is given.
async fn storm(hsm: &Hsm, number: usize) {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..number {
        let hsm = hsm.clone();
        calls.spawn(async move { hsm.sign(SigningKey::Attestation, &[0x17; 32]).await });
    }
    for outcome in calls.join_all().await {
        outcome.expect("signed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_session_is_not_taken_for_stuck() {
    let faulty = Faulty::new().await;
    let hsm = Hsm::start(HsmConfig { workers: 16, sessions: 2, ..faulty.config() }).await.expect("ready");
    let before = pids(&hsm);
    faulty.script("C_Sign delay 250ms");
    storm(&hsm, 16).await;
    assert_eq!(pids(&hsm), before, "the host was replaced");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_of_many_slow_calls_is_not_taken_for_stuck() {
    let faulty = Faulty::new().await;
    let hsm = faulty.start().await;
    let before = pids(&hsm);
    faulty.script("C_GetAttributeValue delay 5ms");
    assert!(hsm.inventory().await.expect("an inventory").len() > 5);
    assert_eq!(pids(&hsm), before, "the host was replaced");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_session_hears_that_none_could_be_opened() {
    let faulty = Faulty::new().await;
    let hsm = Hsm::start(HsmConfig { workers: 8, sessions: 2, ..faulty.config() }).await.expect("ready");
    let before = pids(&hsm);
    // All eight want the one session that may be lent, and the first of them opens it.
    faulty.script("C_OpenSession next 1 shared delay 200ms\nC_OpenSession next 1 shared return CKR_FUNCTION_NOT_SUPPORTED");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let hsm = hsm.clone();
        calls.spawn(async move { hsm.sign(SigningKey::Attestation, &[0x17; 32]).await });
    }
    let began = Instant::now();
    let signed = calls.join_all().await.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(signed, 7, "one heard that its session could not be opened");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(pids(&hsm), before, "the host was replaced");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_needs_long_to_begin_is_waited_for() {
    let faulty = Faulty::new().await;
    faulty.script("C_Initialize delay 13s");
    let hsm = Hsm::open(faulty.config());
    tokio::time::timeout(Duration::from_mins(1), hsm.ready()).await.expect("serves");
    assert_eq!(hsm.view().hosts[0].launches, 1, "it was killed while it began");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_never_returns_ends_the_host() {
    let faulty = Faulty::new().await;
    let (mut host, hsm) = Listening::start(&faulty, &["--stuck-ms", "300"]).await;
    faulty.script("C_SignInit next 1 shared drop-login\nC_Login hang");
    sign(&hsm).await.expect_err("no login");
    tokio::time::timeout(Duration::from_secs(20), host.child.wait()).await.expect("it ends in time").expect("ended");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_was_changed_on_the_token_is_tried_once_by_all_hosts_together() {
    let faulty = Faulty::new().await;
    let hsm = Hsm::start(HsmConfig { hosts: 4, ..faulty.config() }).await.expect("ready");
    all_serve(&hsm).await;
    let logins = faulty.calls("C_Login");
    faulty.script("C_SignInit on 1 drop-login\nC_Login return CKR_PIN_INCORRECT");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let hsm = hsm.clone();
        calls.spawn(async move { sign(&hsm).await });
    }
    drop(calls.join_all().await);
    until("no host has its login", async || hsm.view().hosts.iter().all(|host| host.state != "serving").then_some(())).await;
    assert_eq!(faulty.calls("C_Login") - logins, 1, "logins with a PIN that the token refused");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_was_never_tried_is_not_taken_for_one_that_worked() {
    let faulty = Faulty::new().await;
    let hsm = Hsm::start(HsmConfig { hosts: 3, ..faulty.config() }).await.expect("ready");
    all_serve(&hsm).await;
    let logins = faulty.calls("C_Login");
    faulty.token.write_pin("pin", "wrong-pin");
    // Long enough for every host to have been asked how it is: it still is logged in.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for pid in pids(&hsm).into_iter().flatten() {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    }
    until("no host serves", async || hsm.view().hosts.iter().all(|host| !host.problems.is_empty()).then_some(())).await;
    assert_eq!(faulty.calls("C_Login") - logins, 1, "logins with the wrong PIN");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_not_tried_again_because_the_host_died_of_it() {
    let faulty = Faulty::new().await;
    faulty.start().await.shutdown().await;
    let logins = faulty.calls("C_Login");
    faulty.script("pin-tries 9\nC_Login after abort");
    faulty.token.write_pin("pin", "wrong-pin");
    let hsm = Hsm::open(faulty.config());
    until("a host says why", async || hsm.view().hosts.iter().all(|host| host.problems.iter().any(|p| p.name == "pin")).then_some(()))
        .await;
    assert_eq!(faulty.calls("C_Login") - logins, 1, "logins with the wrong PIN");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_pin_is_tried_again_after_the_host_died_of_it() {
    let faulty = Faulty::new().await;
    faulty.script("pin-tries 9\nC_Login shared on 1 after abort");
    let hsm = Hsm::open(faulty.config());
    recovered(&hsm).await;
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_of_the_same_label_signs_nothing() {
    let (faulty, other) = (Faulty::new().await, Faulty::new().await);
    let hsm = faulty.start().await;
    let spki = hsm.public_key(PublicKeyOf::Signing(SigningKey::Attestation)).await.expect("a key");
    hsm.bind(Identity { keys: vec![(PublicKeyOf::Signing(SigningKey::Attestation), spki.clone())], ..Identity::default() });
    all_serve(&hsm).await;
    std::fs::rename(faulty.token.path("tokens"), faulty.token.path("away")).expect("moved");
    std::fs::rename(other.token.path("tokens"), faulty.token.path("tokens")).expect("moved");
    faulty.script("C_SignInit next 1 shared return CKR_DEVICE_REMOVED");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        if let Ok(signature) = hsm.sign(SigningKey::Attestation, &[0x17; 32]).await {
            assert!(verifies(&spki, &signature), "signed by another token after {:?}", began.elapsed());
        }
    }
    // The right one comes back.
    std::fs::rename(faulty.token.path("tokens"), other.token.path("tokens")).expect("moved");
    std::fs::rename(faulty.token.path("away"), faulty.token.path("tokens")).expect("moved");
    recovered(&hsm).await;
    hsm.shutdown().await;
}

fn verifies(spki: &[u8], signature: &[u8]) -> bool {
    use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
    use p256::pkcs8::DecodePublicKey as _;
    let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki).expect("a key");
    key.verify_prehash(&[0x17; 32], &p256::ecdsa::Signature::from_slice(signature).expect("a signature")).is_ok()
}
