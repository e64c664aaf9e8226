//! `tillward doctor hsm` and `tillward bench hsm` over SoftHSM.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tillward_fault_module::Counts;
use tillward_hsm::Pkcs11Uri;

use crate::faults::Faulty;
use crate::service::PROGRAM;
use crate::token::{Module, Token};

/// `tillward NOUN hsm --uri ... --environment ...`.
fn command(noun: &str, token: &Token, uri: &Pkcs11Uri, more: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args([noun, "hsm", "--uri", &uri.to_string()]);
    command.args(["--environment", &format!("SOFTHSM2_CONF={}", token.path("softhsm2.conf").display())]);
    command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(noun: &str, token: &Token, more: &[&str]) -> Output {
    command(noun, token, &token.uri(), more).output().expect("it starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", text(output)))
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].concat().into_iter().map(char::from).collect()
}

/// The row of that group and name.
fn row<'a>(report: &'a Value, group: &str, name: &str) -> &'a Value {
    let rows = report["checks"].as_array().expect("rows");
    rows.iter().find(|row| row["group"] == group && row["name"] == name).unwrap_or_else(|| panic!("{group}: {name} in {report:#}"))
}

fn failed(report: &Value) -> Vec<&Value> {
    report["checks"].as_array().expect("rows").iter().filter(|row| row["outcome"] == "fail").collect()
}

/// Files of SoftHSM's token folder that are objects, half-made ones too.
fn objects(token: &Token) -> usize {
    let tokens = std::fs::read_dir(token.path("tokens")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files = tokens.flat_map(|folder| std::fs::read_dir(folder).expect("a folder")).map(|entry| entry.expect("an entry").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "object")).count()
}

