//! What several officers have to approve, through the API: a quorum of signatures does it, and every attack on it is refused, each under its name.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tillward::cli::api::Api;
use tillward::cli::signer;
use tillward::ops::bundle::{Bundle, BundleError};
use tillward_hsm::{ApprovalError, Plan, Roster};

use crate::scene::{Scene, denied, reason};
use crate::service::{PROGRAM, Service};

/// What every case is about: it needs no key.
fn ceremony() -> Value {
    json!({"deed": "use-root-ca", "content": data_encoding::HEXLOWER.encode(&Sha256::digest(b"ceremony"))})
}

async fn propose(api: &Api) -> Value {
    api.post("/v1/plans", &ceremony()).await.expect("a plan")
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value:#}"))
}

pub(super) fn path(plan: &Value, rest: &str) -> String {
    format!("/v1/plans/{}{rest}", text(plan, "id"))
}

fn hash(plan: &Value) -> [u8; 32] {
    data_encoding::HEXLOWER.decode(text(plan, "hash").as_bytes()).expect("hex").try_into().expect("32 bytes")
}

/// The signature by the key of this person.
fn signed(service: &Service, who: &str, hash: &[u8; 32]) -> Value {
    let key = signer::key_of(&service.workplace.dir.join(format!("tls/{who}-key.pem"))).expect("a key");
    let signature = signer::sign(&key, hash).expect("signs");
    json!({"signature": data_encoding::BASE64URL_NOPAD.encode(&signature)})
}

pub(super) async fn approve(service: &Service, who: &str, plan: &Value) -> anyhow::Result<Value> {
    service.api(who).post(&path(plan, "/approvals"), &signed(service, who, &hash(plan))).await
}

pub(super) async fn execute(api: &Api, plan: &Value) -> anyhow::Result<Value> {
    api.post(&path(plan, "/execute"), &json!({})).await
}

/// A plan with the approvals of two officers.
async fn approved(scene: &Scene) -> Value {
    let plan = propose(&scene.operator).await;
    approve(&scene.service, "officer", &plan).await.expect("one");
    approve(&scene.service, "officer-2", &plan).await.expect("two");
    plan
}

/// Changes the database past the service, as somebody who can write to its file.
async fn tamper(service: &Service, sql: &str) {
    use sqlx::Connection as _;
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", service.workplace.dir.join("tillward.db").display());
    let mut connection = sqlx::AnyConnection::connect(&url).await.expect("the file");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("changed");
    connection.close().await.expect("closed");
}

