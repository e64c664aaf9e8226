//! What time does to managed keys, and what a crash leaves of their making: the service in this process, on a clock that the test moves.

use serde_json::{Value, json};
use tillward::audit::{AuditEvent, Occasion, RequestId};
use tillward::authz::{Action, Caller, Circumstances, Resource};
use tillward::key::{Intent, KeyState};
use tillward::ops::do_key_work;
use tillward::store::{Key, KeyVersion, Tx};
use tillward_hsm::{KeyName, KeyRef};

use super::clock::Standing;
use super::keys::{body, by_quorum, state};
use crate::scene::reason;

const DAY: i64 = 86_400;

/// Commits what no request would.
async fn commit(standing: &Standing, tx: Tx) {
    let app = standing.app.app().expect("bound");
    let now = Circumstances::at(app.clock.now());
    let permit = app.authz.authorize(&Caller::System("test"), Action::Reconcile, &Resource::service(), now).expect("allowed");
    let occasion = Occasion { at: app.clock.now(), request: RequestId::from_random([1; 16]) };
    tx.commit(AuditEvent::effect(permit, &occasion)).await.expect("commits");
}

fn name(text: &str) -> KeyName {
    text.parse().expect("a name")
}

async fn labels(standing: &Standing) -> Vec<String> {
    let inventory = standing.scene.auditor.get("/v1/hsm/keys").await.expect("an inventory");
    inventory["keys"].as_array().expect("keys").iter().map(|key| key["label"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_waits_can_be_called_off_and_is_done_when_it_is_due() {
    let standing = Standing::start().await;
    let (operator, auditor) = (&standing.scene.operator, &standing.scene.auditor);
    for key in ["gone", "kept"] {
        operator.post("/v1/keys", &body(key)).await.expect("made");
        assert_eq!(
            reason(by_quorum(&standing.scene.service, "destroy-key", key, 1).await),
            "key-state",
            "an active key is deactivated first"
        );
        operator.post(&format!("/v1/keys/{key}/versions/1/deactivate"), &json!({})).await.expect("deactivated");
        by_quorum(&standing.scene.service, "destroy-key", key, 1).await.expect("waits");
        assert_eq!(state(auditor, key, 1).await, ("deactivated".to_owned(), true));
    }
    operator.post("/v1/keys/kept/versions/1/restore", &json!({})).await.expect("restored");
    assert_eq!(state(auditor, "kept", 1).await, ("suspended".to_owned(), false));
    assert_eq!(reason(operator.post("/v1/keys/kept/versions/1/activate", &json!({})).await), "key-state", "never to active");

    let app = standing.app.app().expect("bound");
    standing.clock.advance(7 * DAY - 1);
    assert_eq!(do_key_work(&app).await.expect("looks").destroyed, 0);
    assert!(labels(&standing).await.contains(&"key:gone:1:mac:aes-256".to_owned()));
    standing.clock.advance(1);
    assert_eq!(reason(operator.post("/v1/keys/gone/versions/1/restore", &json!({})).await), "key-state", "too late");
    let work = do_key_work(&app).await.expect("works");
    assert_eq!((work.destroyed, work.failed), (1, 0));
    assert_eq!(state(auditor, "gone", 1).await.0, "destroyed");
    assert!(!labels(&standing).await.contains(&"key:gone:1:mac:aes-256".to_owned()));
    assert_eq!(do_key_work(&app).await.expect("looks").destroyed, 0, "once");
    let report = operator.get("/v1/keys/reconciliation").await.expect("a report");
    assert_eq!((&report["missing_on_token"], &report["destroyed_but_there"]), (&json!([]), &json!([])));
    for verb in ["activate", "suspend", "deactivate", "restore"] {
        assert_eq!(reason(operator.post(&format!("/v1/keys/gone/versions/1/{verb}"), &json!({})).await), "key-state", "{verb}");
    }
    let trail = standing.scene.whole_trail().news().await;
    let ends: Vec<_> = trail.iter().filter(|line| line.contains("finish_destruction")).collect();
    assert_eq!(ends, ["system:key-schedule finish_destruction key gone: done"; 2], "begun, destroyed");
    standing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_when_its_period_is_over() {
    let standing = Standing::start().await;
    let mut asked = body("turns");
    asked["rotation_seconds"] = json!(30 * DAY);
    asked["protect_seconds"] = json!(40 * DAY);
    standing.scene.operator.post("/v1/keys", &asked).await.expect("made");
    let app = standing.app.app().expect("bound");
    standing.clock.advance(30 * DAY - 1);
    assert_eq!(do_key_work(&app).await.expect("looks").rotated, 0);
    standing.clock.advance(1);
    // Two nodes look at the same time.
    let (one, other) = tokio::join!(do_key_work(&app), do_key_work(&app));
    let failed = one.expect("works").failed + other.expect("works").failed;
    assert_eq!(failed, 0);
    let key = standing.scene.auditor.get("/v1/keys/turns").await.expect("a key");
    assert_eq!((&key["primary"], key["versions"].as_array().map(Vec::len)), (&json!(2), Some(2)), "once: {key:#}");
    assert_eq!(state(&standing.scene.auditor, "turns", 1).await.0, "deactivated");
    standing.end().await;
}

/// A key whose making a crash has cut: the row of step 1, and nothing done.
async fn cut(standing: &Standing, key: &str) -> (Key, KeyRef) {
    let app = standing.app.app().expect("bound");
    standing.scene.operator.post("/v1/keys", &body(&format!("{key}-pattern"))).await.expect("made");
    let pattern = app.store.read().await.expect("reads").find_key(&name(&format!("{key}-pattern")), false).await.expect("reads");
    let row = Key { name: name(key), primary: None, ..pattern.expect("there") };
    let token = KeyRef { name: row.name.clone(), version: 1, purpose: row.shape.purpose, algorithm: row.shape.algorithm };
    let version = KeyVersion::intended(row.name.clone(), 1, token.label(), Intent::MakeActive, app.clock.now());
    let mut tx = app.store.begin().await.expect("begins");
    tx.insert_key(&row).await.expect("inserted");
    tx.insert_version(&version, None).await.expect("inserted");
    commit(standing, tx).await;
    (row, token)
}

fn unfinished(report: &Value) -> Vec<(String, bool)> {
    let entries = report["unfinished"].as_array().expect("a list").iter();
    entries.map(|entry| (entry["label"].as_str().expect("text").to_owned(), entry["on_token"].as_bool().expect("yes or no"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_of_the_making_of_a_key_is_reported_and_finished() {
    let standing = Standing::start().await;
    let app = standing.app.app().expect("bound");
    // After step 1: a row, and no key. After step 2: the key too.
    cut(&standing, "first").await;
    let (row, token) = cut(&standing, "second").await;
    let made = app.hsm.generate_key(&token, false).await.expect("made");
    // And one that the request finishes which asks again.
    cut(&standing, "third").await;
    let report = standing.scene.operator.get("/v1/keys/reconciliation").await.expect("a report");
    assert_eq!(
        unfinished(&report),
        [
            ("key:first:1:mac:aes-256".to_owned(), false),
            ("key:second:1:mac:aes-256".to_owned(), true),
            ("key:third:1:mac:aes-256".to_owned(), false)
        ]
    );
    for verb in ["activate", "suspend", "deactivate"] {
        let path = format!("/v1/keys/first/versions/1/{verb}");
        assert_eq!(reason(standing.scene.operator.post(&path, &json!({})).await), "key-state", "{verb}");
    }
    let third = standing.scene.operator.post("/v1/keys", &body("third")).await.expect("finished");
    assert_eq!(third["versions"][0]["state"], json!("active"));
    assert_eq!(do_key_work(&app).await.expect("looks").finished, 0, "a request may be at work");
    standing.clock.advance(120);
    let work = do_key_work(&app).await.expect("works");
    assert_eq!((work.finished, work.failed), (2, 0));
    for key in ["first", "second"] {
        assert_eq!(state(&standing.scene.auditor, key, 1).await.0, "active");
    }
    let second = app.store.read().await.expect("reads").find_version(&row.name, 1).await.expect("reads").expect("there");
    assert_eq!((second.state, second.made.kcv), (KeyState::Active, made.record.kcv.map(|kcv| data_encoding::HEXUPPER.encode(&kcv))));
    let report = standing.scene.operator.get("/v1/keys/reconciliation").await.expect("a report");
    assert_eq!(unfinished(&report), []);

    // The reverse: a key on the token that no row knows is reported, and stays.
    let stray = KeyRef { name: name("stray"), ..token };
    app.hsm.generate_key(&stray, false).await.expect("made");
    let report = standing.scene.operator.get("/v1/keys/reconciliation").await.expect("a report");
    assert_eq!(report["unknown_on_token"], json!([stray.label()]));
    assert_eq!(do_key_work(&app).await.expect("looks").failed, 0);
    assert!(labels(&standing).await.contains(&stray.label()));
    standing.end().await;
}
