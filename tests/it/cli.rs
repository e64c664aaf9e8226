//! The command line as people and programs meet it: its help, its exit codes, what it prints and what it never prints.

mod golden;
mod paper;
mod profiles;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::service::{PROGRAM, Service};

/// Everything that stands behind `tillward`.
const NOUNS: [&str; 23] = [
    "demo",
    "new",
    "init",
    "serve",
    "doctor",
    "bench",
    "merchant",
    "terminal",
    "activation",
    "device",
    "clearance",
    "payment",
    "key",
    "kms",
    "ceremony",
    "plan",
    "approval",
    "hsm",
    "policy",
    "audit",
    "profile",
    "completion",
    "man",
];

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("it starts")
}

/// The program, as nobody in particular calls it: no profile, no settings.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_remove("TILLWARD_PROFILE").env("XDG_CONFIG_HOME", "/nonexistent").env("COLUMNS", "110");
    command.stdin(Stdio::null());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Exit code, and the failure's last line.
fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    assert_eq!(stdout(&output), "", "{arguments:?}");
    (output.status.code(), stderr(&output).lines().last().unwrap_or_default().to_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A noun's help, and that of its verbs.
fn help(noun: &str) -> String {
    let own = stdout(&run(&[noun, "--help"]));
    let commands = own.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap_or_default());
    // A verb starts in the third column; what is further right goes on with the line above.
    let verbs = commands.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let mut all = format!("$ tillward {noun} --help\n{own}");
    for verb in verbs.filter_map(|line| line.split(' ').next()).filter(|verb| *verb != "help") {
        let page = stdout(&run(&[noun, verb, "--help"]));
        write!(all, "\n$ tillward {noun} {verb} --help\n{page}").expect("a text takes anything");
    }
    all
}

#[test]
fn the_help_of_every_noun_is_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/help");
    let rewrite = std::env::var_os("TILLWARD_GOLDEN").is_some_and(|word| word == "write");
    let top = stdout(&run(&["--help"]));
    let mut pages = vec![("tillward".to_owned(), format!("$ tillward --help\n{top}"))];
    pages.extend(NOUNS.iter().map(|noun| ((*noun).to_owned(), help(noun))));
    let listed = top.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  ")).map(|(name, _)| name.trim());
    let listed: Vec<&str> = listed.filter(|name| name.chars().all(|c| c.is_ascii_lowercase()) && !["", "help"].contains(name)).collect();
    assert_eq!(listed, NOUNS, "a noun without a page");
    for (name, page) in pages {
        let file = folder.join(format!("{name}.txt"));
        if rewrite {
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(&file, &page).expect("writes");
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(golden == page, "{name}: the help has changed; if that is meant, run this test with TILLWARD_GOLDEN=write\n{page}");
    }
}

#[test]
fn wrong_usage_is_2_and_help_and_version_are_0() {
    for wrong in [
        &[][..],
        &["nonsense"],
        &["merchant"],
        &["merchant", "nonsense"],
        &["merchant", "show", "--profile", "x"],
        &["serve", "--nonsense"],
        &["serve", "more"],
        &["demo", "--phones", "many"],
        // What is no id would be another path.
        &["merchant", "show", "../audit", "--profile", "x"],
        &["activation", "revoke", "../../devices", "--profile", "x"],
        &["device", "retire", "dev_0/../x", "--reason", "lost", "--profile", "x"],
        &["device", "list", "--state", "active&limit=1", "--profile", "x"],
        &["new"],
    ] {
        let (code, _) = failure(wrong);
        assert_eq!(code, Some(2), "{wrong:?}");
    }
    for right in [&["--help"][..], &["--version"], &["help", "device"]] {
        let output = run(right);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{right:?}");
    }
}

#[test]
fn a_failure_is_1_and_ends_with_one_line_on_what_to_do() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("bad.toml"), "surprise = 1\n").expect("writes");
    std::fs::write(at("lost.toml"), "url = \"https://x\"\nca = \"no\"\ncertificate = \"no\"\nkey = \"no\"\n").expect("writes");
    let (nowhere, bad, empty_handed) = (at("nowhere.toml"), at("bad.toml"), at("lost.toml"));
    for (arguments, word) in [
        (vec!["serve", "--config", text(&nowhere)], "tillward new"),
        (vec!["init", "--config", text(&nowhere)], "tillward new"),
        (vec!["serve", "--config", text(&bad)], "tillward.example.toml"),
        (vec!["merchant", "show", "m1", "--profile", text(&nowhere)], "TILLWARD_PROFILE"),
        (vec!["merchant", "show", "m1", "--profile", text(&bad)], "TILLWARD_PROFILE"),
        (vec!["merchant", "show", "m1", "--profile", text(&empty_handed)], "correct the path in the profile"),
        (vec!["merchant", "show", "m1", "--profile", "nobody"], "tillward profile list"),
        (vec!["merchant", "show", "m1"], "tillward profile use"),
    ] {
        let (code, last) = failure(&arguments);
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(last.starts_with("What to do: ") && last.contains(word), "{arguments:?}: {last}");
    }
}

