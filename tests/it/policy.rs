//! Policies as people meet them: what `tillward policy` prints, and a folder that changes under a running service.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tillward::authz::PolicyFiles;

use crate::service::{PROGRAM, Service};

fn run(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(PROGRAM).args(arguments).current_dir(root).stdin(Stdio::null()).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Everything a command says, and how it ends.
fn page(arguments: &[&str]) -> String {
    let output = run(arguments);
    let code = output.status.code().expect("a code");
    format!("$ tillward {}\n{}{}(exit code {code})\n", arguments.join(" "), text(&output.stdout), text(&output.stderr))
}

fn golden(name: &str, is: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/policy").join(name);
    if std::env::var_os("TILLWARD_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, is).expect("writes");
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(golden == is, "{name} has changed; if that is meant, run this test with TILLWARD_GOLDEN=write\n{is}");
}

/// A folder with the policies that come with Tillward.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::TempDir::new().expect("a folder");
    for (name, text) in PolicyFiles::built_in().iter() {
        std::fs::write(dir.path().join(name), text).expect("writes");
    }
    dir
}

#[test]
fn what_the_command_explains_is_as_written_down() {
    let asked: [&[&str]; 7] = [
        &["--as", "operator:acme", "--action", "destroy_key", "--resource", "key:receipts:acme", "--approvals", "2"],
        &["--as", "operator:acme", "--action", "destroy_key", "--resource", "key:receipts:acme", "--approvals", "1"],
        &["--as", "officer:acme", "--uri", "urn:a", "--action", "approve_plan", "--resource", "plan:p:acme", "--trait", "requester=urn:a"],
        &["--as", "backend:acme", "--action", "key_sign", "--resource", "key:receipts:other", "--trait", "purpose=sign"],
        &["--as", "backend:acme", "--action", "resume_device", "--resource", "device:d1:acme"],
        &["--as", "auditor", "--action", "resume_device", "--resource", "audit:*"],
        &["--as", "operator:acme", "--action", "export_key", "--resource", "key:k:acme", "--at", "soon"],
    ];
    let pages: Vec<String> = asked.iter().map(|more| page(&[&["policy", "explain"], *more].concat())).collect();
    golden("explain.txt", &pages.join("\n"));
}

#[test]
fn what_the_command_checks_and_tests_is_as_written_down() {
    let dir = folder();
    std::fs::write(
        dir.path().join("more.cedar"),
        "@id(\"officer-reads\")\npermit (principal in Role::\"officer\", action == Action::\"random\", resource);\n\n\
         // Too easy.\n@id(\"destroys\")\npermit (principal in Role::\"officer\", action == Action::\"destroy_key\", resource);\n",
    )
    .expect("writes");
    let path = dir.path().to_str().expect("UTF-8");
    let twice = page(&["policy", "check", path]);
    std::fs::write(
        dir.path().join("more.cedar"),
        "// Too easy.\n@id(\"destroys\")\npermit (principal in Role::\"officer\", action == Action::\"destroy_key\", resource);\n\n\
         @id(\"strange\")\npermit (principal in Role::\"officer\", action == Action::\"random\", resource)\nwhen { principal.clearance > 3 };\n",
    )
    .expect("writes");
    let easy = page(&["policy", "check", path]);
    std::fs::write(dir.path().join("more.cedar"), "\npermit (principal,\n").expect("writes");
    let broken = page(&["policy", "check", path]);
    let tested = page(&["policy", "test", path]);
    let pages = [twice, easy, broken, tested].join("\n").replace(path, "DIR");
    golden("check.txt", &format!("{}\n{pages}", undigested(&page(&["policy", "check"]))));
    let output = run(&["policy", "test"]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    let output = run(&["policy", "test", "policies"]);
    assert!(output.status.success() && text(&output.stdout).ends_with(" 0 failed\n"), "{}", text(&output.stdout));
}

/// The digest changes with every word of the policies.
fn undigested(page: &str) -> String {
    page.lines().map(|line| if line.contains("digest") { "     digest ...\n".to_owned() } else { format!("{line}\n") }).collect()
}

#[test]
fn a_case_that_fails_is_shown_and_the_exit_code_is_1() {
    let dir = folder();
    let case = "[[case]]\nname = \"auditors destroy keys\"\nwho = \"auditor:acme\"\naction = \"destroy_key\"\nresource = \"key:k:acme\"\n\
                approvals = 2\nanswer = \"allow\"\n";
    std::fs::write(dir.path().join("cases.toml"), case).expect("writes");
    let output = run(&["policy", "test", dir.path().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    assert!(shown.contains("wrong auditors destroy keys\n      expected allow\n      answered deny\n"), "{shown}");
    assert!(text(&output.stderr).contains("What to do: "), "{}", text(&output.stderr));
}

#[test]
fn the_printed_matrix_is_the_golden_one_and_the_folders_policies_are_those_compiled_in() {
    let golden = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/matrix.txt")).expect("the file");
    assert_eq!(text(&run(&["policy", "matrix"]).stdout), golden);
    assert_eq!(text(&run(&["policy", "matrix", "policies"]).stdout), golden);
    let digest = |output: Output| serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["digest"].clone();
    assert_eq!(digest(run(&["policy", "check", "--json"])), digest(run(&["policy", "check", "policies", "--json"])));
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < Duration::from_mins(1), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_changes_under_the_service_is_in_force_and_one_that_is_wrong_is_not() {
    let dir = folder();
    let policies = dir.path().to_owned();
    let section = format!("\n[authorization]\npolicies = \"{}\"\n", policies.display());
    // With a roster of officers a change of the policies takes a plan; without one, the folder alone decides.
    let without_officers =
        |text: &str| text.lines().filter(|line| !line.starts_with("officers")).flat_map(|line| [line, "\n"]).collect::<String>();
    let mut service = Service::start_with(|text| without_officers(&text) + &section);
    let (operator, backend) = (service.api("operator"), service.api("backend"));
    let first = operator.get("/v1/policy").await.expect("allowed");
    assert_eq!((first["source"].as_str(), first["replaced"].as_u64()), (Some("folder"), Some(0)));
    assert!(first["policies"].as_array().expect("a list").iter().any(|line| line["id"] == "no-self-approval"), "{first}");
    assert!(backend.get("/v1/policy").await.is_err(), "not a back end's");
    assert!(operator.get("/v1/devices").await.is_ok());

    // Wrong: the old ones stay, and it is said.
    let more = policies.join("more.cedar");
    std::fs::write(&more, "permit (principal, action, resource").expect("writes");
    until("a folder with a syntax error is told of", async || standing(&service).await.contains("more.cedar:1")).await;
    let held = operator.get("/v1/policy").await.expect("allowed");
    assert_eq!(held["digest"], first["digest"]);
    assert!(held["not_in_force"].as_str().is_some_and(|why| why.contains("more.cedar:1")), "{held}");
    assert!(operator.get("/v1/devices").await.is_ok());
    assert!(metrics(&service).await.contains("tillward_policies_not_in_force 1\n"));

    // Right: in force without a restart.
    std::fs::write(&more, "// Nobody lists.\n@id(\"nobody-lists\")\nforbid (principal, action == Action::\"list_devices\", resource);\n")
        .expect("writes");
    until("the new policies are in force", async || operator.get("/v1/policy").await.expect("allowed")["digest"] != first["digest"]).await;
    assert!(operator.get("/v1/devices").await.is_err(), "forbidden now");
    assert!(!standing(&service).await.contains("more.cedar"));
    let after = metrics(&service).await;
    assert!(after.contains("tillward_policies_not_in_force 0\n") && after.contains("tillward_policies_replaced_total 1\n"), "{after}");

    // A start with a wrong folder is no start.
    service.stop();
    std::fs::write(&more, "permit (principal, action, resource);\n").expect("writes");
    let output = Command::new(PROGRAM).args(["serve", "--config"]).arg(service.workplace.config()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("without @id"), "{}", text(&output.stderr));
}

async fn local(service: &Service, path: &str) -> String {
    let answer = reqwest::get(format!("http://{}{path}", service.address("local"))).await.expect("the local listener answers");
    answer.text().await.expect("text")
}

async fn standing(service: &Service) -> String {
    local(service, "/readyz").await
}

async fn metrics(service: &Service) -> String {
    local(service, "/metrics").await
}

/// The examples beside the policies, for whoever copies them.
#[test]
fn every_example_has_its_cases() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/examples");
    let all: Vec<PathBuf> = std::fs::read_dir(examples).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    for example in all.iter().filter(|path| path.extension().is_some_and(|extension| extension == "cedar")) {
        let dir = folder();
        std::fs::copy(example, dir.path().join(example.file_name().expect("a name"))).expect("copies");
        let cases = example.with_extension("toml");
        let output = run(&["policy", "test", dir.path().to_str().expect("UTF-8"), "--cases", cases.to_str().expect("UTF-8")]);
        assert!(output.status.success(), "{}: {}", example.display(), text(&output.stdout));
    }
}
