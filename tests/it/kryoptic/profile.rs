//! What kryoptic 1.5 was measured to do. If this changes, the ways round it can go.

use serde_json::Value;
use tillward::cli::phone::sound_findings;
use tillward_device::transcript;
use tillward_device::transport_key::TransportKey;
use tillward_hsm::OaepHash;

use super::MODULE;
use crate::scene::{Scene, refused};
use crate::token::Token;

#[tokio::test(flavor = "multi_thread")]
async fn its_profile_is_as_measured() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    let profile = hsm.status().await.expect("status").profile.expect("profile");
    assert_eq!((profile.kwp, profile.oaep, profile.value_len_on_unwrap), (Some(0x210B), Some(OaepHash::Sha256), false));
    assert!(
        profile.allowed_mechanisms && profile.unwrap_template && profile.derive_template && profile.ecdh && profile.ed25519,
        "{profile:?}"
    );
    // A copy may take MODIFIABLE back, so no key can be copied.
    assert!(!profile.copies_sealed && !profile.session_copies);
    // A derivation has the length of its data or none.
    assert!(!profile.aes_192);
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_open_token_outlives_its_file() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    std::fs::rename(token.path("tokens"), token.path("gone")).expect("moves");
    std::fs::create_dir(token.path("tokens")).expect("makes");
    hsm.canary().await.expect("sings");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_form_of_the_parameters_has_the_rsa_key_alone_and_a_phone_may_still_use_it() {
    let Some(scene) = Scene::set_on(MODULE).await else { return };
    let claims = async |path: &str| {
        let url = format!("{}{path}", scene.service.device_url());
        let body = scene.service.phone_client().get(url).send().await.expect("an answer").bytes().await.expect("a body");
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        claims_of(answer["parameters"].as_str().expect("a JWS"))
    };
    let (first, second) = (claims("/device/v1/enrolment/parameters").await, claims("/device/v2/enrolment/parameters").await);
    let members = |claims: &Value| {
        let mut names: Vec<_> = claims.as_object().expect("claims").keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(members(&first), ["exp", "iat", "iss", "levels", "transport"]);
    assert_eq!(members(&second), ["exp", "iat", "iss", "levels", "transports"]);
    let offered = second["transports"].as_array().expect("a list");
    let algorithms: Vec<_> = offered.iter().map(|key| key["alg"].as_str().expect("text")).collect();
    assert_eq!(algorithms, ["ECDH-X963-SHA256-A256KWP", "RSA-OAEP-256"]);
    assert_eq!(first["transport"], offered[1]);

    // A phone that knows RSA alone, on a service that offers both.
    let key = TransportKey::parse(&serde_json::from_value(offered[1].clone()).expect("a key")).expect("RSA");
    let code = scene.service.code("t-1", "standard").await;
    let pending = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("a request");
    assert_eq!(pending.request().wrapped_secret.0.len(), 105, "the phone takes the first that it knows");
    let mut request = pending.request().clone();
    request.transport_kid = key.kid().to_owned();
    assert_eq!(refused(scene.line.transport.enrol_with(&request).await), "transport-unwrap-failed", "a point under the other key's name");
    request.wrapped_secret = key.wrap(pending.expose_second_secret()).expect("wraps").into();
    let challenge = claims_of(&request.challenge);
    let mac_key = pending.expose_second_secret().mac_key(challenge["ikid"].as_str().expect("text").parse().expect("an IKID"));
    request.mac = mac_key.cmac(&[&transcript::enrolment(&request)]).into();
    scene.line.transport.enrol_with(&request).await.expect("enrols");
}

fn claims_of(jws: &str) -> Value {
    let payload = jws.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url")).expect("JSON")
}
