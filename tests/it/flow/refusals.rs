//! What is refused, each with its reason, its entry in the audit log, and nothing lost for the honest phone.

use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;
use tillward::cli::phone::{now, sound_findings, status};
use tillward_device::code::ActivationCode;
use tillward_device::encoding::Base64Url;
use tillward_device::merchant_key::MerchantKey;
use tillward_device::message::{EnrolmentRequest, Purpose};
use tillward_device::phone::Phone;

use super::MODULE;
use crate::scene::{Scene, activation, denied, payment, reason, refused};

/// Another secret behind the same public id, with a check symbol that fits: what a guesser sends.
fn guess(code: &str, number: usize) -> String {
    let secret = ["ABCDEFGHJKMNPQR", "BBCDEFGHJKMNPQR", "CBCDEFGHJKMNPQR", "DBCDEFGHJKMNPQR", "EBCDEFGHJKMNPQR"][number];
    let guess = ActivationCode::with_check_symbol(&format!("{}{secret}0", activation(code))).expect("a code");
    guess.expose_symbols().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fifth_wrong_code_locks_it_and_then_the_right_one_is_refused_too() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let code = scene.service.code("t-1", "standard").await;
    let id = activation(&code);
    let honest = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
    let mut trail = scene.trail().await;
    for number in 0..5 {
        let pending = scene.line.prepare(&scene.trust, &guess(&code, number), &sound_findings()).await.expect("prepares");
        assert_eq!(refused(scene.line.transport.enrol(&pending).await), "activation-code-wrong");
        let state = scene.backend.get(&format!("/v1/activations/{id}")).await.expect("an activation");
        assert_eq!(state["wrong_tries"], number + 1);
        assert_eq!(state["state"], if number == 4 { "locked" } else { "open" });
    }
    assert_eq!(refused(scene.line.transport.enrol(&honest).await), "activation-locked");
    let challenge = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect_err("no challenge either");
    assert!(format!("{challenge:#}").contains("activation-locked"), "{challenge:#}");
    let mut expected = vec![format!("phone:activation:{id} enrol activation {id}: activation-code-wrong"); 5];
    expected.push(format!("phone:activation:{id} enrol activation {id}: activation-locked"));
    expected.push(format!("phone:activation:{id} issue_challenge activation {id}: activation-locked"));
    assert_eq!(trail.news().await, expected);

    // The way out: a new code for the terminal.
    let code = scene.service.code("t-1", "standard").await;
    scene.line.enrol(&scene.trust, &code, &sound_findings()).await.expect("enrols");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_codes_at_once_are_all_counted() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let code = scene.service.code("t-1", "standard").await;
    let mut pendings = Vec::new();
    for number in 0..5 {
        for _ in 0..4 {
            pendings.push(scene.line.prepare(&scene.trust, &guess(&code, number), &sound_findings()).await.expect("prepares"));
        }
    }
    let mut tasks = tokio::task::JoinSet::new();
    for pending in pendings {
        let transport = scene.line.transport.clone();
        tasks.spawn(async move { refused(transport.enrol(&pending).await) });
    }
    let reasons = tasks.join_all().await;
    assert!(reasons.iter().all(|reason| reason == "activation-code-wrong" || reason == "activation-locked"), "{reasons:?}");
    let state = scene.backend.get(&format!("/v1/activations/{}", activation(&code))).await.expect("an activation");
    assert_eq!((state["state"].as_str(), state["wrong_tries"].as_u64()), (Some("locked"), Some(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_unknown_used_revoked_or_replaced_is_refused() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let transport = &scene.line.transport;
    let code = scene.service.code("t-1", "standard").await;
    scene.line.enrol(&scene.trust, &code, &sound_findings()).await.expect("enrols");
    let pending = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
    let mut trail = scene.trail().await;
    assert_eq!(refused(transport.enrol(&pending).await), "activation-used");
    let used = activation(&code);
    assert_eq!(trail.news().await, [format!("phone:activation:{used} enrol activation {used}: activation-used")]);

    let taken_back = scene.service.code("t-2", "standard").await;
    let pending = scene.line.prepare(&scene.trust, &taken_back, &sound_findings()).await.expect("prepares");
    let id = activation(&taken_back);
    scene.backend.call(reqwest::Method::DELETE, &format!("/v1/activations/{id}"), None).await.expect("revoked");
    assert_eq!(refused(transport.enrol(&pending).await), "activation-revoked");

    let older = scene.service.code("t-3", "standard").await;
    let pending = scene.line.prepare(&scene.trust, &older, &sound_findings()).await.expect("prepares");
    let newer = scene.service.code("t-3", "standard").await;
    assert_eq!(refused(transport.enrol(&pending).await), "activation-revoked");
    scene.line.enrol(&scene.trust, &newer, &sound_findings()).await.expect("enrols");

    let unknown = ActivationCode::with_check_symbol("ZZZZZZZABCDEFGHJKMNPQR0").expect("a code");
    let mut request = pending.request().clone();
    request.code = unknown.expose_symbols().to_owned();
    assert_eq!(refused(transport.enrol_with(&request).await), "activation-unknown");
}

/// Puts something else into a request.
type Exchange<'a> = &'a dyn Fn(&mut EnrolmentRequest);

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_with_any_part_exchanged_is_refused_and_the_code_stays_good() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let code = scene.service.code("t-1", "standard").await;
    let other_code = scene.service.code("t-2", "standard").await;
    let honest = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
    let second = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
    let others = scene.line.prepare(&scene.trust, &other_code, &sound_findings()).await.expect("prepares");
    let flip = |bytes: &Base64Url, at: usize| {
        let mut bytes = bytes.0.clone();
        let at = bytes.len() - 1 - at;
        bytes[at] ^= 1;
        Base64Url(bytes)
    };
    let exchanged: [(&str, &str, Exchange<'_>); 13] = [
        ("another challenge of ours", "evidence-mac-mismatch", &|r| r.challenge = second.request().challenge.clone()),
        ("the challenge of another code", "challenge-invalid", &|r| r.challenge = others.request().challenge.clone()),
        ("a challenge that nobody signed", "challenge-invalid", &|r| {
            let at = r.challenge.len() - 2;
            let other = if r.challenge[at..].starts_with('A') { "Q" } else { "A" };
            r.challenge.replace_range(at..=at, other);
        }),
        ("another transport key", "transport-key-unknown", &|r| r.transport_kid = Base64Url(vec![7; 32]).to_string()),
        ("another second secret", "evidence-mac-mismatch", &|r| r.wrapped_secret = second.request().wrapped_secret.clone()),
        ("a broken wrapping", "transport-unwrap-failed", &|r| r.wrapped_secret = flip(&r.wrapped_secret, 100)),
        ("another phone's public key", "evidence-mac-mismatch", &|r| r.csr = second.request().csr.clone()),
        ("a request that its key did not sign", "request-proof-invalid", &|r| r.csr = flip(&r.csr, 1)),
        ("prettier evidence", "evidence-mac-mismatch", &|r| drop(r.evidence.claims.insert("os_version".to_owned(), json!(99)))),
        ("a claim less", "evidence-incomplete", &|r| drop(r.evidence.claims.remove("debugger"))),
        ("a claim more", "evidence-incomplete", &|r| drop(r.evidence.claims.insert("surprise".to_owned(), json!(true)))),
        ("another MAC", "evidence-mac-mismatch", &|r| r.mac = flip(&r.mac, 0)),
        ("another code", "challenge-invalid", &|r| r.code = others.request().code.clone()),
    ];
    for (what, expected, exchange) in exchanged {
        let mut request = honest.request().clone();
        exchange(&mut request);
        assert_eq!(refused(scene.line.transport.enrol_with(&request).await), expected, "{what}");
    }
    let mut findings = sound_findings();
    findings.root = true;
    let rooted = scene.line.prepare(&scene.trust, &code, &findings).await.expect("prepares");
    assert_eq!(refused(scene.line.transport.enrol(&rooted).await), "evidence-contraindicated");
    let answer = scene.line.transport.enrol(&honest).await.expect("the code is still good");
    let mut phone = honest.complete(&scene.trust, &answer, now()).expect("a phone");
    scene.attest(&mut phone).await;
    scene.line.enrol(&scene.trust, &other_code, &sound_findings()).await.expect("and so is the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_good_for_one_answer_of_its_own_phone_and_purpose() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let phone = scene.attested("t-1", "standard").await;
    let other = scene.attested("t-2", "standard").await;
    let (device, others) = (phone.device().as_str().to_owned(), other.device().as_str().to_owned());
    let transport = &scene.line.transport;
    let challenge = transport.device_challenge(phone.device(), Purpose::Attest).await.expect("a challenge");
    let mut trail = scene.trail().await;
    let attestation = phone.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("an answer");
    transport.attest(phone.device(), &attestation.request).await.expect("a result");
    assert_eq!(refused(transport.attest(phone.device(), &attestation.request).await), "challenge-replayed");
    let again = phone.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("another answer");
    assert_eq!(refused(transport.attest(phone.device(), &again.request).await), "challenge-replayed");

    let renewal = transport.device_challenge(phone.device(), Purpose::Renew).await.expect("a challenge");
    let request = phone.renew(&scene.trust, &renewal, now()).expect("a request");
    transport.renew(phone.device(), &request).await.expect("renews");
    assert_eq!(refused(transport.renew(phone.device(), &request).await), "challenge-replayed");

    let mut swapped = attestation.request.clone();
    swapped.challenge.clone_from(&transport.device_challenge(phone.device(), Purpose::Renew).await.expect("a challenge").challenge);
    assert_eq!(refused(transport.attest(phone.device(), &swapped).await), "challenge-invalid");
    swapped.challenge = transport.device_challenge(other.device(), Purpose::Attest).await.expect("a challenge").challenge;
    assert_eq!(refused(transport.attest(phone.device(), &swapped).await), "challenge-invalid");
    assert_eq!(refused(transport.attest(other.device(), &swapped).await), "evidence-mac-mismatch");
    assert_eq!(
        trail.news().await,
        [
            format!("phone:device:{device} attest device {device}: done"),
            format!("phone:device:{device} attest device {device}: challenge-replayed"),
            format!("phone:device:{device} attest device {device}: challenge-replayed"),
            format!("phone:device:{device} renew_certificate device {device}: done"),
            format!("phone:device:{device} renew_certificate device {device}: challenge-replayed"),
            format!("phone:device:{device} attest device {device}: challenge-invalid"),
            format!("phone:device:{device} attest device {device}: challenge-invalid"),
            format!("phone:device:{others} attest device {others}: evidence-mac-mismatch"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_answers_to_a_challenge_at_once_is_taken() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let phone = scene.phone("t-1", "standard").await;
    let challenge = scene.line.transport.device_challenge(phone.device(), Purpose::Attest).await.expect("a challenge");
    let attestation = phone.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("an answer");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (transport, device, request) = (scene.line.transport.clone(), phone.device().clone(), attestation.request.clone());
        tasks.spawn(async move { transport.attest(&device, &request).await });
    }
    let (taken, refusals): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(taken.len(), 1);
    assert!(refusals.into_iter().all(|refusal| refused(refusal) == "challenge-replayed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_was_changed_is_refused_and_uses_the_challenge_up() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let phone = scene.phone("t-1", "standard").await;
    let transport = &scene.line.transport;
    let challenge = transport.device_challenge(phone.device(), Purpose::Attest).await.expect("a challenge");
    let mut findings = sound_findings();
    findings.debugger = true;
    let mut tampered = phone.attest(&scene.trust, &challenge, &findings, now()).expect("an answer").request;
    tampered.evidence.claims.insert("debugger".to_owned(), json!(false));
    assert_eq!(refused(transport.attest(phone.device(), &tampered).await), "evidence-mac-mismatch");
    let honest = phone.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("an answer");
    assert_eq!(refused(transport.attest(phone.device(), &honest.request).await), "challenge-replayed", "one guess a challenge");
    assert_eq!(scene.device(&phone).await["state"], "active", "what somebody else sends does not stop a phone");

    for (what, expected) in
        [("less", "evidence-incomplete"), ("unsigned", "evidence-signature-mismatch"), ("signed by another", "evidence-signature-mismatch")]
    {
        let challenge = transport.device_challenge(phone.device(), Purpose::Attest).await.expect("a challenge");
        let mut request = phone.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("an answer").request;
        match what {
            "less" => drop(request.evidence.claims.remove("root")),
            "unsigned" => request.signature = None,
            _ => request.signature = Some(MerchantKey::generate().expect("a key").sign(b"something").into()),
        }
        assert_eq!(refused(transport.attest(phone.device(), &request).await), expected, "{what}");
    }
    // A level that does not ask for a signature does not take one either.
    let basic = scene.phone("t-2", "basic").await;
    let challenge = transport.device_challenge(basic.device(), Purpose::Attest).await.expect("a challenge");
    let mut request = basic.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("an answer").request;
    assert_eq!(request.signature, None);
    request.signature = Some(MerchantKey::generate().expect("a key").sign(b"something").into());
    assert_eq!(refused(transport.attest(basic.device(), &request).await), "evidence-signature-mismatch");
}

/// What a thief makes of two phones: a copy of the files of one, with some of them replaced.
fn thief(directory: &Path, victim: &mut Phone, replace: impl FnOnce(&Path)) -> Phone {
    let (kept, copied): (PathBuf, PathBuf) = (directory.join("victim"), directory.join("thief"));
    victim.save(&kept).expect("keeps");
    std::fs::create_dir_all(&copied).expect("a folder");
    for file in std::fs::read_dir(&kept).expect("files") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), copied.join(file.file_name())).expect("copies");
    }
    replace(&copied);
    Phone::load(&copied).expect("a phone")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_second_secret_is_worth_nothing_without_the_merchant_key_of_its_phone() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let directory = TempDir::new().expect("a folder");
    let mut victim = scene.attested("t-1", "full").await;
    let device = victim.device().as_str().to_owned();
    let own_key = |folder: &Path| {
        let key = MerchantKey::generate().expect("a key");
        std::fs::write(folder.join("merchant-key"), data_encoding::BASE64URL_NOPAD.encode(&key.expose_bytes())).expect("writes");
    };
    let copy = thief(directory.path(), &mut victim, own_key);
    let transport = &scene.line.transport;
    let mut trail = scene.trail().await;
    let challenge = transport.device_challenge(copy.device(), Purpose::Attest).await.expect("a challenge");
    let attestation = copy.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("an answer");
    assert_eq!(refused(transport.attest(copy.device(), &attestation.request).await), "evidence-signature-mismatch");
    let challenge = transport.device_challenge(copy.device(), Purpose::Renew).await.expect("a challenge");
    let request = copy.renew(&scene.trust, &challenge, now()).expect("a request");
    assert_eq!(refused(transport.renew(copy.device(), &request).await), "certificate-key-changed");
    assert_eq!(
        trail.news().await,
        [
            format!("phone:device:{device} attest device {device}: evidence-signature-mismatch"),
            format!("phone:device:{device} renew_certificate device {device}: certificate-key-changed"),
        ]
    );
    scene.attest(&mut victim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_second_secret_is_worth_nothing_under_another_device_id() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let (of_victim, of_other) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let mut victim = scene.phone("t-1", "basic").await;
    let mut other = scene.attested("t-2", "basic").await;
    victim.save(&of_victim.path().join("kept")).expect("keeps");
    let copy = thief(of_other.path(), &mut other, |folder| {
        std::fs::copy(of_victim.path().join("kept/second-secret"), folder.join("second-secret")).expect("copies");
    });
    assert_eq!(copy.device(), other.device());
    let transport = &scene.line.transport;
    let challenge = transport.device_challenge(copy.device(), Purpose::Attest).await.expect("a challenge");
    let attestation = copy.attest(&scene.trust, &challenge, &sound_findings(), now()).expect("an answer");
    assert_eq!(refused(transport.attest(copy.device(), &attestation.request).await), "evidence-mac-mismatch");
    // As the victim itself, with the same evidence: the challenge names its phone.
    assert_eq!(refused(transport.attest(victim.device(), &attestation.request).await), "challenge-invalid");
    let challenge = transport.device_challenge(copy.device(), Purpose::Renew).await.expect("a challenge");
    let request = copy.renew(&scene.trust, &challenge, now()).expect("a request");
    assert_eq!(refused(transport.renew(copy.device(), &request).await), "evidence-mac-mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_was_changed_a_pin_key_and_a_strangers_key_are_not_decrypted() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let mut phone = scene.attested("t-1", "standard").await;
    let device = phone.device().as_str().to_owned();
    let mut trail = scene.trail().await;
    let honest = payment(&mut phone, b"4111111111111111=3012");
    for member in ["iv", "aad", "ciphertext", "mac"] {
        let mut message = honest.clone();
        let text = message[member].as_str().expect("text").to_owned();
        let other = if text.starts_with('A') { 'B' } else { 'A' };
        message[member] = json!(format!("{other}{}", &text[1..]));
        assert_eq!(reason(scene.backend.post("/v1/dukpt/decrypt", &message).await), "mac-mismatch", "{member}");
    }
    let mut message = honest.clone();
    let counter = u32::from_str_radix(&honest["ksn"].as_str().expect("text")[16..], 16).expect("a counter");
    message["ksn"] = json!(format!("{}{:08X}", phone.data_ikid(), counter + 1));
    assert_eq!(reason(scene.backend.post("/v1/dukpt/decrypt", &message).await), "mac-mismatch");

    // A PIN block goes to the acquirer's payment HSM; here its KSN leads nowhere, whatever comes with it.
    let pin = phone.pin_block("1234", "4111111111111111").expect("a PIN block");
    let mut message = honest.clone();
    message["ksn"] = json!(pin.ksn.to_string());
    let refusal = denied(scene.backend.post("/v1/dukpt/decrypt", &message).await);
    assert_eq!((refusal.status, refusal.reason.as_str()), (404, "ksn-unknown"));
    message["ksn"] = json!("E1000002FFFFFFFF00000001");
    assert_eq!(reason(scene.backend.post("/v1/dukpt/decrypt", &message).await), "ksn-unknown");
    let mut expected = vec![format!("backend:backend decrypt device {device}: mac-mismatch"); 5];
    expected.push(format!("backend:backend decrypt device {}: ksn-unknown", phone.pin_ikid()));
    expected.push("backend:backend decrypt device E1000002FFFFFFFF: ksn-unknown".to_owned());
    assert_eq!(trail.news().await, expected);
    scene.backend.post("/v1/dukpt/decrypt", &honest).await.expect("the honest one still decrypts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_enrols_twice_with_one_key_is_found() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let directory = TempDir::new().expect("a folder");
    let mut first = scene.phone("t-1", "basic").await;
    first.save(&directory.path().join("first")).expect("keeps");
    let code = scene.service.code("t-2", "basic").await;
    let pending = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
    let key = std::fs::read_to_string(directory.path().join("first/merchant-key")).expect("a key");
    let key = data_encoding::BASE64URL_NOPAD.decode(key.trim().as_bytes()).expect("base64url");
    let mut request = pending.request().clone();
    request.csr = MerchantKey::from_bytes(&key).expect("a key").certificate_request().into();
    let payload = request.challenge.split('.').nth(1).expect("a payload");
    let claims: serde_json::Value =
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url")).expect("JSON");
    let ikid = serde_json::from_value(claims["ikid"].clone()).expect("an IKID");
    let transcript = tillward_device::transcript::enrolment(&request);
    request.mac = pending.expose_second_secret().mac_key(ikid).cmac(&[&transcript]).into();
    assert_eq!(refused(scene.line.transport.enrol_with(&request).await), "key-already-enrolled");
    let answer = scene.line.transport.enrol(&pending).await.expect("with its own key it enrols");
    let mut phone = pending.complete(&scene.trust, &answer, now()).expect("a phone");
    let result = scene.line.attest(&scene.trust, &mut phone, &sound_findings()).await.expect("attests");
    assert_eq!(status(&result), "affirming");
}
