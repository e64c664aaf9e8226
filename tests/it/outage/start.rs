//! The service starts without its HSM and serves when it comes, without a restart.

use serde_json::json;

use super::{adjust, bring_back, down, metric, readiness, ready, take_away, tokens, until};
use crate::scene::{Scene, denied};
use crate::service::{PROGRAM, Service};

/// Everything but health and the HSM's own page is refused, and says when to ask again.
async fn everything_is_refused(service: &Service) {
    let refused = denied(service.api("backend").put("/v1/merchants/m1", &json!({"acquirer": "example-bank", "name": "M"})).await);
    assert_eq!((refused.status, refused.reason.as_str()), (503, "hsm-unavailable"));
    let answer = service.phone_client().get(format!("{}/device/v1/trust", service.device_url())).send().await.expect("answers");
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let report = service.api("operator").get("/v1/hsm").await.expect("the page that is wanted now");
    assert_eq!((report["bound"].as_bool(), report["ready"].as_bool()), (Some(false), Some(false)));
    assert_eq!(denied(service.api("backend").get("/v1/hsm").await).status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_token_listens_and_serves_when_the_token_comes() {
    let mut service = Service::start();
    assert!(service.stop().success());
    take_away(&service);
    service.restart();
    down(&service, "token").await;
    everything_is_refused(&service).await;
    bring_back(&service);
    ready(&service).await;
    let scene = Scene::of(service).await;
    let mut phone = scene.attested("t-1", "standard").await;
    scene.pay(&mut phone, b"4111").await;
    let report = scene.auditor.get("/v1/hsm").await.expect("a report");
    assert_eq!((report["bound"].as_bool(), &report["hosts"][0]["state"]), (Some(true), &json!("serving")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_tried_once_and_a_corrected_one_serves_without_a_restart() {
    let mut service = Service::start();
    assert!(service.stop().success());
    let file = service.workplace.dir.join("pin");
    let pin = std::fs::read(&file).expect("a PIN");
    std::fs::write(&file, b"not-the-pin").expect("writes");
    service.restart();
    let body = down(&service, "pin").await;
    assert!(!body.to_string().contains("not-the-pin"), "{body}");
    everything_is_refused(&service).await;
    let report = service.api("operator").get("/v1/hsm").await.expect("a report");
    assert_eq!(report["hosts"][0]["launches"], 1, "no other process tries it again: {report}");
    // A host that dies does not become one that tries the PIN again.
    let host = service.hosts()[0];
    super::signal("-KILL", host);
    until("the seat is empty", async || {
        let report = service.api("operator").get("/v1/hsm").await.expect("a report");
        (report["hosts"][0]["state"] == "down").then_some(())
    })
    .await;
    assert_eq!(down(&service, "pin").await["hsm"], "down");
    assert!(service.hosts().is_empty());
    std::fs::write(&file, pin).expect("writes");
    ready(&service).await;
    assert!(!service.log_text().contains("not-the-pin"), "the PIN is in no message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_is_corrected_in_the_configuration_serves_without_a_restart() {
    let mut service = Service::start();
    assert!(service.stop().success());
    adjust(&service, "pkcs11:token=tillward?", "pkcs11:token=another?");
    service.restart();
    down(&service, "token").await;
    // What cannot be used changes nothing.
    adjust(&service, "[hsm]\n", "[hsm]\nsurprise = 1\n");
    until("the log says so", async || service.log_text().contains("cannot be used").then_some(())).await;
    adjust(&service, "[hsm]\nsurprise = 1\n", "[hsm]\n");
    adjust(&service, "pkcs11:token=another?", "pkcs11:token=tillward?");
    ready(&service).await;
    drop(Scene::of(service).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sighup_changes_the_hosts_and_a_bad_change_leaves_the_one_that_serves() {
    let service = Service::start();
    ready(&service).await;
    let before = service.hosts();
    adjust(&service, "[hsm]\n", "[hsm]\nworkers = 3\n");
    super::signal("-HUP", service.pid());
    until("another host", async || (service.hosts().len() == 1 && service.hosts() != before).then_some(())).await;
    ready(&service).await;
    let first = service.hosts();
    adjust(&service, "pkcs11:token=tillward?", "pkcs11:token=another?");
    super::signal("-HUP", service.pid());
    until("the log says so", async || service.log_text().contains("the HSM host that serves stays").then_some(())).await;
    assert_eq!(readiness(&service).await.0, 200);
    until("the other one goes", async || (service.hosts() == first).then_some(())).await;
    assert!(metric(&service, "tillward_hsm_replacements_total{host=\"0\",why=\"reconfigured\"}").await >= 1.0);
}

/// A token of the same label, made by a ceremony of its own: its keys are others.
fn stranger() -> Service {
    let mut stranger = Service::start();
    assert!(stranger.stop().success());
    let pin = std::fs::read(stranger.workplace.dir.join("pin")).expect("a PIN");
    assert!(!pin.is_empty());
    stranger
}

/// Puts another service's tokens, and the PIN that goes with them, in the place of this one's.
fn swap(service: &Service, other: &Service) {
    std::fs::rename(tokens(service), service.workplace.dir.join("away")).expect("moves");
    assert!(std::process::Command::new("cp").arg("-a").arg(tokens(other)).arg(tokens(service)).status().expect("cp").success());
    std::fs::copy(other.workplace.dir.join("pin"), service.workplace.dir.join("pin")).expect("copies");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_of_the_same_label_does_not_serve_and_the_right_one_does_again() {
    let service = Service::start();
    ready(&service).await;
    let other = stranger();
    let pin = std::fs::read(service.workplace.dir.join("pin")).expect("a PIN");
    swap(&service, &other);
    super::signal("-KILL", service.hosts()[0]);
    let body = down(&service, "token").await;
    until("compared", async || {
        let body = readiness(&service).await.1;
        body["detail"].as_str().is_some_and(|detail| detail.contains("another public key")).then_some(())
    })
    .await;
    assert_eq!(body["hsm"], "down");
    let refused =
        service.phone_client().get(format!("{}/device/v1/enrolment/parameters", service.device_url())).send().await.expect("answers");
    assert_eq!(refused.status().as_u16(), 503);
    std::fs::write(service.workplace.dir.join("pin"), pin).expect("writes");
    bring_back(&service);
    super::signal("-KILL", service.hosts()[0]);
    ready(&service).await;
    drop(Scene::of(service).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_comes_late_and_is_another_stops_the_service_as_it_would_have_stopped_the_start() {
    let mut service = Service::start();
    assert!(service.stop().success());
    let other = stranger();
    let pin = std::fs::read(other.workplace.dir.join("pin")).expect("a PIN");
    take_away(&service);
    std::fs::write(service.workplace.dir.join("pin"), pin).expect("writes");
    service.restart();
    down(&service, "token").await;
    std::fs::remove_dir(tokens(&service)).expect("removes");
    assert!(std::process::Command::new("cp").arg("-a").arg(tokens(&other)).arg(tokens(&service)).status().expect("cp").success());
    assert_eq!(service.ended().code(), Some(1));
    assert!(service.log_text().contains("do not belong together"), "{}", service.log_text());
}

#[test]
fn init_over_a_socket_says_what_to_do() {
    let mut service = Service::start();
    assert!(service.stop().success());
    adjust(&service, "[hsm]\n", "[hsm]\nsocket = \"hsm.sock\"\n");
    let output = std::process::Command::new(PROGRAM).args(["init", "--config"]).arg(service.workplace.config()).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("hsm.socket") && words.contains("where the module is"), "{words}");
}