#[test]
fn a_new_folder_is_made_once_and_its_secrets_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::TempDir::new().expect("a folder");
    let place = folder.path().join("first");
    let made = run(&["new", text(&place)]);
    assert!(made.status.success(), "{}", stderr(&made));
    let secrets = ["pin", "so-pin", "tls/server-key.pem", "tls/backend-key.pem", "tls/operator-key.pem"];
    let contents: Vec<(PathBuf, Vec<u8>)> =
        secrets.iter().map(|name| place.join(name)).map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect();
    for (path, content) in &contents {
        let permissions = std::fs::metadata(path).expect("a file").permissions();
        assert_eq!(permissions.mode() & 0o077, 0, "{}", path.display());
        let shown = [&made.stdout[..], &made.stderr].concat();
        assert!(!shown.windows(content.len()).any(|window| window == content), "{} was printed", path.display());
    }
    let (code, last) = failure(&["new", text(&place)]);
    assert_eq!(code, Some(1));
    assert!(last.starts_with("What to do: "), "{last}");
    for (path, content) in &contents {
        assert_eq!(&std::fs::read(path).expect("a file"), content, "{} was changed", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_parses_refusals_are_3_an_absent_service_is_4_and_no_pin_is_ever_printed() {
    let mut service = Service::start();
    let shown_once = service.code("t1", "standard").await;
    let profile = |role: &str| service.workplace.profile(role);
    let (backend, auditor, config) = (profile("backend"), profile("auditor"), service.workplace.config());
    let (backend, auditor, config) = (text(&backend), text(&auditor), text(&config));
    let activation = &shown_once.replace('-', "")[..7];
    let mut printed = Vec::new();
    for arguments in [
        &["merchant", "show", "m1", "--profile", backend][..],
        &["terminal", "show", "t1", "--profile", backend],
        &["activation", "show", activation, "--profile", backend],
        &["device", "list", "--profile", backend],
        &["key", "list", "--profile", auditor],
        &["audit", "list", "--profile", auditor],
        &["init", "--config", config],
        &["doctor", "--config", config],
    ] {
        for more in [&[][..], &["--json"]] {
            let output = run(&[arguments, more].concat());
            assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
            assert!(!output.stdout.is_empty(), "{arguments:?}");
            if !more.is_empty() {
                serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", stdout(&output)));
            }
            printed.push((arguments.join(" "), [stdout(&output), stderr(&output)].concat()));
        }
    }
    for refused in [
        &["merchant", "show", "nobody", "--profile", backend][..],
        &["merchant", "add", "m2", "--acquirer", "example-bank", "--name", "x", "--profile", auditor],
        &["audit", "list", "--profile", backend],
        &["activation", "create", "--terminal", "nowhere", "--profile", backend],
        &["device", "show", "dev_00000000000000000000000000", "--profile", backend, "--json"],
    ] {
        let (code, last) = failure(refused);
        assert_eq!(code, Some(3), "{refused:?}: {last}");
        if refused.contains(&"--json") {
            let document: Value = serde_json::from_slice(&run(refused).stderr).expect("a problem document");
            assert_eq!(
                (&document["reason"], &document["status"], &document["exit_code"]),
                (&json!("device-unknown"), &json!(404), &json!(3))
            );
            assert!(document["remedy"].is_string() && document["request_id"].is_string(), "{document}");
            continue;
        }
        assert!(last.starts_with("What to do: "), "{refused:?}: {last}");
    }
    assert!(service.stop().success());
    let (code, last) = failure(&["merchant", "show", "m1", "--profile", backend]);
    assert_eq!(code, Some(4));
    assert!(last.contains("tillward serve"), "{last}");

    printed.push(("the service".to_owned(), service.log_text()));
    for name in ["pin", "so-pin"] {
        let pin = std::fs::read_to_string(service.workplace.dir.join(name)).expect("a PIN");
        let pin = pin.trim_end();
        assert!(pin.len() >= 8, "a PIN that is worth a search");
        for (what, shown) in &printed {
            assert!(!shown.contains(pin), "{what} prints the content of {name}");
        }
    }
    assert!(
        printed.iter().filter(|(what, _)| what != "the service").all(|(_, shown)| !shown.contains(&shown_once)),
        "a code is shown once"
    );
}
