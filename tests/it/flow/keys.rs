//! The life of managed keys, through the API.

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use serde_json::{Value, json};
use tillward::cli::api::Api;
use tillward::key::{KeyState, Life, Move};

use crate::scene::{Scene, denied, reason};
use crate::service::{ACQUIRER, Service};

/// A MAC key of the acquirer.
pub(super) fn body(key: &str) -> Value {
    json!({"key": key, "purpose": "mac", "algorithm": "aes-256", "acquirer": ACQUIRER})
}

/// Proposes a deed as the operator, has two officers sign it, and executes it.
pub(super) async fn by_quorum(service: &Service, deed: &str, key: &str, version: u32) -> anyhow::Result<Value> {
    let operator = service.api("operator");
    let plan = operator.post("/v1/plans", &json!({"deed": deed, "key": key, "version": version})).await?;
    let (id, hash) = (plan["id"].as_str().expect("an id"), plan["hash"].as_str().expect("a hash"));
    let hash = data_encoding::HEXLOWER.decode(hash.as_bytes()).expect("hexadecimal");
    for officer in ["officer", "officer-2"] {
        let pem = std::fs::read_to_string(service.workplace.dir.join(format!("tls/{officer}-key.pem"))).expect("a key file");
        let signature: Signature = SigningKey::from_pkcs8_pem(&pem).expect("P-256").sign_prehash(&hash).expect("signs");
        let body = json!({"signature": data_encoding::BASE64URL_NOPAD.encode(&signature.to_bytes())});
        service.api(officer).post(&format!("/v1/plans/{id}/approvals"), &body).await?;
    }
    operator.post(&format!("/v1/plans/{id}/execute"), &json!({})).await
}

/// State of a version, and whether it waits.
pub(super) async fn state(api: &Api, key: &str, version: usize) -> (String, bool) {
    let key = api.get(&format!("/v1/keys/{key}")).await.expect("a key");
    let version = &key["versions"][version - 1];
    (version["state"].as_str().expect("a state").to_owned(), version.get("destroy_at").is_some())
}

