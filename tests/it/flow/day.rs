//! What goes well, from the registration to the retirement.

use serde_json::json;
use tillward::cli::phone::{now, sound_findings, status};
use tillward_device::consumer::{self, Acceptance, NotAccepted};
use tillward_device::message::Purpose;
use tillward_device::phone::Phone;

use super::MODULE;
use crate::scene::{Scene, activation, fresh_trust, payment, reason, refused};
use crate::service::ACQUIRER;

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_enrols_attests_is_cleared_pays_renews_and_a_consumer_believes_it() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let mut trail = scene.trail().await;
    let merchant = json!({"acquirer": ACQUIRER, "name": "Corner Bakery"});
    scene.backend.put("/v1/merchants/m-1", &merchant).await.expect("a merchant");
    scene.backend.put("/v1/merchants/m-1", &merchant).await.expect("the same again");
    assert_eq!(trail.news().await, ["backend:backend register_merchant merchant m-1: done"], "the same again is no change");
    for level in ["basic", "standard", "full"] {
        let terminal = format!("t-{level}");
        let configuration = json!({"currency": "EUR", "mcc": "5462"});
        let body = json!({"merchant": "m-1", "level": level, "configuration": configuration});
        scene.backend.put(&format!("/v1/terminals/{terminal}"), &body).await.expect("a terminal");
        let answer = scene.backend.post("/v1/activations", &json!({"terminal": terminal})).await.expect("an activation");
        let code = answer["code"].as_str().expect("a code").to_owned();
        let id = activation(&code);
        assert_eq!((answer["id"].as_str(), answer["terminal"].as_str()), (Some(id.as_str()), Some(terminal.as_str())));
        let mut news = trail.news().await;
        news.retain(|line| !line.starts_with("system:derivation-ids reconcile"));
        assert_eq!(
            news,
            [
                format!("backend:backend register_terminal terminal {terminal}: done"),
                format!("backend:backend create_activation terminal {terminal}: done"),
            ]
        );

        let mut phone = scene.line.enrol(&scene.trust, &code, &sound_findings()).await.expect("enrols");
        let device = phone.device().as_str().to_owned();
        assert_eq!(phone.configuration(), configuration.as_object().expect("an object"));
        assert_eq!(phone.attestation_policy().level, level);
        assert_eq!(phone.identity().to_string(), format!("urn:tillward:device:m-1:{terminal}:{device}"));
        assert_eq!(trail.news().await, [format!("phone:activation:{id} enrol activation {id}: done")]);
        let row = scene.device(&phone).await;
        assert_eq!((row["state"].as_str(), row["level"].as_str()), (Some("active"), Some(level)));
        assert_eq!(row["ikid"].as_str(), Some(phone.data_ikid().to_string().as_str()));

        assert_eq!(reason(scene.clear(&phone).await), "attestation-stale", "enrolment is no attestation");
        scene.attest(&mut phone).await;
        let clearance = scene.clear(&phone).await.expect("cleared");
        assert_eq!((clearance["device"].as_str(), clearance["purpose"].as_str()), (Some(device.as_str()), Some("payment")));
        scene.pay(&mut phone, b"4111111111111111=3012").await;
        scene.pay(&mut phone, b"").await;
        scene.pay(&mut phone, &[7; 8191]).await;
        assert_eq!(
            trail.news().await,
            [
                format!("backend:backend clear device {device}: attestation-stale"),
                format!("phone:device:{device} attest device {device}: done"),
                format!("backend:backend clear device {device}: done"),
                format!("backend:backend decrypt device {device}: done"),
                format!("backend:backend decrypt device {device}: done"),
                format!("backend:backend decrypt device {device}: done"),
            ]
        );

        let before = phone.certificate_chain().to_vec();
        scene.line.renew(&scene.trust, &mut phone).await.expect("renews");
        assert_ne!(phone.certificate_chain()[0], before[0], "another certificate");
        assert_eq!(phone.certificate_chain()[1], before[1]);
        assert_eq!(trail.news().await, [format!("phone:device:{device} renew_certificate device {device}: done")]);
        believed(&scene, &phone);
    }
}

