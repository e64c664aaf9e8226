//! Hosts that hang, end, grow or listen elsewhere cost no request.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tillward_hsm::{Hsm, HsmConfig, HsmError, Outage, SigningKey};
use tokio::task::JoinSet;

use super::{LONG, local, metric, ready, signal, until};
use crate::scene::Scene;
use crate::service::Service;
use crate::token::{Module, Token};

async fn sign(hsm: &Hsm) -> Result<(), HsmError> {
    hsm.sign(SigningKey::Attestation, &[7; 32]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_host_costs_no_request_where_its_successor_answers_within_the_deadline() {
    let scene = Scene::of(Service::start_with(|text| text.replace("[hsm]\n", "[hsm]\nstuck_ms = 500\n"))).await;
    ready(&scene.service).await;
    let host = scene.service.hosts()[0];
    signal("-STOP", host);
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let transport = scene.line.transport.clone();
        calls.spawn(async move {
            let began = Instant::now();
            transport.parameters().await.map(|_| began.elapsed())
        });
    }
    for answered in calls.join_all().await {
        // The deadline of a call is five seconds.
        assert!(answered.expect("an answer, and no 503") < Duration::from_secs(5));
    }
    until("the stopped one is gone", async || (!scene.service.hosts().contains(&host)).then_some(())).await;
    assert!(metric(&scene.service, "tillward_hsm_replacements_total{host=\"0\",why=\"silent\"}").await >= 1.0);
    assert!(metric(&scene.service, "tillward_hsm_repeats_total").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hosts_one_is_stopped_and_no_call_fails() {
    let token = Token::with_keys(Module::SoftHsm).await.expect("SoftHSM is installed");
    let config = HsmConfig { hosts: 2, stuck: Duration::from_millis(500), deadline: Duration::from_secs(10), ..token.config() };
    let hsm = Hsm::start(config).await.expect("ready");
    let pid = hsm.view().hosts[1].pid.expect("it runs");
    let done = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (hsm, done) = (hsm.clone(), done.clone());
        callers.spawn(async move {
            let mut calls = 0_u32;
            while !done.load(Ordering::SeqCst) {
                sign(&hsm).await.expect("no call fails");
                calls += 1;
            }
            calls
        });
    }
    signal("-STOP", pid);
    until("replaced", async || {
        let view = hsm.view();
        (view.hosts[1].state == "serving" && view.hosts[1].pid != Some(pid)).then_some(())
    })
    .await;
    done.store(true, Ordering::SeqCst);
    let calls: u32 = callers.join_all().await.iter().sum();
    assert!(calls > 0);
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_recycled_by_count_one_at_a_time_and_no_call_fails() {
    let token = Token::with_keys(Module::SoftHsm).await.expect("SoftHSM is installed");
    let hsm = Hsm::start(HsmConfig { hosts: 2, recycle_objects: 200, ..token.config() }).await.expect("ready");
    let phone = crate::software::Phone::new(tillward_hsm::Ikid::new(crate::token::ACME.1, tillward_hsm::DerivationId(7)));
    let block = crate::softhsm::hsm::enrol(&hsm, &phone).await;
    let began = Instant::now();
    loop {
        let mut calls = JoinSet::new();
        for _ in 0..8 {
            let (hsm, block, ikid) = (hsm.clone(), block.clone(), phone.ikid);
            let mac = phone.mac(&[1; 32]);
            calls.spawn(async move { hsm.verify_device_mac(&block, ikid, &[1; 32], &mac).await });
        }
        for answer in calls.join_all().await {
            answer.expect("no call fails");
        }
        let view = hsm.view();
        assert!(view.hosts.iter().any(|host| host.state == "serving"), "{view:?}");
        if view.hosts.iter().all(|host| host.replacements.get("recycled").is_some_and(|count| *count >= 2)) {
            break;
        }
        assert!(began.elapsed() < LONG, "not recycled: {view:?}");
    }
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_behind_a_socket_that_stops_opens_the_breaker_and_serves_again_when_it_goes_on() {
    let token = Token::with_keys(Module::SoftHsm).await.expect("SoftHSM is installed");
    let socket = token.path("hsm.sock");
    let start = || {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_tillward"))
            .args(["hsm-host", "--log", "off", "--listen"])
            .arg(&socket)
            .arg(token.uri().to_string())
            .env_clear()
            .envs(&token.config().environment)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("starts")
    };
    // The client is there before its host.
    let stuck = Duration::from_millis(500);
    let hsm = Hsm::open(HsmConfig { socket: Some(socket.clone()), stuck, deadline: Duration::from_secs(5), ..token.config() });
    assert!(matches!(sign(&hsm).await, Err(HsmError::Unavailable(_))));
    let mut host = start();
    tokio::time::timeout(LONG, hsm.ready()).await.expect("connects");
    sign(&hsm).await.expect("signs");

    let pid = host.id().expect("it runs");
    signal("-STOP", pid);
    let began = Instant::now();
    sign(&hsm).await.expect_err("nobody else could answer");
    assert!(began.elapsed() < Duration::from_secs(5), "before its deadline");
    // What is known to be away is answered at once and not sent.
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(sign(&hsm).await, Err(HsmError::Unavailable(Outage::Breaker)));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    signal("-CONT", pid);
    let began = Instant::now();
    tokio::time::timeout(LONG, hsm.ready()).await.expect("the breaker closes");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    sign(&hsm).await.expect("signs");
    assert_eq!(hsm.view().hosts[0].breaker_opened, 1);

    host.kill().await.expect("dies");
    until("away", async || (!hsm.is_ready()).then_some(())).await;
    let host = start();
    tokio::time::timeout(LONG, hsm.ready()).await.expect("connects again");
    sign(&hsm).await.expect("signs");
    hsm.shutdown().await;
    drop(host);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_probes_at_once_make_one_signature() {
    let service = Service::start();
    ready(&service).await;
    let canaries = "tillward_hsm_calls_total{operation=\"canary\",outcome=\"ok\"}";
    let before = metric(&service, canaries).await;
    let began = Instant::now();
    let address = service.address("local");
    let mut probes = JoinSet::new();
    for _ in 0..100 {
        let url = format!("http://{address}/readyz");
        probes.spawn(async move { reqwest::get(url).await.expect("answers").status().as_u16() });
    }
    assert!(probes.join_all().await.iter().all(|status| *status == 200));
    let (made, seconds) = (metric(&service, canaries).await - before, began.elapsed().as_secs_f64());
    assert!(made <= seconds.ceil() + 1.0, "{made} signatures in {seconds} s");
    assert_eq!(local(&service, "/healthz").await.0, 200);
}
