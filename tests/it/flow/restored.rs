//! A database that is put back from a backup revives nothing.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tillward::cli::phone::sound_findings;
use tillward_device::message::Purpose;
use tillward_device::phone::Phone;

use crate::scene::{Scene, payment, reason, refused};
use crate::service::{PROGRAM, Service};

/// The database's file, and those that SQLite may have left beside it.
fn database(service: &Service) -> [PathBuf; 3] {
    ["tillward.db", "tillward.db-wal", "tillward.db-shm"].map(|name| service.workplace.dir.join(name))
}

fn back_up(service: &Service) -> Vec<Option<Vec<u8>>> {
    database(service).iter().map(|path| std::fs::read(path).ok()).collect()
}

fn put_back(service: &Service, backup: Vec<Option<Vec<u8>>>) {
    for (path, content) in database(service).iter().zip(backup) {
        match content {
            Some(content) => std::fs::write(path, content).expect("writes"),
            None => drop(std::fs::remove_file(path)),
        }
    }
}

fn run(service: &Service, args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).arg("--config").arg(service.workplace.config()).output().expect("starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_is_refused_at_start_and_accepted_only_with_everything_stopped_that_it_could_revive() {
    let mut scene = Scene::set().await;
    let mut kept = scene.attested("t-kept", "standard").await;
    let lost = scene.attested("t-lost", "standard").await;
    let code = scene.service.code("t-new", "standard").await;
    assert!(scene.service.stop().success());
    let backup = back_up(&scene.service);

    // What happens after the backup: the code is used, a phone is lost, another terminal gets a code.
    scene.service.restart();
    scene = scene.again().await;
    let first = scene.line.enrol(&scene.trust, &code, &sound_findings()).await.expect("enrols");
    scene.operate(&lost, "retire", "lost").await.expect("retired");
    let after = scene.phone("t-after", "standard").await;
    assert!(scene.service.stop().success());

    put_back(&scene.service, backup);
    for args in [&["serve"][..], &["init", "--json"]] {
        let refused = run(&scene.service, args);
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(words.contains("--accept-restored-database") && words.contains("example-bank"), "{words}");
    }
    let examined = run(&scene.service, &["doctor", "--json"]);
    assert_eq!(examined.status.code(), Some(1));
    let examined: Value = serde_json::from_slice(&examined.stdout).expect("JSON");
    let failed: Vec<_> = examined["checks"].as_array().expect("checks").iter().filter(|check| check["ok"] == false).collect();
    assert!(failed.len() == 1 && failed[0]["name"] == "restored-database", "{failed:#?}");
    let accepted = run(&scene.service, &["init", "--json", "--accept-restored-database"]);
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
    let accepted: Value = serde_json::from_slice(&accepted.stdout).expect("JSON");
    assert_eq!(accepted["restored"], json!({"activations_revoked": 1, "devices_suspended": 2, "keys_suspended": 0}));
    let again = run(&scene.service, &["init", "--json", "--accept-restored-database"]);
    let again: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(again["restored"], Value::Null, "once it is accepted, it is the database");

    scene.service.restart();
    scene = scene.again().await;
    let transport = &scene.line.transport;
    let challenge = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect_err("the code is taken back");
    assert!(format!("{challenge:#}").contains("activation-revoked"), "{challenge:#}");
    for phone in [&kept, &lost] {
        assert_eq!(refused(transport.device_challenge(phone.device(), Purpose::Attest).await), "device-suspended");
    }
    for phone in [&first, &after] {
        assert_eq!(refused(transport.device_challenge(phone.device(), Purpose::Attest).await), "device-unknown");
    }
    assert_eq!(reason(scene.backend.post("/v1/dukpt/decrypt", &payment(&mut kept, b"4111")).await), "device-suspended");
    assert_eq!(scene.device(&kept).await["state_reason"], "database-restored");

    // The operator knows which phone is in order; it works again, and new phones get IKIDs that nobody had.
    scene.operate(&kept, "resume", "cleared").await.expect("resumed");
    scene.attest(&mut kept).await;
    scene.pay(&mut kept, b"4111").await;
    let newcomer = scene.phone("t-new", "standard").await;
    let given = [&kept, &lost, &first, &after].map(Phone::data_ikid);
    assert!(!given.contains(&newcomer.data_ikid()), "an IKID is never given twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_before_a_code_was_used_does_not_make_it_good_again() {
    let mut scene = Scene::set().await;
    let lost = scene.attested("t-lost", "standard").await;
    let code = scene.service.code("t-new", "standard").await;
    // The backup is taken from the running service, after its start has moved the marks.
    let backup = back_up(&scene.service);
    scene.line.enrol(&scene.trust, &code, &sound_findings()).await.expect("enrols");
    scene.operate(&lost, "retire", "lost").await.expect("retired");
    assert!(scene.service.stop().success());

    put_back(&scene.service, backup);
    let refused = run(&scene.service, &["serve"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--accept-restored-database"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_before_a_code_was_replaced_or_a_certificate_renewed_is_known_for_one() {
    for replaced in [true, false] {
        let mut scene = Scene::set().await;
        let mut phone = scene.attested("t-kept", "standard").await;
        scene.service.code("t-new", "standard").await;
        // An orderly end settles the marks, the start moves them: the backup is of the database as it is then.
        assert!(scene.service.stop().success());
        scene.service.restart();
        scene = scene.again().await;
        let backup = back_up(&scene.service);
        if replaced {
            scene.service.code("t-new", "standard").await;
        } else {
            scene.line.renew(&scene.trust, &mut phone).await.expect("renewed");
        }
        assert!(scene.service.stop().success());
        put_back(&scene.service, backup);
        let refused = run(&scene.service, &["serve"]);
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(words.contains("--accept-restored-database"), "replaced: {replaced}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derivation_id_of_an_earlier_process_is_not_used_any_more_and_the_code_is() {
    let mut scene = Scene::set().await;
    let code = scene.service.code("t-new", "standard").await;
    let kept = scene.line.prepare(&scene.trust, &code, &sound_findings()).await.expect("prepares");
    scene.service.kill();
    scene.service.restart();
    scene = scene.again().await;
    assert_eq!(refused(scene.line.transport.enrol(&kept).await), "challenge-invalid");
    let phone = scene.line.enrol(&scene.trust, &code, &sound_findings()).await.expect("the code is still good");
    let used = scene.backend.get(&format!("/v1/activations/{}", crate::scene::activation(&code))).await.expect("an activation");
    assert_eq!((used["state"].as_str(), used["wrong_tries"].as_u64()), (Some("used"), Some(0)));
    // 256 ids a block: the first block went with the first process.
    assert!(phone.data_ikid().to_string().as_str() > "E100000200000100", "{}", phone.data_ikid());
}