/// A token that is initialised and empty.
async fn empty_token() -> Token {
    let token = Token::empty(Module::SoftHsm).expect("SoftHSM is installed");
    token.ceremony().await.shutdown().await;
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn softhsm_is_fit_and_its_table_is_as_written_down() {
    let token = empty_token().await;
    let before = objects(&token);
    let output = run("doctor", &token, &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(objects(&token), before, "scratch objects are left");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!printed.contains('\x1b'), "colour is for a terminal only");
    let (device, table) = printed.split_once("\n\n").expect("what is on trial, and the table");
    assert!(device.contains("serial"), "{device}");
    if !device.contains("firmware 2.6") {
        println!("the table is that of SoftHSM 2.6, and this is another: it is not compared");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("tests/it/golden/doctor-softhsm.txt");
    if std::env::var_os("TILLWARD_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(&file, table).expect("writes");
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(golden == table, "the table has changed; if that is meant, run this test with TILLWARD_GOLDEN=write\n{table}");

    let operations = std::fs::read_to_string(root.join("docs/operations.md")).expect("the operator's page");
    let differs = |line: &&str| line.starts_with("  workaround") || line.starts_with("  note");
    let missing: Vec<&str> = golden.lines().filter(differs).filter(|line| !operations.contains(*line)).collect();
    assert!(missing.is_empty(), "docs/operations.md quotes the table, and lacks:\n{}", missing.join("\n"));
    assert!(operations.contains(golden.lines().rev().nth(1).expect("the counts")), "docs/operations.md quotes the counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installations_keys_are_not_touched() {
    let token = Token::with_keys(Module::SoftHsm).await.expect("SoftHSM is installed");
    let (files, hsm) = (objects(&token), token.start().await);
    let before = hsm.inventory().await.expect("inventory");
    let output = run("doctor", &token, &["--json"]);
    assert!(output.status.success(), "{}", text(&output));
    let report = json(&output);
    assert_eq!((report["fit"].as_bool(), failed(&report).len()), (Some(true), 0));
    assert_eq!(row(&report, "objects", "none is left")["outcome"], "pass");
    assert_eq!(hsm.inventory().await.expect("inventory"), before);
    assert_eq!(objects(&token), files);
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_tried_once_and_the_next_trial_sees_it() {
    let token = empty_token().await;
    token.write_pin("pin", "not-the-pin\n");
    let output = run("doctor", &token, &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report = json(&output);
    let [login] = failed(&report)[..] else { panic!("one failure: {report:#}") };
    assert_eq!((&login["name"], &login["code"]), (&"login".into(), &"CKR_PIN_INCORRECT".into()));
    assert!(!text(&output).contains("not-the-pin"));

    token.write_pin("pin", "user-pin-4711\n");
    let report = json(&run("doctor", &token, &["--json"]));
    assert_eq!(row(&report, "token", "PIN tries")["outcome"], "note", "SoftHSM flags a wrong PIN");
    assert_eq!(report["fit"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_module_or_no_token_is_named() {
    let token = empty_token().await;
    for (uri, group, name) in [
        (Pkcs11Uri::new("tillward-test", &token.path("pin"), &token.path("pin")), "module", "load"),
        (Pkcs11Uri::new("another", token.uri().module_path(), &token.path("pin")), "token", "label"),
        (Pkcs11Uri::new("tillward-test", token.uri().module_path(), Path::new("/nowhere/pin")), "token", "login"),
    ] {
        let output = command("doctor", &token, &uri.expect("a URI"), &["--json"]).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let report = json(&output);
        let [failure] = failed(&report)[..] else { panic!("one failure: {report:#}") };
        assert_eq!((&failure["group"], &failure["name"]), (&group.into(), &name.into()), "{report:#}");
    }
    for wrong in [&["doctor", "hsm", "--uri", "pkcs11:"][..], &["bench", "hsm", "--environment", "X=1"], &["bench", "hsm", "--only", "x"]] {
        let output = Command::new(PROGRAM).args(wrong).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    }
}

/// The process in which the module is on trial.
fn trial_of(doctor: &Child) -> Option<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", doctor.id())).ok()?;
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok()).collect::<String>();
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// A doctor of a token behind the fault module.
fn behind_faults(faulty: &Faulty) -> Child {
    let config = faulty.config();
    let mut command = Command::new(PROGRAM);
    command.args(["doctor", "hsm", "--json", "--uri", &config.uri.to_string()]);
    for (name, value) in &config.environment {
        command.args(["--environment", &format!("{name}={value}")]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

/// The first call of it is made while a scratch key of the design is on the token.
const WITH_SCRATCH: &str = "C_SetAttributeValue";

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_takes_its_process_down_is_blamed_and_the_rest_is_tried() {
    let faulty = Faulty::new().await;
    let before = objects(&faulty.token);
    faulty.script(&format!("{WITH_SCRATCH} next 1 shared abort"));
    let output = behind_faults(&faulty).wait_with_output().expect("it ends");
    let report = json(&output);
    assert_eq!((output.status.code(), report["fit"].as_bool()), (Some(1), Some(false)));
    let [blamed] = failed(&report)[..] else { panic!("one failure: {report:#}") };
    assert_eq!((&blamed["group"], &blamed["name"]), (&"key activation-mac".into(), &"change".into()));
    assert!(blamed["hint"].as_str().is_some_and(|hint| hint.contains("signal 6")), "{blamed}");
    assert_eq!(row(&report, "key bdk-256", "destruction")["outcome"], "pass");
    assert_eq!(row(&report, "objects", "none is left")["outcome"], "pass");
    assert_eq!(objects(&faulty.token), before, "what the dead process left was destroyed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_doctor_left_is_destroyed_by_the_next() {
    let faulty = Faulty::new().await;
    let before = objects(&faulty.token);
    faulty.script(&format!("{WITH_SCRATCH} hang"));
    let mut doctor = behind_faults(&faulty);
    let deadline = Instant::now() + Duration::from_mins(1);
    let called = || Counts::read(&faulty.token.path("fault-state")).ok()?.called(WITH_SCRATCH);
    while called().is_none_or(|calls| calls == 0) {
        assert!(Instant::now() < deadline, "the call was not made");
        std::thread::yield_now();
    }
    let trial = trial_of(&doctor).expect("it hangs");
    // Its parent first: it would go on behind the check.
    doctor.kill().expect("it is there");
    doctor.wait().expect("it ends");
    kill_process(trial, Signal::KILL).expect("it is there");
    assert!(objects(&faulty.token) > before, "something was left");
    faulty.script("");
    let report = json(&behind_faults(&faulty).wait_with_output().expect("it ends"));
    assert_eq!(report["fit"], true, "{report:#}");
    let leftovers = row(&report, "objects", "leftovers");
    assert!(leftovers["hint"].as_str().is_some_and(|hint| hint.contains("of an earlier trial were destroyed")), "{leftovers}");
    assert_eq!(objects(&faulty.token), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_breaks_a_promise_is_not_fit() {
    let faulty = Faulty::new().await;
    for (script, group, name, code) in [
        ("C_WrapKey return CKR_GENERAL_ERROR", "choices", "AES-KWP", None),
        ("C_DeriveKey return CKR_MECHANISM_INVALID", "known answers", "derive to derive", Some("CKR_MECHANISM_INVALID of C_DeriveKey")),
        ("C_GenerateRandom on 2..99 return CKR_RANDOM_NO_RNG", "random", "generator", Some("CKR_RANDOM_NO_RNG of C_GenerateRandom")),
    ] {
        faulty.script(script);
        let output = behind_faults(&faulty).wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{script}: {}", text(&output));
        let report = json(&output);
        let row = row(&report, group, name);
        assert_eq!((&row["outcome"], row["code"].as_str()), (&"fail".into(), code), "{script}");
        assert!(row["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "what to do: {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_benchmark_adds_up_draws_and_leaves_nothing() {
    let token = empty_token().await;
    let before = objects(&token);
    let plot: PathBuf = token.path("plot.svg");
    let plot_text = plot.to_str().expect("UTF-8");
    let plan = ["--seconds", "0.05", "--sessions", "2,1", "--hosts", "1,2", "--only", "sign,derive,device-mac,dukpt-verify"];
    let output = run("bench", &token, &[&plan[..], &["--json", "--plot", plot_text]].concat());
    assert!(output.status.success(), "{}", text(&output));
    let report = json(&output);
    let cells = report["cells"].as_array().expect("cells");
    assert_eq!(cells.len(), 4 * 2 * 2);
    for cell in cells {
        let number = |name: &str| cell[name].as_u64().unwrap_or_else(|| panic!("{name} in {cell}"));
        assert_eq!(number("got"), number("hosts") * number("sessions"), "SoftHSM gives every session: {cell}");
        assert_eq!(number("per_second"), number("operations") * 20, "{cell}");
        assert!(number("p50_ns") <= number("p99_ns"), "{cell}");
    }
    assert!(cells.iter().any(|cell| cell["operations"].as_u64() > Some(0)), "{cells:?}");
    assert_eq!(report["advice"].as_array().map(Vec::len), Some(2));
    let drawn = std::fs::read_to_string(&plot).expect("a picture");
    for word in ["<svg", "ECDSA P-256, token key", "2 hosts", "sessions in each host"] {
        assert!(drawn.contains(word), "{word}");
    }

    let table = run("bench", &token, &["--seconds", "0.02", "--sessions", "1", "--hosts", "1"]);
    assert!(table.status.success(), "{}", text(&table));
    let printed = text(&table);
    for name in ["mechanism", "sign", "cmac", "hmac", "oaep-unwrap", "initial-key", "random", "key-pair"] {
        assert!(printed.lines().any(|line| line.starts_with(name)), "{name}\n{printed}");
    }
    assert_eq!(objects(&token), before, "scratch keys are left");
}
