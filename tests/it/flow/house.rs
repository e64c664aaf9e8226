//! The end of the service, and the commands around it: init, doctor.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::scene::Scene;
use crate::service::{PROGRAM, Service};

fn run(args: &[&str], config: &Path) -> Output {
    Command::new(PROGRAM).args(args).arg("--config").arg(config).output().expect("starts")
}

/// What the doctor finds wrong (name and code), and its exit code.
fn examined(service: &Service) -> (Option<i32>, Vec<(String, Option<String>)>) {
    let output = run(&["doctor", "--json"], &service.workplace.config());
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let checks = value["checks"].as_array().expect("checks");
    assert!(checks.iter().all(|check| check["hint"].as_str().is_some_and(|hint| !hint.is_empty())), "{value:#}");
    let text = |check: &Value, name: &str| check[name].as_str().map(str::to_owned);
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check["ok"] == false)
        .map(|check| (text(check, "name").expect("a name"), text(check, "code")))
        .collect();
    assert_eq!(value["ok"].as_bool(), Some(failed.is_empty()));
    (output.status.code(), failed)
}

fn names(failed: &[(String, Option<String>)]) -> Vec<&str> {
    failed.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_ends_the_service_with_zero_and_the_hsm_host_with_it() {
    let mut scene = Scene::set().await;
    let phone = scene.attested("t-1", "standard").await;
    let hosts = scene.service.hosts();
    assert_eq!(hosts.len(), 1);
    // An idle connection that is kept alive does not keep the service.
    scene.clear(&phone).await.expect("cleared");
    let status = scene.service.stop();
    assert_eq!(status.code(), Some(0), "{status}");
    for host in hosts {
        assert!(!Path::new(&format!("/proc/{host}")).exists(), "the HSM host {host} outlived its service");
    }
    let log = scene.service.log_text();
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "every line of the log is JSON");
    assert!(log.contains("\"stopped\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_under_way_at_a_sigterm_are_answered() {
    let mut scene = Scene::set().await;
    let mut codes = Vec::new();
    for number in 0..8 {
        codes.push(scene.service.code(&format!("t-{number}"), "standard").await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for code in codes {
        let pending = scene.line.prepare(&scene.trust, &code, &tillward::cli::phone::sound_findings()).await.expect("prepares");
        let transport = scene.line.transport.clone();
        tasks.spawn(async move { transport.enrol(&pending).await.map(drop) });
    }
    let first = tasks.join_next().await.expect("eight tasks").expect("joins");
    first.expect("a package");
    let status = tokio::task::block_in_place(|| scene.service.stop());
    assert_eq!(status.code(), Some(0), "{}", scene.service.log_text());
    for outcome in tasks.join_all().await {
        // Answered, or not taken any more; never cut off with a 5xx.
        if let Err(error) = outcome {
            assert!(error.refusal().is_none(), "{error:?}");
        }
    }
}

#[test]
fn a_second_init_changes_nothing() {
    let mut service = Service::start();
    assert!(service.stop().success());
    let parse = |output: Output| -> Value {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let token = || objects(&service.workplace.dir.join("tokens"));
    let before = token();
    let first = parse(run(&["init", "--json"], &service.workplace.config()));
    let so_pin = service.workplace.so_pin();
    let second = parse(run(&["init", "--json", "--so-pin-file", so_pin.to_str().expect("UTF-8")], &service.workplace.config()));
    assert_eq!(first, second);
    assert_eq!(first["root_pin"].as_str(), Some(data_encoding::HEXLOWER.encode(&service.root_pin()).as_str()));
    assert_eq!(
        (&first["token_made"], &first["certificates_made"], &first["restored"]),
        (&Value::Bool(false), &Value::Bool(false), &Value::Null)
    );
    let keys = first["keys"].as_array().expect("keys");
    assert!(keys.len() == 12 && keys.iter().all(|key| key.get("created").is_none()), "{keys:#?}");
    assert!(before.len() >= 11);
    assert_eq!(token(), before, "not a byte of a key");
}

/// Every key's file below a folder, in the order of the paths, with the SHA-256 of its content. SoftHSM counts logins in `token.object`.
fn objects(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else if path.extension().is_some_and(|extension| extension == "object") && !path.ends_with("token.object") {
            let digest = Sha256::digest(std::fs::read(&path).expect("reads"));
            found.push((path.display().to_string(), data_encoding::HEXLOWER.encode(&digest)));
        }
    }
    found.sort();
    found
}

#[test]
fn the_doctor_finds_a_service_in_order_while_it_runs_and_when_it_does_not() {
    let mut service = Service::start();
    assert_eq!(examined(&service), (Some(0), vec![]));
    assert!(service.stop().success());
    assert_eq!(examined(&service), (Some(0), vec![]));
}

#[test]
fn the_doctor_names_what_is_wrong() {
    let mut service = Service::start();
    assert!(service.stop().success());
    let dir = service.workplace.dir.clone();
    let config = std::fs::read_to_string(service.workplace.config()).expect("a configuration");
    let with = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        std::fs::write(service.workplace.config(), config.replace(from, to)).expect("writes");
        let found = examined(&service);
        std::fs::write(service.workplace.config(), &config).expect("writes");
        found
    };
    let (code, failed) = with("module-path=/", "module-path=/nowhere/");
    assert_eq!((code, names(&failed)), (Some(1), vec!["module"]));
    let (code, failed) = with("pkcs11:token=tillward?", "pkcs11:token=another?");
    assert_eq!((code, names(&failed)), (Some(1), vec!["token"]));
    let (code, failed) = with("sqlite:tillward.db", "sqlite:missing/tillward.db");
    assert_eq!((code, names(&failed)), (Some(1), vec!["database"]));
    // An empty database knows less than the token as well.
    let (code, failed) = with("sqlite:tillward.db", "sqlite:empty.db");
    assert_eq!((code, names(&failed)), (Some(1), vec!["certificates", "restored-database"]));
    let (code, failed) = with("appraisal.toml", "missing.toml");
    assert_eq!((code, names(&failed)), (Some(1), vec!["appraisal-policy"]));
    let (code, failed) = with("tls/server.pem", "tls/missing.pem");
    assert_eq!((code, names(&failed)), (Some(1), vec!["tls"]));
    let (code, failed) = with("[hsm]\n", "[hsm]\nsurprise = 1\n");
    assert_eq!((code, names(&failed)), (Some(1), vec!["configuration"]));

    let pin = std::fs::read(dir.join("pin")).expect("a PIN");
    std::fs::write(dir.join("pin"), b"not-the-pin").expect("writes");
    let (code, failed) = examined(&service);
    assert_eq!((code, &failed[..]), (Some(1), &[("pin".to_owned(), Some("CKR_PIN_INCORRECT".to_owned()))][..]));
    std::fs::write(dir.join("pin"), pin).expect("writes");
    assert_eq!(examined(&service), (Some(0), vec![]), "all of it was put right again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_every_key_that_the_token_lacks() {
    let mut service = Service::start();
    assert!(service.stop().success());
    // A token that is initialised and empty takes the place of the real one.
    let tokens = service.workplace.dir.join("tokens");
    std::fs::rename(&tokens, service.workplace.dir.join("real")).expect("moves");
    std::fs::create_dir(&tokens).expect("makes");
    let config = tillward::config::Config::read(&service.workplace.config()).expect("a configuration");
    let hsm = tillward_hsm::Hsm::start(config.hsm_config(PROGRAM.into(), true).expect("a URI")).await.expect("a host");
    hsm.init_token(&service.workplace.so_pin()).await.expect("a token");
    hsm.shutdown().await;
    let (code, failed) = examined(&service);
    assert_eq!(code, Some(1));
    let failed = names(&failed);
    assert!(failed.iter().all(|name| name.starts_with("key:")), "{failed:?}");
    for key in [
        "activation-mac",
        "attestation-signing",
        "enrollment-transport",
        "issuing-ca",
        "personalization-signing",
        "storage-kek",
        "storage-mac",
    ] {
        assert!(failed.contains(&format!("key:{key}").as_str()), "{key} is not in {failed:?}");
    }
    // With keys, but others than the certificates are for.
    let made = run(&["init", "--json"], &service.workplace.config());
    assert_eq!(made.status.code(), Some(1), "database and token do not belong together");
    let (code, failed) = examined(&service);
    assert_eq!((code, names(&failed)), (Some(1), vec!["certificates"]));
    assert_eq!(run(&["serve"], &service.workplace.config()).status.code(), Some(1));
}

#[test]
fn an_acquirer_without_base_keys_is_named_by_the_doctor_and_stops_the_start() {
    let mut service = Service::start();
    assert!(service.stop().success());
    let mut config = std::fs::read_to_string(service.workplace.config()).expect("a configuration");
    config.push_str("\n[[acquirer]]\nname = \"new-bank\"\nbdk_pin = \"E3000001\"\nbdk_data = \"E3000002\"\n");
    std::fs::write(service.workplace.config(), config).expect("writes");
    let refused = run(&["serve"], &service.workplace.config());
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("new-bank"), "{}", String::from_utf8_lossy(&refused.stderr));
    let (code, failed) = examined(&service);
    assert_eq!(code, Some(1), "{failed:?}");
    let made = run(&["init", "--json"], &service.workplace.config());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert_eq!(examined(&service), (Some(0), vec![]));
    service.restart();
}