fn officers(service: &Service) -> Roster {
    Roster::parse(&std::fs::read_to_string(service.workplace.dir.join("officers.txt")).expect("a file")).expect("a roster")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_officers_approve_a_plan_it_is_executed_once_and_the_proof_needs_files_only() {
    let scene = Scene::set().await;
    let service = &scene.service;
    let dry = ceremony().as_object().cloned().map(|mut body| (body.insert("dry_run".to_owned(), json!(true)), body)).expect("an object").1;
    let shown = scene.operator.post("/v1/plans", &Value::Object(dry)).await.expect("dry");
    assert_eq!(shown["dry_run"], true);
    assert_eq!(reason(scene.operator.get(&path(&shown, "")).await), "plan-unknown", "nothing was stored");

    let mut trail = scene.trail().await;
    let plan = propose(&scene.operator).await;
    let id = text(&plan, "id").to_owned();
    let parsed = Plan::parse(text(&plan, "plan").as_bytes()).expect("canonical");
    assert_eq!((parsed.hash(), parsed.quorum, parsed.requester.as_str()), (hash(&plan), 2, "urn:tillward:principal:operator"));
    assert_eq!(reason(execute(&scene.operator, &plan).await), "approvals-missing", "quorum 0");
    approve(service, "officer", &plan).await.expect("one");
    assert_eq!(reason(execute(&scene.operator, &plan).await), "approvals-missing", "quorum 1");
    let both = approve(service, "officer-2", &plan).await.expect("two");
    assert_eq!((text(&both, "state"), both["approvals"].as_array().map(Vec::len)), ("open", Some(2)));

    let dry = scene.operator.post(&path(&plan, "/execute"), &json!({"dry_run": true})).await.expect("everything verifies");
    assert_eq!((&dry["dry_run"], text(&dry, "state")), (&json!(true), "open"));
    let done = execute(&scene.operator, &plan).await.expect("executed");
    assert_eq!((text(&done, "state"), text(&done, "closed_by")), ("executed", "urn:tillward:principal:operator"));
    assert_eq!(text(&done, "plan"), text(&plan, "plan"), "byte for byte");
    assert_eq!(reason(execute(&scene.operator, &plan).await), "plan-closed", "once");
    assert_eq!(reason(approve(service, "officer-3", &plan).await), "plan-closed");
    assert_eq!(
        trail.news().await,
        [
            format!("operator:operator propose_plan plan {id}: done"),
            format!("operator:operator execute_plan plan {id}: approvals-missing"),
            format!("officer:officer approve_plan plan {id}: done"),
            format!("operator:operator execute_plan plan {id}: approvals-missing"),
            format!("officer:officer-2 approve_plan plan {id}: done"),
            "operator:operator use_root_ca service *: done".to_owned(),
            format!("operator:operator execute_plan plan {id}: plan-closed"),
            format!("officer:officer-3 approve_plan plan {id}: plan-closed"),
        ]
    );

    // The bundle and the log as files; the service is away.
    let bundle = scene.auditor.get(&path(&plan, "/bundle")).await.expect("a bundle");
    let log = scene.auditor.get("/v1/audit?limit=500").await.expect("the log");
    let at = |name: &str| scene.service.workplace.dir.join(name);
    std::fs::write(at("bundle.json"), bundle.to_string()).expect("writes");
    std::fs::write(at("log.json"), log.to_string()).expect("writes");
    let changed = bundle.to_string().replace("use-root-ca", "change-policy");
    std::fs::write(at("changed.json"), changed).expect("writes");
    let roster = officers(&scene.service);
    let mut scene = scene;
    assert!(scene.service.stop().success());
    let at = |name: &str| scene.service.workplace.dir.join(name);
    let verify = |file: &str, more: &[&str]| {
        let output = Command::new(PROGRAM).args(["approval", "verify"]).arg(at(file)).args(more).output().expect("starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let file = at("officers.txt");
    let known = ["--officers", file.to_str().expect("UTF-8")];
    let (code, out, err) = verify("bundle.json", &known);
    assert!(code == Some(0) && out.contains("2 of 2 approvals") && out.contains(text(&plan, "plan")), "{out}{err}");
    let (code, out, _) = verify("bundle.json", &[]);
    assert!(code == Some(0) && out.contains("compare them"), "{out}");
    let (code, _, err) = verify("changed.json", &known);
    assert!(code == Some(1) && err.contains("hash"), "{err}");
    let (code, out, err) = verify("log.json", &known);
    assert!(code == Some(0) && out.contains(&id), "{out}{err}");
    let bundle = Bundle::parse(bundle.to_string().as_bytes()).expect("a bundle");
    assert_eq!(bundle.verify(Some(&roster), None).expect("verifies"), parsed);
    let late = bundle.verify(Some(&roster), Some(parsed.expires));
    assert!(matches!(late, Err(BundleError::Approval(ApprovalError::Expired))), "{late:?}");
    assert!(bundle.verify(Some(&Roster::default()), None).is_err(), "another roster");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_signature_is_refused() {
    let scene = Scene::set().await;
    let plan = propose(&scene.operator).await;
    approve(&scene.service, "officer", &plan).await.expect("one");
    assert_eq!(reason(approve(&scene.service, "officer", &plan).await), "approval-twice");
    // The same signature under another name: that officer's key did not make it.
    let body = signed(&scene.service, "officer", &hash(&plan));
    assert_eq!(reason(scene.service.api("officer-2").post(&path(&plan, "/approvals"), &body).await), "approval-invalid");
    assert_eq!(reason(execute(&scene.operator, &plan).await), "approvals-missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requester_cannot_approve_its_own_plan() {
    let scene = Scene::set().await;
    let officer = scene.service.api("officer");
    let plan = propose(&officer).await;
    assert_eq!(reason(approve(&scene.service, "officer", &plan).await), "approval-own");
    approve(&scene.service, "officer-2", &plan).await.expect("one");
    assert_eq!(reason(execute(&officer, &plan).await), "approvals-missing");
    approve(&scene.service, "officer-3", &plan).await.expect("two");
    execute(&officer, &plan).await.expect("executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_officer_cannot_approve() {
    let scene = Scene::set().await;
    let plan = propose(&scene.operator).await;
    for who in ["auditor", "backend"] {
        assert_eq!(reason(approve(&scene.service, who, &plan).await), "not-permitted", "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_by_role_who_is_not_on_the_roster_is_foreign() {
    let scene = Scene::of(Service::start_with(|text| {
        let dir = text.split_once("pin-source=file:").and_then(|(_, rest)| rest.split_once("/pin\"")).expect("the folder").0.to_owned();
        let file = PathBuf::from(dir).join("officers.txt");
        let officers = std::fs::read_to_string(&file).expect("a file");
        let two: Vec<&str> = officers.lines().filter(|line| !line.contains("officer-3 ")).collect();
        std::fs::write(file, two.join("\n")).expect("writes");
        text
    }))
    .await;
    let plan = propose(&scene.operator).await;
    assert_eq!(reason(approve(&scene.service, "officer-3", &plan).await), "approval-foreign");
    // Two are on the roster: if one of them asks, nobody could ever approve it.
    let refused = denied(scene.service.api("officer").post("/v1/plans", &ceremony()).await);
    assert_eq!((refused.status, refused.reason.as_str()), (409, "approvals-missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_over_something_else_is_refused_and_not_kept() {
    let scene = Scene::set().await;
    let plan = propose(&scene.operator).await;
    let other = propose(&scene.operator).await;
    let officer = scene.service.api("officer");
    for hash in [hash(&other), [0; 32]] {
        let body = signed(&scene.service, "officer", &hash);
        assert_eq!(reason(officer.post(&path(&plan, "/approvals"), &body).await), "approval-invalid");
    }
    for signature in ["", "AAAA", &"A".repeat(85), &"A".repeat(87), "not base64url!"] {
        assert_eq!(reason(officer.post(&path(&plan, "/approvals"), &json!({"signature": signature})).await), "malformed", "{signature}");
    }
    let zero = json!({"signature": data_encoding::BASE64URL_NOPAD.encode(&[0; 64])});
    assert_eq!(reason(officer.post(&path(&plan, "/approvals"), &zero).await), "approval-invalid");
    let shown = officer.get(&path(&plan, "")).await.expect("a plan");
    assert_eq!(shown["approvals"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changed_in_the_database_by_hand_is_refused() {
    let scene = Scene::set().await;
    let (first, second) = (approved(&scene).await, approved(&scene).await);
    let other = text(&first, "plan").replace(&data_encoding::HEXLOWER.encode(&Sha256::digest(b"ceremony")), &"0".repeat(64));
    let other_hash = data_encoding::HEXUPPER.encode(&Sha256::digest(&other));
    tamper(&scene.service, "DROP TRIGGER plan_is_what_was_signed").await;
    tamper(&scene.service, &format!("UPDATE plan SET bytes = CAST('{other}' AS BLOB) WHERE id = '{}'", text(&first, "id"))).await;
    assert_eq!(reason(execute(&scene.operator, &first).await), "plan-changed");
    assert_eq!(reason(scene.operator.get(&path(&first, "")).await), "plan-changed", "it is not even shown as a plan");
    // With a hash that fits, the signatures do not.
    tamper(&scene.service, &format!("UPDATE plan SET hash = '{other_hash}' WHERE id = '{}'", text(&first, "id"))).await;
    assert_eq!(reason(execute(&scene.operator, &first).await), "approval-invalid");
    // Columns beside the bytes do not count, and must not lie.
    let longer = format!("UPDATE plan SET expires = expires + 86400 WHERE id = '{}'", text(&second, "id"));
    tamper(&scene.service, &longer).await;
    assert_eq!(reason(execute(&scene.operator, &second).await), "plan-changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_moved_to_another_plan_in_the_database_is_refused() {
    let scene = Scene::set().await;
    let (from, to) = (approved(&scene).await, propose(&scene.operator).await);
    let (from, id) = (text(&from, "id"), text(&to, "id"));
    tamper(&scene.service, &format!("INSERT INTO approval SELECT '{id}', officer, signature, at FROM approval WHERE plan = '{from}'"))
        .await;
    assert_eq!(reason(execute(&scene.operator, &to).await), "approval-invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_plan_is_never_executed() {
    let scene = Scene::set().await;
    let plan = approved(&scene).await;
    let cancelled = scene.operator.post(&path(&plan, "/cancel"), &json!({})).await.expect("cancelled");
    assert_eq!(text(&cancelled, "state"), "cancelled");
    assert_eq!(reason(execute(&scene.operator, &plan).await), "plan-closed");
    assert_eq!(reason(approve(&scene.service, "officer-3", &plan).await), "plan-closed");
    scene.operator.post(&path(&plan, "/cancel"), &json!({})).await.expect("stays so");
    let executed = approved(&scene).await;
    execute(&scene.operator, &executed).await.expect("executed");
    assert_eq!(reason(scene.operator.post(&path(&executed, "/cancel"), &json!({})).await), "plan-closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_executions_at_once_one_is_done() {
    let scene = Scene::set().await;
    let plan = approved(&scene).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (api, plan) = (scene.operator.clone(), plan.clone());
        tasks.spawn(async move { execute(&api, &plan).await.map_err(|error| reason::<Value>(Err(error))) });
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().err().is_none_or(|reason| reason == "plan-closed")), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_names_no_deed_or_parts_of_another_is_refused() {
    let scene = Scene::set().await;
    let digest = "0".repeat(64);
    for body in [
        json!({"deed": "everything"}),
        json!({"deed": "use-root-ca"}),
        json!({"deed": "use-root-ca", "content": "00"}),
        json!({"deed": "use-root-ca", "content": digest, "key": "a"}),
        json!({"deed": "change-policy", "content": digest, "form": "kwp"}),
        json!({"deed": "destroy-key", "key": "a"}),
        json!({"deed": "use-root-ca", "content": digest, "surprise": 1}),
        json!({"deed": "use-root-ca", "content": digest, "quorum": 1}),
    ] {
        assert_eq!(reason(scene.operator.post("/v1/plans", &body).await), "malformed", "{body}");
    }
}

fn run(service: &Service, who: &str, arguments: &[&str]) -> Output {
    let profile = service.workplace.profile(who);
    Command::new(PROGRAM).args(arguments).arg("--profile").arg(profile).output().expect("starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn officers_sign_with_a_key_in_a_file_with_openssl_and_with_a_token() {
    let scene = Scene::set().await;
    let service = &scene.service;
    let dir = &service.workplace.dir;
    let file = dir.join("officers.txt");
    let proposed =
        stdout(&run(service, "operator", &["plan", "propose", "use-root-ca", "--file", file.to_str().expect("UTF-8"), "--json"]));
    let plan: Value = serde_json::from_str(&proposed).expect("JSON");
    let id = text(&plan, "id");

    // 1. A key in a file.
    let key = dir.join("tls/officer-key.pem");
    let arguments = ["approval", "sign", id, "--key", key.to_str().expect("UTF-8")];
    let wrong = run(service, "officer", &[&arguments[..], &["--hash", &"0".repeat(64)]].concat());
    assert_eq!(wrong.status.code(), Some(1), "another hash was agreed on");
    let unsaid = run(service, "officer", &arguments);
    let said = String::from_utf8_lossy(&unsaid.stderr);
    assert!(unsaid.status.code() == Some(1) && said.contains("nobody has said which plan is meant"), "{said}");
    let agreed = ["--hash", text(&plan, "hash")];
    let said = stdout(&run(service, "officer", &[&arguments[..], &agreed].concat()));
    assert!(said.contains(text(&plan, "plan")) && said.contains(text(&plan, "hash")), "{said}");

    // 2. openssl, over the hash that is printed.
    let (hash, signature) = (dir.join("hash"), dir.join("signature"));
    std::fs::write(&hash, self::hash(&plan)).expect("writes");
    let openssl = Command::new("openssl")
        .args(["pkeyutl", "-sign", "-inkey"])
        .arg(dir.join("tls/officer-2-key.pem"))
        .arg("-in")
        .arg(&hash)
        .arg("-out")
        .arg(&signature)
        .status()
        .expect("openssl");
    assert!(openssl.success());
    stdout(&run(service, "officer-2", &["approval", "add", id, "--signature", signature.to_str().expect("UTF-8")]));

    // 3. A token of the officer's own.
    let conf = dir.join("card.conf");
    std::fs::create_dir(dir.join("card")).expect("a folder");
    std::fs::write(&conf, format!("directories.tokendir = {}/card\nobjectstore.backend = file\nlog.level = ERROR\n", dir.display()))
        .expect("writes");
    std::fs::write(dir.join("card-pin"), "123456").expect("writes");
    let util = |arguments: &[&str]| {
        let done = Command::new("softhsm2-util").args(arguments).env("SOFTHSM2_CONF", &conf).output().expect("softhsm2-util");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    util(&["--init-token", "--free", "--label", "card", "--so-pin", "12345678", "--pin", "123456"]);
    let pem = dir.join("tls/officer-3-key.pem");
    let pem = pem.to_str().expect("UTF-8");
    util(&["--import", pem, "--token", "card", "--label", "officer 3", "--id", "A1B2", "--pin", "123456"]);
    let config = std::fs::read_to_string(service.workplace.config()).expect("the configuration");
    let module = config.split_once("module-path=").and_then(|(_, rest)| rest.split_once('&')).expect("a module").0;
    let uri = |object: &str| format!("pkcs11:token=card;object={object}?module-path={module}&pin-source=file:{}/card-pin", dir.display());
    let environment = format!("SOFTHSM2_CONF={}", conf.display());
    let (right, wrong) = (uri("officer%203"), uri("officer%204"));
    let lost = run(service, "officer-3", &["approval", "sign", id, "--uri", &wrong, "--environment", &environment, "--hash", agreed[1]]);
    assert!(lost.status.code() == Some(1) && String::from_utf8_lossy(&lost.stderr).contains("label"), "{lost:?}");
    let said =
        stdout(&run(service, "officer-3", &["approval", "sign", id, "--uri", &right, "--environment", &environment, "--hash", agreed[1]]));
    assert_eq!(said.matches("approved ").count(), 3, "{said}");

    let dry = stdout(&run(service, "operator", &["plan", "execute", id]));
    assert!(dry.contains("dry run") && dry.contains("state      open"), "{dry}");
    let done = stdout(&run(service, "operator", &["plan", "execute", id, "--execute"]));
    assert!(done.contains("state      executed"), "{done}");
    let listed = stdout(&run(service, "auditor", &["plan", "list", "--state", "executed"]));
    assert!(listed.contains(id) && listed.contains("use-root-ca"), "{listed}");
    assert_eq!(run(service, "operator", &["plan", "execute", id, "--execute"]).status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_is_taken_only_if_exactly_it_was_approved() {
    let scene = Scene::set().await;
    let file = scene.service.workplace.dir.join("officers.txt");
    let old = std::fs::read_to_string(&file).expect("a file");
    // officer-3 leaves.
    let two: String = old.lines().filter(|line| !line.contains("officer-3 ")).fold(String::new(), |text, line| text + line + "\n");
    let digest = |text: &str| data_encoding::HEXLOWER.encode(&Sha256::digest(text));
    // What somebody wrote into the file alone: not taken while the service runs, and it does not start with it.
    std::fs::write(&file, &two).expect("writes");
    let local = format!("http://{}/readyz", scene.service.address("local"));
    let ready = async || -> Value { reqwest::get(&local).await.expect("answers").json().await.expect("JSON") };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let told = loop {
        if let Some(told) = ready().await["not_in_force"].as_str() {
            break told.to_owned();
        }
        assert!(std::time::Instant::now() < deadline, "the file was not looked at");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert!(told.contains(&digest(&two)) && told.contains("plan propose change-officers"), "{told}");
    let plan = propose(&scene.operator).await;
    approve(&scene.service, "officer-3", &plan).await.expect("still an officer");
    let mut service = scene.service;
    assert!(service.stop().success());
    let refused = Command::new(PROGRAM).args(["serve", "--config"]).arg(service.workplace.config()).output().expect("starts");
    assert!(refused.status.code() == Some(1) && String::from_utf8_lossy(&refused.stderr).contains("plan propose change-officers"));

    // With the old file it starts, and the officers in force approve the new one.
    std::fs::write(&file, &old).expect("writes");
    service.restart();
    let scene = Scene::of(service).await;
    let before = approved(&scene).await;
    let body = json!({"deed": "change-officers", "content": digest(&two)});
    let plan = scene.operator.post("/v1/plans", &body).await.expect("a plan");
    approve(&scene.service, "officer", &plan).await.expect("one");
    approve(&scene.service, "officer-2", &plan).await.expect("two");
    execute(&scene.operator, &plan).await.expect("executed");
    // Until the approved file is here nobody counts as an officer: neither who left, nor who stays.
    for who in ["officer-3", "officer"] {
        let plan = propose(&scene.operator).await;
        assert_eq!(reason(approve(&scene.service, who, &plan).await), "state-conflict", "{who}");
    }
    assert_eq!(reason(execute(&scene.operator, &before).await), "state-conflict");
    std::fs::write(&file, &two).expect("writes");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while let Err(error) = execute(&scene.operator, &before).await {
        assert_eq!(reason::<Value>(Err(error)), "state-conflict");
        assert!(std::time::Instant::now() < deadline, "the file was not looked at");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let plan = propose(&scene.operator).await;
    assert_eq!(reason(approve(&scene.service, "officer-3", &plan).await), "approval-foreign", "in force at once");
    let mut service = scene.service;
    assert!(service.stop().success());
    service.restart();
    assert!(service.stop().success());
    // The older one was approved once; it is not any more.
    std::fs::write(&file, &old).expect("writes");
    let refused = Command::new(PROGRAM).args(["serve", "--config"]).arg(service.workplace.config()).output().expect("starts");
    assert_eq!(refused.status.code(), Some(1));
}