/// The consumer's device accepts a request of this phone, and says whose it is.
fn believed(scene: &Scene, phone: &Phone) {
    let request = phone.payment_request(1250.try_into().expect("an amount"), "EUR".parse().expect("a currency"), now()).expect("a request");
    let verified = consumer::verify(&request, &scene.trust, &Acceptance::default(), now()).expect("accepted");
    assert_eq!((verified.identity, u64::from(verified.amount)), (phone.identity(), 1250));
    let mut parts: Vec<String> = request.split('.').map(str::to_owned).collect();
    let signature = &mut parts[2];
    let other = if signature.starts_with('A') { "B" } else { "A" };
    signature.replace_range(0..1, other);
    assert!(consumer::verify(&parts.join("."), &scene.trust, &Acceptance::default(), now()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contraindicated_phone_is_stopped_at_once_and_works_again_only_resumed_and_attested_afresh() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let mut phone = scene.attested("t-1", "standard").await;
    let device = phone.device().as_str().to_owned();
    scene.clear(&phone).await.expect("cleared");
    let mut trail = scene.trail().await;

    let mut findings = sound_findings();
    findings.debugger = true;
    let result = scene.line.attest(&scene.trust, &mut phone, &findings).await.expect("an answer");
    assert_eq!(status(&result), "contraindicated");
    let row = scene.device(&phone).await;
    assert_eq!((row["state"].as_str(), row["state_reason"].as_str()), (Some("suspended"), Some("contraindicated")));
    let request = phone.payment_request(1.try_into().expect("an amount"), "EUR".parse().expect("a currency"), now()).expect("a request");
    let refusal = consumer::verify(&request, &scene.trust, &Acceptance::default(), now()).expect_err("the result says so");
    assert!(matches!(refusal, NotAccepted::NotAffirming), "{refusal}");

    assert_eq!(reason(scene.clear(&phone).await), "device-suspended");
    assert_eq!(reason(scene.backend.post("/v1/dukpt/decrypt", &payment(&mut phone, b"4111")).await), "device-suspended");
    assert_eq!(refused(scene.line.transport.device_challenge(phone.device(), Purpose::Attest).await), "device-suspended");
    assert_eq!(refused(scene.line.transport.device_challenge(phone.device(), Purpose::Renew).await), "device-suspended");
    let resume = |reason: &'static str| json!({"reason": reason});
    let by_backend = scene.backend.post(&format!("/v1/devices/{device}/resume"), &resume("cleared")).await;
    assert_eq!(reason(by_backend), "not-permitted", "that a phone is sound again is a person's judgement");

    scene.operate(&phone, "resume", "cleared").await.expect("resumed");
    assert_eq!(reason(scene.clear(&phone).await), "attestation-stale", "what it was before does not count");
    scene.attest(&mut phone).await;
    scene.clear(&phone).await.expect("cleared");
    scene.pay(&mut phone, b"4111").await;
    assert_eq!(
        trail.news().await,
        [
            format!("phone:device:{device} attest device {device}: done"),
            format!("backend:backend clear device {device}: device-suspended"),
            format!("backend:backend decrypt device {device}: device-suspended"),
            format!("phone:device:{device} issue_challenge device {device}: device-suspended"),
            format!("phone:device:{device} issue_challenge device {device}: device-suspended"),
            format!("backend:backend resume_device device {device}: not-permitted"),
            format!("operator:operator resume_device device {device}: done"),
            format!("backend:backend clear device {device}: attestation-stale"),
            format!("phone:device:{device} attest device {device}: done"),
            format!("backend:backend clear device {device}: done"),
            format!("backend:backend decrypt device {device}: done"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_neither_stops_a_phone_nor_clears_it() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let mut phone = scene.attested("t-1", "standard").await;
    let mut findings = sound_findings();
    findings.patch_level = "2023-01".to_owned();
    let result = scene.line.attest(&scene.trust, &mut phone, &findings).await.expect("an answer");
    assert_eq!(status(&result), "warning");
    assert_eq!(scene.device(&phone).await["state"], "active");
    assert_eq!(reason(scene.clear(&phone).await), "attestation-stale");
    scene.attest(&mut phone).await;
    scene.clear(&phone).await.expect("cleared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_clearance_hands_over_the_challenge_that_ends_the_staleness() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let phone = scene.phone("t-1", "full").await;
    let refusal = crate::scene::denied(scene.clear(&phone).await);
    assert_eq!((refusal.status, refusal.reason.as_str()), (409, "attestation-stale"));
    let challenge = serde_json::from_value(json!({"challenge": refusal.document["challenge"]})).expect("a challenge");
    let attestation = phone.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("an answer");
    scene.line.transport.attest(phone.device(), &attestation.request).await.expect("a result");
    scene.clear(&phone).await.expect("cleared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_phone_is_refused_everywhere_for_ever_and_by_the_consumers_side_too() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let mut phone = scene.attested("t-1", "standard").await;
    let device = phone.device().as_str().to_owned();
    let challenge = scene.line.transport.device_challenge(phone.device(), Purpose::Attest).await.expect("a challenge");
    let renewal = scene.line.transport.device_challenge(phone.device(), Purpose::Renew).await.expect("a challenge");
    believed(&scene, &phone);
    let mut trail = scene.trail().await;

    let retired = scene.operate(&phone, "retire", "lost").await.expect("retired");
    assert_eq!((retired["state"].as_str(), retired["state_reason"].as_str()), (Some("retired"), Some("lost")));
    let transport = &scene.line.transport;
    assert_eq!(refused(transport.device_challenge(phone.device(), Purpose::Attest).await), "device-retired");
    let attestation = phone.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("an answer");
    assert_eq!(refused(transport.attest(phone.device(), &attestation.request).await), "device-retired");
    let request = phone.renew(&scene.trust, &renewal, now()).expect("a request");
    assert_eq!(refused(transport.renew(phone.device(), &request).await), "device-retired");
    assert_eq!(reason(scene.clear(&phone).await), "device-retired");
    assert_eq!(reason(scene.backend.post("/v1/dukpt/decrypt", &payment(&mut phone, b"4111")).await), "device-retired");
    assert_eq!(reason(scene.operate(&phone, "resume", "cleared").await), "state-conflict");
    assert_eq!(reason(scene.operate(&phone, "suspend", "investigation").await), "state-conflict");
    scene.operate(&phone, "retire", "stolen").await.expect("it is retired already");
    assert_eq!(scene.device(&phone).await["state_reason"], "lost");
    let news = trail.news().await;
    assert_eq!(
        news,
        [
            format!("operator:operator retire_device device {device}: done"),
            format!("phone:device:{device} issue_challenge device {device}: device-retired"),
            format!("phone:device:{device} attest device {device}: device-retired"),
            format!("phone:device:{device} renew_certificate device {device}: device-retired"),
            format!("backend:backend clear device {device}: device-retired"),
            format!("backend:backend decrypt device {device}: device-retired"),
            format!("operator:operator resume_device device {device}: state-conflict"),
            format!("operator:operator suspend_device device {device}: state-conflict"),
        ]
    );

    let request = phone.payment_request(1.try_into().expect("an amount"), "EUR".parse().expect("a currency"), now()).expect("a request");
    consumer::verify(&request, &scene.trust, &Acceptance::default(), now()).expect("an older list cannot know");
    let trust = fresh_trust(&scene.line).await;
    let refusal = consumer::verify(&request, &trust, &Acceptance::default(), now()).expect_err("revoked");
    assert!(matches!(refusal, NotAccepted::Revoked), "{refusal}");
    assert_eq!(trail.news().await.len(), 1, "one new list was signed");
    fresh_trust(&scene.line).await;
    assert!(trail.news().await.is_empty(), "and serves until something changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_of_a_retired_phone_is_revoked_not_only_the_last() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let mut phone = scene.attested("t-1", "basic").await;
    let first = phone.payment_request(1.try_into().expect("an amount"), "EUR".parse().expect("a currency"), now()).expect("a request");
    scene.line.renew(&scene.trust, &mut phone).await.expect("renews");
    let second = phone.payment_request(1.try_into().expect("an amount"), "EUR".parse().expect("a currency"), now()).expect("a request");
    scene.operate(&phone, "retire", "closed").await.expect("retired");
    let trust = fresh_trust(&scene.line).await;
    for request in [first, second] {
        let refusal = consumer::verify(&request, &trust, &Acceptance::default(), now()).expect_err("revoked");
        assert!(matches!(refusal, NotAccepted::Revoked), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_phone_takes_the_terminal_over_with_keys_of_its_own_and_the_old_one_is_out() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let mut old = scene.attested("t-1", "standard").await;
    let occupied = scene.backend.post("/v1/activations", &json!({"terminal": "t-1"})).await;
    assert_eq!(reason(occupied), "terminal-occupied");
    let mut trail = scene.trail().await;
    let answer = scene.operator.post("/v1/terminals/t-1/replace", &json!({"reason": "replaced"})).await.expect("replaced");
    assert_eq!(answer["retired"].as_str(), Some(old.device().as_str()));
    assert_eq!(trail.news().await, ["operator:operator replace_device terminal t-1: done"]);
    let code = answer["code"].as_str().expect("a code");
    let mut new = scene.line.enrol(&scene.trust, code, &sound_findings()).await.expect("enrols");
    assert_eq!((new.identity().merchant, new.identity().terminal), (old.identity().merchant, old.identity().terminal));
    let ikids = [old.data_ikid(), old.pin_ikid(), new.data_ikid(), new.pin_ikid()];
    assert_eq!(ikids.iter().collect::<std::collections::HashSet<_>>().len(), 4, "no IKID twice");
    assert_ne!(old.device(), new.device());
    scene.attest(&mut new).await;
    scene.pay(&mut new, b"4111").await;
    assert_eq!(reason(scene.backend.post("/v1/dukpt/decrypt", &payment(&mut old, b"4111")).await), "device-retired");
    let request = old.payment_request(1.try_into().expect("an amount"), "EUR".parse().expect("a currency"), now()).expect("a request");
    let trust = fresh_trust(&scene.line).await;
    assert!(matches!(consumer::verify(&request, &trust, &Acceptance::default(), now()), Err(NotAccepted::Revoked)));
    let request = new.payment_request(1.try_into().expect("an amount"), "EUR".parse().expect("a currency"), now()).expect("a request");
    consumer::verify(&request, &trust, &Acceptance::default(), now()).expect("accepted");
    let devices = scene.backend.get("/v1/devices?terminal=t-1").await.expect("devices");
    let states: Vec<_> = devices["devices"].as_array().expect("devices").iter().map(|device| device["state"].clone()).collect();
    assert!(states.len() == 2 && states.contains(&json!("retired")) && states.contains(&json!("active")), "{states:?}");
}
