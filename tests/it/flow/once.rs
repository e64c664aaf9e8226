//! One code, one phone; one request, one package.

use std::sync::Arc;

use tillward::cli::phone::{now, sound_findings};
use tillward_device::enrolment::PendingEnrolment;
use tokio::sync::Barrier;

use super::MODULE;
use crate::scene::{Scene, activation, refused};

const PHONES: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_phones_with_one_code_at_once_exactly_one_enrols() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
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
    let Some(mut scene) = Scene::set_on(MODULE).await else { return };
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
    let Some(scene) = Scene::set_on(MODULE).await else { return };
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

/// Replacing takes the code back and retires the phone: whichever of the two comes first, the old code leaves nobody behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_enrols_while_its_terminal_is_replaced_is_retired_or_refused() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let mut retired = 0;
    for round in 0..24 {
        let terminal = format!("t-{round}");
        let code = scene.service.code(&terminal, "standard").await;
        let pending = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
        let transport = scene.line.transport.clone();
        let enrolment = tokio::spawn(async move { transport.enrol(&pending).await });
        // The replacement comes later from round to round, by requests and not by the clock.
        for _ in 0..round {
            scene.line.transport.trust().await.expect("a trust bundle");
        }
        let path = format!("/v1/terminals/{terminal}/replace");
        let replaced = scene.operator.post(&path, &serde_json::json!({"reason": "stolen"})).await.expect("replaced");
        match enrolment.await.expect("joins") {
            Ok(_) => {
                assert!(replaced["retired"].is_string(), "round {round}: a phone was left behind");
                retired += 1;
            }
            refusal => assert_eq!(refused(refusal), "activation-revoked", "round {round}"),
        }
        let left = scene.backend.get(&format!("/v1/devices?terminal={terminal}&state=active")).await.expect("devices");
        assert_eq!(left["devices"].as_array().map(Vec::len), Some(0), "round {round}");
    }
    println!("of 24 phones {retired} were enrolled first and retired, the others refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_registered_many_times_at_once_is_registered_once() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    register_at_once(&scene).await;
}

/// Merchants and terminals, each asked for sixteen times at once.
pub(crate) async fn register_at_once(scene: &Scene) {
    for round in 0..8 {
        for (path, body) in [
            (format!("/v1/merchants/m-{round}"), serde_json::json!({"acquirer": "example-bank", "name": "Merchant"})),
            (format!("/v1/terminals/t-{round}"), serde_json::json!({"merchant": format!("m-{round}"), "level": "standard"})),
        ] {
            let together = Arc::new(Barrier::new(16));
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let (api, path, body, together) = (scene.backend.clone(), path.clone(), body.clone(), together.clone());
                tasks.spawn(async move {
                    together.wait().await;
                    api.put(&path, &body).await.unwrap_or_else(|error| panic!("{path}: {error:#}"))
                });
            }
            let answers = tasks.join_all().await;
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{path}");
        }
    }
}
