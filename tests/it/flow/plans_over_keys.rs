//! What a quorum does to keys: destroys, gives out, takes in. The partner is software of its own.

use std::fmt::Write as _;

use std::process::Command;

use p256::ecdsa::SigningKey;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::plans::{approve, execute, path, text};
use crate::partner::{self, Partner};
use crate::scene::{Scene, denied, reason};
use crate::service::{ACQUIRER, PROGRAM, Service};

/// A plan with the approvals of two officers.
async fn approved(scene: &Scene, body: &Value) -> Value {
    let plan = scene.operator.post("/v1/plans", body).await.expect("a plan");
    approve(&scene.service, "officer", &plan).await.expect("one");
    approve(&scene.service, "officer-2", &plan).await.expect("two");
    plan
}

async fn make(scene: &Scene, name: &str, exportable: bool) {
    let body = json!({"key": name, "purpose": "mac", "algorithm": "aes-256", "exportable": exportable, "acquirer": ACQUIRER});
    scene.operator.post("/v1/keys", &body).await.expect("a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_officers_destroy_a_version_and_one_cannot() {
    let scene = Scene::set().await;
    make(&scene, "receipts", false).await;
    let body = json!({"deed": "destroy-key", "key": "receipts", "version": 1});
    assert_eq!(
        reason(scene.operator.post("/v1/plans", &json!({"deed": "destroy-key", "key": "receipts", "version": 2})).await),
        "key-unknown"
    );
    let in_use = denied(scene.operator.post("/v1/plans", &body).await);
    assert_eq!(in_use.reason, "key-state", "what is active is not destroyed");
    scene.operator.post("/v1/keys/receipts/versions/1/deactivate", &json!({})).await.expect("deactivated");
    let mut dry = body.clone();
    dry["dry_run"] = json!(true);
    let shown = scene.operator.post("/v1/plans", &dry).await.expect("dry");
    assert!(text(&shown, "plan").contains("key receipts\nversion 1\npurpose mac\nalgorithm aes-256\n"), "{shown:#}");
    assert!(shown["check"]["destroy_at"].is_string(), "{shown:#}");

    let plan = scene.operator.post("/v1/plans", &body).await.expect("a plan");
    approve(&scene.service, "officer", &plan).await.expect("one");
    assert_eq!(reason(execute(&scene.operator, &plan).await), "approvals-missing");
    approve(&scene.service, "officer-2", &plan).await.expect("two");
    let mut trail = scene.trail().await;
    let done = execute(&scene.operator, &plan).await.expect("executed");
    assert_eq!(text(&done, "plan"), text(&plan, "plan"));
    let entries = trail.entries().await;
    let entry = entries.iter().find(|entry| entry["action"] == "destroy_key").expect("an entry");
    assert_eq!(entry["detail"]["plan"], plan["plan"]);
    for (fact, officer) in [("approval_1", "officer"), ("approval_2", "officer-2")] {
        let signed = entry["detail"][fact].as_str().expect("a signature");
        assert!(signed.starts_with(&format!("urn:tillward:principal:{officer} ")), "{signed}");
    }
    let key = scene.operator.get("/v1/keys/receipts").await.expect("a key");
    assert!(key["versions"][0]["destroy_at"].is_string(), "{key:#}");
    assert_eq!(reason(execute(&scene.operator, &plan).await), "plan-closed");
}

/// Holds a ceremony that makes KEKs for the partner, in the folder of a service that is away.
fn make_keks(service: &Service, partner: &Partner) -> [Vec<u8>; 2] {
    let dir = &service.workplace.dir;
    let mut file = String::from("title = \"KEKs of the test\"\ntoken = \"tillward\"\n");
    for (name, part, seed) in [("Ada", "leader", 1_u8), ("Bob", "witness", 2)] {
        let key = SigningKey::from_slice(&[seed; 32]).expect("a scalar");
        let public = data_encoding::BASE64.encode(key.verifying_key().to_public_key_der().expect("DER").as_bytes());
        let _ = write!(file, "\n[[present]]\nname = \"{name}\"\npart = \"{part}\"\nkey = \"{public}\"\n");
    }
    let spki = partner.spki();
    let base64 = data_encoding::BASE64.encode(&spki);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&spki));
    for (name, form) in [("bank", "key-block"), ("bare", "kwp")] {
        let _ = write!(
            file,
            "\n[[step]]\nmake = \"partner-kek\"\nname = \"{name}\"\nversion = 1\nform = \"{form}\"\npartner_key = \"\"\"{pem}\"\"\"\npartner_key_sha256 = \"{digest}\"\n"
        );
    }
    std::fs::write(dir.join("ceremony.toml"), file).expect("writes");
    let held = Command::new(PROGRAM)
        .args(["ceremony", "run"])
        .arg(dir.join("ceremony.toml"))
        .arg("--config")
        .arg(service.workplace.config())
        .arg("--out")
        .arg(dir.join("out"))
        .arg("--execute")
        .output()
        .expect("starts");
    assert!(held.status.success(), "{}", String::from_utf8_lossy(&held.stderr));
    ["bank-1.kek", "bare-1.kek"].map(|name| partner.open_given_out(&std::fs::read(dir.join("out").join(name)).expect("a KEK")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_leaves_for_a_partner_and_one_comes_in_only_as_it_was_approved() {
    let partner = Partner::new();
    let mut service = Service::start();
    assert!(service.stop().success());
    let [bank, _] = make_keks(&service, &partner);
    service.restart();
    let scene = Scene::of(service).await;
    make(&scene, "leaves", true).await;
    make(&scene, "stays", false).await;

    // Out: in the form of the KEK, and by policy only with a header.
    let export = |key: &str, kek: &str| json!({"deed": "export-key", "key": key, "version": 1, "kek": kek, "kek_version": 1});
    assert_eq!(reason(scene.operator.post("/v1/plans", &export("stays", "bank")).await), "key-not-exportable");
    assert_eq!(reason(scene.operator.post("/v1/plans", &export("leaves", "stays")).await), "key-purpose");
    let bare = approved(&scene, &export("leaves", "bare")).await;
    assert_eq!(reason(execute(&scene.operator, &bare).await), "not-permitted", "no policy lets a key out without a header");
    let plan = approved(&scene, &export("leaves", "bank")).await;
    let done = execute(&scene.operator, &plan).await.expect("executed");
    let block = data_encoding::BASE64URL_NOPAD.decode(text(&done["result"], "content").as_bytes()).expect("base64url");
    let opened = partner::open_block(&bank, &block).expect("the MAC verifies");
    assert_eq!(data_encoding::HEXUPPER.encode(&partner::kcv(&opened.key)), text(&done["result"], "kcv"));
    assert_eq!(data_encoding::HEXUPPER.encode(&partner::kcv(&bank)), text(&done["result"], "kek_kcv"));

    // A compromise of the KEK finds what left under it, and one of another KEK does not.
    let under = async |kek: &str| {
        let body = json!({"deed": "report-compromise", "key": kek, "version": 1, "dry_run": true});
        scene.operator.post("/v1/plans", &body).await.expect("a dry run")["check"]["exports"].as_array().map(Vec::len)
    };
    assert_eq!((under("bank").await, under("bare").await), (Some(1), Some(0)));

    // Without `export-kek` none leaves, and none is made that could.
    let officer = scene.service.api("officer");
    let plan = approved(&scene, &export("leaves", "bank")).await;
    officer.post("/v1/keys/export-kek/versions/1/suspend", &json!({})).await.expect("suspended");
    assert_eq!(reason(execute(&scene.operator, &plan).await), "key-state");
    let body = json!({"key": "later", "purpose": "mac", "algorithm": "aes-256", "exportable": true, "acquirer": ACQUIRER});
    assert_eq!(reason(scene.operator.post("/v1/keys", &body).await), "key-state");
    officer.post("/v1/keys/export-kek/versions/1/activate", &json!({})).await.expect("goes on");

    // A KEK has no check value that the token could tell: that is no difference.
    let report = scene.operator.get("/v1/keys/reconciliation").await.expect("a report");
    assert_eq!(report["differing"], json!([]), "{report:#}");

    // In: exactly the content that was approved.
    let theirs = partner::make_block(&bank, "M6AC01", Some("key:theirs:1:mac:aes-256"), &[0x42; 32]);
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&theirs));
    let body = json!({"deed": "import-key", "key": "theirs", "version": 1, "purpose": "mac", "algorithm": "aes-256", "kek": "bank",
        "kek_version": 1, "content": digest});
    let mut far = body.clone();
    far["version"] = json!(u32::MAX);
    assert_eq!(reason(scene.operator.post("/v1/plans", &far).await), "state-conflict", "the last number there is");
    let plan = approved(&scene, &body).await;
    let bring = async |content: &[u8]| {
        let body = json!({"content": data_encoding::BASE64URL_NOPAD.encode(content)});
        scene.operator.post(&path(&plan, "/execute"), &body).await
    };
    assert_eq!(reason(execute(&scene.operator, &plan).await), "malformed", "without the content");
    let other = partner::make_block(&bank, "M6AC01", Some("key:theirs:1:mac:aes-256"), &[0x43; 32]);
    assert_eq!(reason(bring(&other).await), "plan-changed");
    let done = bring(&theirs).await.expect("executed");
    assert_eq!(text(&done["result"], "kcv"), data_encoding::HEXUPPER.encode(&partner::kcv(&[0x42; 32])));
    let key = scene.operator.get("/v1/keys/theirs").await.expect("a key");
    assert_eq!((text(&key["versions"][0], "origin"), text(&key["versions"][0], "state")), ("imported", "pre-activation"));
    assert_eq!(reason(bring(&theirs).await), "plan-closed");
    assert_eq!(reason(scene.operator.post("/v1/plans", &body).await), "key-exists");
}
