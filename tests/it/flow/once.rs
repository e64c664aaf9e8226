//! One code, one phone; one request, one package.

use std::sync::Arc;

use tillward::cli::phone::{now, sound_findings};
use tillward_device::enrolment::PendingEnrolment;
use tokio::sync::Barrier;

use crate::scene::{Scene, activation, refused};

const PHONES: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_phones_with_one_code_at_once_exactly_one_enrols() {
    let scene = Scene::set().await;
    let code = scene.service.code("t-1", "standard").await;
    let mut trail = scene.trail().await;
    let together = Arc::new(Barrier::new(PHONES));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..PHONES {
        let pending = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
        let (transport, together) = (scene.line.transport.clone(), together.clone());
        tasks.spawn(async move {
            together.wait().await;
            let outcome = transport.enrol(&pending).await;
            (pending, outcome)
        });
    }
    let mut enrolled = Vec::new();
    let mut refusals = Vec::new();
    for (pending, outcome) in tasks.join_all().await {
        match outcome {
            Ok(answer) => enrolled.push((pending, answer)),
            refusal => refusals.push(refused(refusal)),
        }
    }
    assert_eq!((enrolled.len(), refusals.len()), (1, PHONES - 1));
    assert!(refusals.iter().all(|reason| reason == "activation-used"), "{refusals:?}");
    let id = activation(&code);
    let mut news = trail.news().await;
    news.sort();
    let mut expected = vec![format!("phone:activation:{id} enrol activation {id}: activation-used"); PHONES - 1];
    expected.push(format!("phone:activation:{id} enrol activation {id}: done"));
    assert_eq!(news, expected);
    let devices = scene.backend.get("/v1/devices").await.expect("devices");
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(1));

    let (pending, answer) = enrolled.pop().expect("one");
    let mut phone = pending.complete(&scene.trust, &answer, now()).expect("a phone");
    scene.attest(&mut phone).await;
    scene.pay(&mut phone, b"4111").await;
}

/// Sends the request and gives the answer's very bytes.
async fn bytes(scene: &Scene, pending: &PendingEnrolment) -> Vec<u8> {
    scene.line.transport.post_raw("enrolment", pending.body().to_vec()).await.expect("a package")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_same_package_byte_for_byte_many_at_once_and_after_a_restart_and_a_kill_too() {
    let mut scene = Scene::set().await;
    let code = scene.service.code("t-1", "standard").await;
    let pending = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
    let stranger = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");

    // The same request many times at once, none of them first.
    let together = Arc::new(Barrier::new(8));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (transport, body, together) = (scene.line.transport.clone(), pending.body().to_vec(), together.clone());
        tasks.spawn(async move {
            together.wait().await;
            transport.post_raw("enrolment", body).await.expect("a package")
        });
    }
    let answers = tasks.join_all().await;
    let package = answers[0].clone();
    assert!(answers.iter().all(|answer| *answer == package), "eight times the same package");
    let devices = scene.backend.get("/v1/devices").await.expect("devices");
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(1));
    assert_eq!(bytes(&scene, &pending).await, package);

    assert!(scene.service.stop().success());
    scene.service.restart();
    scene = scene.again().await;
    assert_eq!(bytes(&scene, &pending).await, package, "after a restart");
    scene.service.kill();
    scene.service.restart();
    scene = scene.again().await;
    assert_eq!(bytes(&scene, &pending).await, package, "after a kill");
    assert_eq!(refused(scene.line.transport.enrol(&stranger).await), "activation-used");

    let answer = scene.line.transport.enrol(&pending).await.expect("a package");
    let mut phone = pending.complete(&scene.trust, &answer, now()).expect("a phone");
    scene.attest(&mut phone).await;
    scene.pay(&mut phone, b"4111").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_phones_request_is_not_answered_with_a_package_for_another() {
    let scene = Scene::set().await;
    let code = scene.service.code("t-1", "standard").await;
    let pending = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
    let package = bytes(&scene, &pending).await;
    scene.operator.post("/v1/terminals/t-1/replace", &serde_json::json!({"reason": "stolen"})).await.expect("replaced");
    // The package is the one it had: its keys belong to a device that is refused everywhere.
    assert_eq!(bytes(&scene, &pending).await, package);
    let answer = scene.line.transport.enrol(&pending).await.expect("a package");
    let phone = pending.complete(&scene.trust, &answer, now()).expect("a phone");
    let challenge = scene.line.transport.device_challenge(phone.device(), tillward_device::message::Purpose::Attest).await;
    assert_eq!(refused(challenge), "device-retired");
}
