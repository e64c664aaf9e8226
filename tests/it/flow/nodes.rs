//! Two nodes over one PostgreSQL database and one token: what one knows, the other knows, and once is once between them.

use std::sync::Arc;

use serde_json::json;
use tillward::cli::phone::{now, sound_findings};
use tillward_device::consumer::{self, Acceptance, NotAccepted};
use tillward_device::message::Purpose;
use tokio::sync::Barrier;

use crate::scene::{Scene, fresh_trust, refused};
use crate::service::Service;
use crate::store::{administer, fresh_database, postgres, say_skipped};

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_are_one_service() {
    let Some(server) = postgres() else {
        say_skipped();
        return;
    };
    let (name, url) = fresh_database(&server).await;
    let first = Scene::of(Service::start_with(|config| config.replace("sqlite:tillward.db", &url))).await;
    let old_code = first.service.code("t-old", "standard").await;
    let second = Scene::of(Service::beside(&first.service)).await;

    crate::softhsm::once::register_at_once(&first).await;

    // A code from before the second node was there, and one from each since then, used at the other.
    let mut given = Vec::new();
    for (terminal, code, line) in [
        ("t-old", old_code, &second.line),
        ("t-first", first.service.code("t-first", "standard").await, &second.line),
        ("t-second", second.service.code("t-second", "standard").await, &first.line),
    ] {
        let phone = line.enrol(&first.trust, &code, &sound_findings()).await.unwrap_or_else(|error| panic!("{terminal}: {error:#}"));
        given.push(phone);
    }
    let ikids: std::collections::BTreeSet<_> = given.iter().map(|phone| phone.data_ikid().to_string()).collect();
    assert_eq!(ikids.len(), 3, "an IKID was given twice");

    // A challenge of one node is answered at the other, once.
    let mut phone = given.pop().expect("a phone");
    let challenge = first.line.transport.device_challenge(phone.device(), Purpose::Attest).await.expect("a challenge");
    let attestation = phone.attest(&first.trust, &challenge, &sound_findings(), now()).expect("attests");
    let answer = second.line.transport.attest(phone.device(), &attestation.request).await.expect("a result");
    phone.take_result(&first.trust, &attestation, &answer, now()).expect("affirming");
    assert_eq!(refused(first.line.transport.attest(phone.device(), &attestation.request).await), "challenge-replayed");
    first.clear(&phone).await.expect("cleared");
    second.pay(&mut phone, b"4111111111111111=3012").await;

    // One code, phones at both nodes.
    let code = second.service.code("t-both", "standard").await;
    let together = Arc::new(Barrier::new(16));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let line = if number % 2 == 0 { first.line.clone() } else { second.line.clone() };
        let pending = line.prepare(&first.trust, &code, &sound_findings()).await.expect("prepares");
        let together = together.clone();
        tasks.spawn(async move {
            together.wait().await;
            line.transport.enrol(&pending).await
        });
    }
    let (enrolled, others): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(enrolled.len(), 1);
    assert!(others.into_iter().all(|outcome| refused(outcome) == "activation-used"));

    // Retired at one node: the other's revocation list has it.
    let request = phone.payment_request(100.try_into().expect("an amount"), "EUR".parse().expect("a currency"), now()).expect("signs");
    let path = format!("/v1/devices/{}/retire", phone.device());
    first.operator.post(&path, &json!({"reason": "lost"})).await.expect("retired");
    for scene in [&first, &second] {
        let trust = fresh_trust(&scene.line).await;
        assert!(matches!(consumer::verify(&request, &trust, &Acceptance::default(), now()), Err(NotAccepted::Revoked)));
        assert_eq!(refused(scene.line.transport.device_challenge(phone.device(), Purpose::Attest).await), "device-retired");
    }
    drop((first, second));
    administer(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
}
