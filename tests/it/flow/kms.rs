//! The uses of managed keys: round trips, purposes, versions after a rotation, batches.

use data_encoding::BASE64URL_NOPAD as B64;
use p256::ecdsa::signature::Verifier as _;
use serde_json::{Value, json};

use crate::scene::{Scene, payment, reason};
use crate::service::ACQUIRER;

async fn key(scene: &Scene, name: &str, purpose: &str, algorithm: &str) {
    let body = json!({"key": name, "purpose": purpose, "algorithm": algorithm, "acquirer": ACQUIRER, "aliases": [format!("{name}-alias")]});
    let made = scene.operator.post("/v1/keys", &body).await.expect("a key");
    assert_eq!(made["primary"], 1, "{made}");
}

async fn of(scene: &Scene, key: &str, verb: &str, body: Value) -> anyhow::Result<Value> {
    scene.backend.post(&format!("/v1/keys/{key}/{verb}"), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_use_makes_the_other_takes_back() {
    let scene = Scene::set().await;
    for (name, purpose, algorithm) in [
        ("s", "sign", "ec-p256"),
        ("r", "sign", "rsa-3072"),
        ("m", "mac", "hmac-sha256"),
        ("c", "mac", "aes-256"),
        ("e", "encrypt", "aes-256"),
        ("w", "wrap", "aes-256"),
    ] {
        key(&scene, name, purpose, algorithm).await;
    }
    let message = B64.encode(b"a message");

    // Signatures: ours verify here, and outside with the published key; others do not.
    for (name, algorithm) in [("s", "ES256"), ("r", "PS256"), ("r", "RS256")] {
        let signed = of(&scene, name, "sign", json!({"message": message, "algorithm": algorithm})).await.expect("signs");
        assert_eq!((&signed["key"], &signed["version"], &signed["algorithm"]), (&json!(name), &json!(1), &json!(algorithm)));
        let body = json!({"message": message, "signature": signed["signature"], "algorithm": algorithm});
        assert_eq!(of(&scene, name, "verify", body.clone()).await.expect("verifies")["valid"], true);
        let mut wrong = body;
        wrong["message"] = json!(B64.encode(b"another"));
        assert_eq!(of(&scene, name, "verify", wrong).await.expect("verifies")["valid"], false);
    }
    let digest = B64.encode(&<sha2::Sha256 as sha2::Digest>::digest(b"a message"));
    let signed = of(&scene, "s-alias", "sign", json!({"digest": digest})).await.expect("signs");
    let public = scene.backend.get("/v1/keys/s/public").await.expect("a public key");
    let pem = public["pem"].as_str().expect("PEM");
    let verifying = <p256::ecdsa::VerifyingKey as p256::pkcs8::DecodePublicKey>::from_public_key_pem(pem).expect("a key");
    let bytes = B64.decode(signed["signature"].as_str().expect("text").as_bytes()).expect("base64url");
    let signature = p256::ecdsa::Signature::from_slice(&bytes).expect("r and s");
    verifying.verify(b"a message", &signature).expect("it is the message's");
    let set = scene.backend.get("/v1/keys/s/jwks.json").await.expect("a set");
    assert_eq!(set["keys"], json!([public["jwk"]]));
    let all = scene.backend.get("/v1/jwks.json").await.expect("a set");
    assert_eq!(all["keys"].as_array().map(Vec::len), Some(2), "{all}");

    // MACs.
    for (name, length) in [("m", 32), ("c", 16)] {
        let made = of(&scene, name, "mac", json!({"message": message})).await.expect("a MAC");
        let mac = B64.decode(made["mac"].as_str().expect("text").as_bytes()).expect("base64url");
        assert_eq!(mac.len(), length);
        for (mac, valid) in [(&mac[..], true), (&mac[..length - 1], false), (&[], false)] {
            let answer = of(&scene, name, "verify-mac", json!({"message": message, "mac": B64.encode(mac)})).await.expect("verifies");
            assert_eq!(answer["valid"], valid);
        }
    }

    // Encryption: with the same associated data alone, under this key alone, by any of its names.
    let plaintext = B64.encode(b"4111111111111111");
    let made = of(&scene, "e-alias", "encrypt", json!({"plaintext": plaintext, "associated_data": message})).await.expect("encrypts");
    assert_eq!(made["key"], "e");
    let opened = of(&scene, "e", "decrypt", json!({"ciphertext": made["ciphertext"], "associated_data": message})).await.expect("decrypts");
    assert_eq!(opened["plaintext"], plaintext);
    let again = of(&scene, "e", "encrypt", json!({"plaintext": plaintext, "associated_data": message})).await.expect("encrypts");
    assert_ne!(again["ciphertext"], made["ciphertext"], "a nonce came twice");
    key(&scene, "e2", "encrypt", "aes-256").await;
    for (key, body) in [
        ("e", json!({"ciphertext": made["ciphertext"]})),
        ("e", json!({"ciphertext": made["ciphertext"], "associated_data": plaintext})),
        ("e2", json!({"ciphertext": made["ciphertext"], "associated_data": message})),
        ("e", json!({"ciphertext": "AAAA"})),
    ] {
        assert_eq!(reason(of(&scene, key, "decrypt", body).await), "decryption-failed");
    }

    // Key material.
    for length in [16, 24, 32] {
        let material = B64.encode(&vec![7; length]);
        let made = of(&scene, "w", "wrap", json!({"material": material})).await.expect("wraps");
        let opened = of(&scene, "w", "unwrap", json!({"wrapped": made["wrapped"]})).await.expect("unwraps");
        assert_eq!(opened["material"], material);
    }
    assert_eq!(reason(of(&scene, "w", "wrap", json!({"material": B64.encode(&[7; 17])})).await), "malformed");
    assert_eq!(
        reason(of(&scene, "w", "unwrap", json!({"wrapped": B64.encode(&[&b"TWW1\0\0\0\x01"[..], &[9; 24]].concat())})).await),
        "wrapped-key-refused"
    );

    // A key does one thing, for its own.
    for (key, verb, body) in [
        ("s", "mac", json!({"message": message})),
        ("e", "wrap", json!({"material": B64.encode(&[7; 16])})),
        ("w", "decrypt", json!({"ciphertext": made["ciphertext"]})),
        ("m", "sign", json!({"message": message})),
    ] {
        assert_eq!(reason(of(&scene, key, verb, body).await), "not-permitted", "{key} {verb}: by policy, before the key is looked at");
    }
    assert_eq!(reason(of(&scene, "nobody", "sign", json!({"message": message})).await), "key-unknown");
    assert_eq!(reason(scene.auditor.post("/v1/keys/e/decrypt", &json!({"ciphertext": made["ciphertext"]})).await), "not-permitted");

    // Random bytes.
    let random = scene.backend.post("/v1/random", &json!({"bytes": 32})).await.expect("random");
    assert_eq!(random["random"].as_str().map(str::len), Some(43));
    assert_eq!(reason(scene.backend.post("/v1/random", &json!({"bytes": 1025})).await), "malformed");

    // Every use is in the audit log, and no plaintext is in the log of the service.
    let log = scene.service.log_text();
    assert!(!log.contains(&plaintext) && !log.contains("4111111111111111"), "{log}");
    let page = scene.auditor.get("/v1/audit?limit=500").await.expect("the log");
    let used = page["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["action"] == "key_decrypt" && entry["outcome"] == "effect");
    assert_eq!(used.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_processes_and_a_batch_answers_for_each_item() {
    let scene = Scene::set().await;
    key(&scene, "e", "encrypt", "aes-128").await;
    let plaintext = B64.encode(b"old");
    let old = of(&scene, "e", "encrypt", json!({"plaintext": plaintext})).await.expect("encrypts");
    scene.operator.post("/v1/keys/e/rotate", &json!({})).await.expect("rotates");
    let new = of(&scene, "e", "encrypt", json!({"plaintext": plaintext})).await.expect("encrypts");
    assert_eq!((&old["version"], &new["version"]), (&json!(1), &json!(2)));
    scene.operator.post("/v1/keys/e/versions/1/deactivate", &Value::Null).await.expect("deactivated");

    // It decrypts, and does not encrypt.
    let open = |made: &Value| json!({"ciphertext": made["ciphertext"]});
    let opened = of(&scene, "e", "decrypt", open(&old)).await.expect("decrypts");
    assert_eq!((&opened["plaintext"], &opened["version"]), (&json!(plaintext), &json!(1)));
    assert_eq!(reason(of(&scene, "e", "encrypt", json!({"plaintext": plaintext, "version": 1})).await), "key-state");

    // Items of both versions, one of none, one that is broken: each has its own outcome.
    let mut broken = B64.decode(new["ciphertext"].as_str().expect("text").as_bytes()).expect("base64url");
    *broken.last_mut().expect("a byte") ^= 1;
    let unknown = B64.encode(&[&b"TWC1\0\0\0\x09"[..], &[0; 28]].concat());
    let items = json!([open(&old), {"ciphertext": B64.encode(&broken)}, open(&new), {"ciphertext": unknown}, {"ciphertext": "AAAA"}]);
    let answer = of(&scene, "e", "decrypt/batch", json!({"items": items})).await.expect("answers");
    let outcomes: Vec<&str> =
        answer["items"].as_array().expect("items").iter().map(|item| item["problem"]["reason"].as_str().unwrap_or("done")).collect();
    assert_eq!(outcomes, ["done", "decryption-failed", "done", "key-unknown", "decryption-failed"]);
    assert_eq!(answer["items"][2]["plaintext"], plaintext);
    for count in [0, 101] {
        let items = vec![json!({"plaintext": "AA"}); count];
        assert_eq!(reason(of(&scene, "e", "encrypt/batch", json!({"items": items})).await), "malformed", "{count}");
    }
    let full = of(&scene, "e", "encrypt/batch", json!({"items": vec![json!({"plaintext": "AA"}); 100]})).await.expect("answers");
    assert!(full["items"].as_array().is_some_and(|items| items.len() == 100 && items.iter().all(|item| item["version"] == 2)));

    // A batch counts each of its uses, and what does not fit does not begin.
    let body = json!({"key": "few", "purpose": "mac", "algorithm": "aes-128", "acquirer": ACQUIRER, "uses_limit": 5});
    scene.operator.post("/v1/keys", &body).await.expect("a key");
    let batch = |count: usize| json!({"items": vec![json!({"message": "AA"}); count]});
    of(&scene, "few", "mac/batch", batch(4)).await.expect("four");
    assert_eq!(reason(of(&scene, "few", "mac/batch", batch(2)).await), "key-limit");
    // A dry run counts nothing.
    let dry = of(&scene, "few", "mac?dry_run=true", json!({"message": "AA"})).await.expect("would be done");
    assert_eq!((&dry["permitted"], &dry["action"]), (&json!(true), &json!("key_mac")));
    of(&scene, "few", "mac", json!({"message": "AA"})).await.expect("the fifth");
    assert_eq!(reason(of(&scene, "few", "mac", json!({"message": "AA"})).await), "key-limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phones_messages_are_held_to_the_key_set_that_is_named() {
    let scene = Scene::set().await;
    let mut phone = scene.phone("t1", "standard").await;
    let sets = scene.backend.get("/v1/key-sets").await.expect("the sets");
    let data = &sets["key_sets"][0]["data"];
    assert_eq!((&sets["key_sets"][0]["acquirer"], &data["id"], &data["state"]), (&json!(ACQUIRER), &json!("E1000002"), &json!("ready")));
    assert!(data["check_value"].is_string(), "{sets}");

    let decrypt = format!("/v1/key-sets/{ACQUIRER}/decrypt");
    let (first, second) = (payment(&mut phone, b"4111"), payment(&mut phone, b"4222"));
    let dry = scene.backend.post(&format!("{decrypt}?dry_run=true"), &first).await.expect("would be done");
    assert_eq!((&dry["permitted"], &dry["action"]), (&json!(true), &json!("decrypt")));
    assert_eq!(scene.backend.post(&decrypt, &first).await.expect("decrypts")["plaintext"], B64.encode(b"4111"));

    let mut foreign = second.clone();
    foreign["ksn"] = json!("E10000020000FFFF00000001");
    let mut pin = second.clone();
    pin["ksn"] = json!("E10000010000000100000001");
    let batch = scene.backend.post(&format!("{decrypt}/batch"), &json!({"items": [foreign, second, pin]})).await.expect("answers");
    assert_eq!(batch["items"][0]["problem"]["reason"], "ksn-unknown");
    assert_eq!(batch["items"][1]["plaintext"], B64.encode(b"4222"));
    assert_eq!(batch["items"][2]["problem"]["reason"], "ksn-unknown");
    assert_eq!(reason(scene.backend.post("/v1/key-sets/another-bank/decrypt", &first).await), "acquirer-unknown");
    assert_eq!(reason(scene.backend.post(&format!("{decrypt}/batch"), &json!({"items": [{}]})).await), "malformed");
}