async fn moved(api: &Api, key: &str, version: u32, verb: &str) -> anyhow::Result<Value> {
    api.post(&format!("/v1/keys/{key}/versions/{version}/{verb}"), &json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_once_read_by_alias_rotated_and_listed() {
    let scene = Scene::set().await;
    let (operator, backend, auditor) = (&scene.operator, &scene.backend, &scene.auditor);
    let mut asked = body("receipts");
    asked["aliases"] = json!(["current-receipts"]);
    let made = operator.post("/v1/keys", &asked).await.expect("made");
    assert_eq!((&made["primary"], &made["versions"][0]["state"]), (&json!(1), &json!("active")), "{made:#}");
    assert_eq!(made["versions"][0]["label"], json!("key:receipts:1:mac:aes-256"));
    assert_eq!(made["versions"][0]["kcv"].as_str().map(str::len), Some(10), "{made:#}");
    assert_eq!(operator.post("/v1/keys", &asked).await.expect("the same"), made, "asked again");
    let other = json!({"key": "receipts", "purpose": "mac", "algorithm": "aes-128", "acquirer": ACQUIRER});
    assert_eq!(reason(operator.post("/v1/keys", &other).await), "key-exists");
    assert_eq!(reason(operator.post("/v1/keys", &body("current-receipts")).await), "key-exists", "an alias is taken");
    for (purpose, algorithm) in [("wrap", "aes-128"), ("sign", "aes-256")] {
        let bad = json!({"key": "x", "purpose": purpose, "algorithm": algorithm, "acquirer": ACQUIRER});
        assert_eq!(reason(operator.post("/v1/keys", &bad).await), "algorithm-not-offered");
    }
    assert_eq!(reason(operator.post("/v1/keys", &body("issuing-ca")).await), "key-of-the-design");
    assert_eq!(reason(operator.post("/v1/keys", &body("bdk-data.new")).await), "key-of-the-design");

    assert_eq!(backend.get("/v1/keys/current-receipts").await.expect("by alias"), made);
    assert_eq!(reason(backend.post("/v1/keys", &body("mine")).await), "not-permitted");
    assert_eq!(reason(backend.get("/v1/keys/nobodys").await), "key-unknown");
    assert_eq!(reason(backend.get("/v1/keys/issuing-ca").await), "not-permitted", "the service's own");

    let rotated = operator.post("/v1/keys/receipts/rotate", &json!({})).await.expect("rotated");
    assert_eq!(rotated["primary"], json!(2));
    assert_eq!((state(auditor, "receipts", 1).await.0, state(auditor, "receipts", 2).await.0), ("deactivated".into(), "active".into()));
    assert_ne!(rotated["versions"][0]["kcv"], rotated["versions"][1]["kcv"]);
    let change = json!({"rotation_seconds": 86_400, "aliases": ["a", "b"]});
    let changed = scene.service.api("officer").call(reqwest::Method::PATCH, "/v1/keys/receipts", Some(&change)).await.expect("changed");
    assert_eq!((&changed["rotation_seconds"], &changed["aliases"]), (&json!(86_400), &json!(["a", "b"])));
    let primary = json!({"primary": 1});
    let refused = operator.call(reqwest::Method::PATCH, "/v1/keys/receipts", Some(&primary)).await;
    assert_eq!(reason(refused), "key-state", "a deactivated version does not protect again");

    let names = async |api: &Api, query: &str| -> Vec<String> {
        let page = api.get(&format!("/v1/keys{query}")).await.expect("a page");
        page["keys"].as_array().expect("keys").iter().map(|key| key["key"].as_str().expect("text").to_owned()).collect()
    };
    let own = [format!("bdk-data.{ACQUIRER}"), format!("bdk-pin.{ACQUIRER}"), "receipts".to_owned()];
    assert_eq!(names(backend, "").await, own);
    assert_eq!(names(auditor, "?class=kms").await, ["receipts"]);
    assert_eq!(names(auditor, "?class=design").await.len(), 12, "every key of the design is under control");
    assert_eq!(names(auditor, "?limit=1&after=issuing-ca").await.len(), 1);
    let report = operator.get("/v1/keys/reconciliation").await.expect("a report");
    assert_eq!(report["agreeing"], json!(14), "{report:#}");
    assert_eq!((&report["missing_on_token"], &report["unknown_on_token"], &report["differing"]), (&json!([]), &json!([]), &json!([])));
}

/// Leads a fresh version to a life, by the API alone.
async fn lead(scene: &Scene, key: &str, way: &[Move]) {
    let mut asked = body(key);
    asked["activate"] = json!(false);
    scene.operator.post("/v1/keys", &asked).await.expect("made");
    for step in way {
        go(scene, key, *step).await.unwrap_or_else(|error| panic!("{key} {step:?}: {error:#}"));
    }
}

async fn go(scene: &Scene, key: &str, step: Move) -> anyhow::Result<Value> {
    match step {
        Move::Activate => moved(&scene.operator, key, 1, "activate").await,
        Move::Suspend => moved(&scene.operator, key, 1, "suspend").await,
        Move::Deactivate => moved(&scene.operator, key, 1, "deactivate").await,
        Move::Restore => moved(&scene.operator, key, 1, "restore").await,
        Move::ReportCompromise => by_quorum(&scene.service, "report-compromise", key, 1).await,
        Move::ScheduleDestruction => by_quorum(&scene.service, "destroy-key", key, 1).await,
        Move::Destroy => unreachable!("the schedule does it"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transition_of_the_matrix_allowed_or_not() {
    let scene = Scene::set().await;
    let moves: Vec<Move> = Move::ALL.into_iter().filter(|step| *step != Move::Destroy).collect();
    let mut known: Vec<(Life, Vec<Move>)> = vec![(Life::NEW, Vec::new())];
    let mut at = 0;
    while let Some((life, way)) = known.get(at).cloned() {
        let stays = format!("k{at}");
        lead(&scene, &stays, &way).await;
        for step in &moves {
            // What is refused changes nothing, so one key takes all of it.
            let Ok(after) = life.after(*step) else {
                let answer = go(&scene, &stays, *step).await;
                match step {
                    // Asked for what is: the answer says so.
                    Move::Activate if life.state == KeyState::Active => drop(answer.expect("it is active")),
                    Move::Suspend if life.state == KeyState::Suspended && !life.waits => drop(answer.expect("it is suspended")),
                    Move::Deactivate if life.state == KeyState::Deactivated && !life.waits => drop(answer.expect("it is deactivated")),
                    _ => assert_eq!(reason(answer), "key-state", "{} {step:?}", life.words()),
                }
                assert_eq!(
                    state(&scene.auditor, &stays, 1).await,
                    (life.state.name().to_owned(), life.waits),
                    "{step:?} of {}",
                    life.words()
                );
                continue;
            };
            let key = format!("k{at}-{step:?}");
            lead(&scene, &key, &way).await;
            go(&scene, &key, *step).await.unwrap_or_else(|error| panic!("{} {step:?}: {error:#}", life.words()));
            assert_eq!(state(&scene.auditor, &key, 1).await, (after.state.name().to_owned(), after.waits), "{step:?} of {}", life.words());
            if known.iter().all(|(seen, _)| *seen != after) {
                known.push((after, way.iter().copied().chain([*step]).collect()));
            }
        }
        at += 1;
    }
    assert!(known.len() > 10, "{}", known.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspended_of_the_design_stops_what_depends_on_it_and_nothing_else() {
    let scene = Scene::set().await;
    let mut phone = scene.attested("t-1", "standard").await;
    scene.pay(&mut phone, b"4111").await;
    let bdk = format!("bdk-data.{ACQUIRER}");
    moved(&scene.operator, &bdk, 1, "suspend").await.expect("suspended");
    let message = crate::scene::payment(&mut phone, b"4111");
    let refused = denied(scene.backend.post("/v1/dukpt/decrypt", &message).await);
    assert_eq!((refused.reason.as_str(), refused.document["detail"].as_str()), ("key-state", Some(format!("{bdk} is suspended").as_str())));
    scene.clear(&phone).await.expect("attestation does not need it");
    let code = scene.service.code("t-2", "standard").await;
    let findings = tillward::cli::phone::sound_findings();
    assert_eq!(crate::scene::refused(scene.line.enrol(&scene.trust, &code, &findings).await.map_err(http)), "key-state");
    moved(&scene.operator, &bdk, 1, "activate").await.expect("goes on");
    scene.pay(&mut phone, b"4111").await;
    scene.line.enrol(&scene.trust, &code, &findings).await.expect("the code was not burnt");

    // A key of the service is everybody's: no operator stops it.
    assert_eq!(reason(moved(&scene.operator, "attestation-signing", 1, "suspend").await), "not-permitted");
    let officer = scene.service.api("officer");
    moved(&officer, "attestation-signing", 1, "suspend").await.expect("suspended");
    assert_eq!(reason(scene.clear(&phone).await), "key-state");
    scene.pay(&mut phone, b"4111").await;
    moved(&officer, "attestation-signing", 1, "activate").await.expect("goes on");

    for (verb, key) in [("deactivate", bdk.as_str()), ("restore", "issuing-ca")] {
        assert_eq!(reason(moved(&officer, key, 1, verb).await), "key-of-the-design");
    }
    assert_eq!(reason(scene.operator.post(&format!("/v1/keys/{bdk}/rotate"), &json!({})).await), "key-of-the-design");
    let stranded = denied(by_quorum(&scene.service, "destroy-key", &bdk, 1).await);
    assert_eq!((stranded.reason.as_str(), stranded.document["detail"].as_str()), ("would-strand", Some("would strand 2 phones")));
    let stranded = denied(by_quorum(&scene.service, "destroy-key", "issuing-ca", 1).await);
    assert_eq!(stranded.document["detail"].as_str(), Some("would strand 2 certificates"));

    let check = json!({"deed": "report-compromise", "key": bdk, "version": 1, "dry_run": true});
    let check = scene.operator.post("/v1/plans", &check).await.expect("a dry run")["check"].clone();
    assert_eq!(check["reissue"]["phones"], json!(2), "{check:#}");
    let done = by_quorum(&scene.service, "report-compromise", &bdk, 1).await.expect("reported");
    assert_eq!(done["result"], check);
    let message = crate::scene::payment(&mut phone, b"4111");
    assert_eq!(reason(scene.backend.post("/v1/dukpt/decrypt", &message).await), "key-state");
    assert_eq!(reason(moved(&scene.operator, &bdk, 1, "activate").await), "key-state", "for good");
}

/// The refusal that a device listener's error holds.
fn http(error: anyhow::Error) -> tillward_device::http::HttpError {
    error.downcast().expect("an answer of the device listener")
}
