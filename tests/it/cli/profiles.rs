//! Profiles by name: where they are looked for, which one is meant, and what is said about them.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tillward::cli::workplace;

use super::{command, stderr, stdout, text};
use crate::service::ACQUIRER;

/// Two profiles of a workplace in a settings folder, one by a link and one with whole paths.
fn settings() -> TempDir {
    let folder = tempfile::Builder::new().prefix("tillward-").tempdir().expect("a folder");
    let place = workplace::create(&folder.path().join("place"), ACQUIRER, None).expect("a workplace");
    place.settle("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3").expect("settles");
    let profiles = folder.path().join("settings/tillward/profiles");
    std::fs::create_dir_all(&profiles).expect("a folder");
    std::os::unix::fs::symlink(place.profile("operator"), profiles.join("rehearsal.toml")).expect("links");
    let whole = std::fs::read_to_string(place.profile("officer")).expect("a profile").replace("..", text(&place.dir)).replace(":2", ":4");
    std::fs::write(profiles.join("production.toml"), whole).expect("writes");
    folder
}

fn tillward(folder: &TempDir, arguments: &[&str], named: Option<&str>) -> (Option<i32>, String, String) {
    let mut command = command(arguments);
    command.env("XDG_CONFIG_HOME", folder.path().join("settings")).current_dir(folder.path());
    if let Some(named) = named {
        command.env("TILLWARD_PROFILE", named);
    }
    let output = command.output().expect("it starts");
    (output.status.code(), stdout(&output), stderr(&output))
}

/// URL and principal of the profile that is meant.
fn meant(folder: &TempDir, named: Option<&str>) -> (String, String) {
    let (code, out, error) = tillward(folder, &["profile", "show", "--json"], named);
    assert_eq!(code, Some(0), "{error}");
    let shown: Value = serde_json::from_str(&out).expect("JSON");
    let member = |name: &str| shown[name].as_str().expect("text").to_owned();
    (member("url"), member("principal").replace("urn:tillward:principal:", ""))
}

#[test]
fn a_profile_is_named_by_argument_then_by_environment_then_by_default() {
    let folder = settings();
    let (code, _, error) = tillward(&folder, &["merchant", "show", "m1"], None);
    assert!(code == Some(1) && error.contains("there is no default"), "{error}");
    assert_eq!(tillward(&folder, &["profile", "use", "rehearsal"], None).0, Some(0));
    assert_eq!(meant(&folder, None), ("https://127.0.0.1:2".to_owned(), "operator".to_owned()));
    assert_eq!(meant(&folder, Some("production")), ("https://127.0.0.1:4".to_owned(), "officer".to_owned()));
    // Nobody listens at either: the error says who was asked.
    for (arguments, asked) in [
        (&["device", "list"][..], "https://127.0.0.1:4"),
        (&["device", "list", "--profile", "rehearsal"], "https://127.0.0.1:2"),
        (&["device", "list", "--profile", "place/profiles/auditor.toml"], "https://127.0.0.1:2"),
    ] {
        let (code, _, error) = tillward(&folder, arguments, Some("production"));
        assert!(code == Some(4) && error.contains(asked), "{arguments:?}: {error}");
    }
}

#[test]
fn what_lies_in_the_working_folder_is_never_taken_for_a_name() {
    let folder = settings();
    std::fs::copy(folder.path().join("place/profiles/backend.toml"), folder.path().join("production")).expect("copies");
    assert_eq!(meant(&folder, Some("production")).1, "officer");
    let (code, _, error) = tillward(&folder, &["device", "list", "--profile", "operator"], None);
    assert!(code == Some(1) && error.contains("there is no profile operator"), "{error}");
}

#[test]
fn a_default_outside_the_folder_is_kept_with_its_whole_path() {
    let folder = settings();
    assert_eq!(tillward(&folder, &["profile", "use", "place/profiles/auditor.toml"], None).0, Some(0));
    let kept = std::fs::read_to_string(folder.path().join("settings/tillward/default-profile")).expect("a file");
    assert!(Path::new(kept.trim()).is_absolute(), "{kept}");
    assert_eq!(meant(&folder, None).1, "auditor");
}

#[test]
fn only_what_is_a_profile_becomes_the_default() {
    let folder = settings();
    std::fs::write(folder.path().join("settings/tillward/profiles/broken.toml"), "url = 1\n").expect("writes");
    assert_eq!(tillward(&folder, &["profile", "use", "rehearsal"], None).0, Some(0));
    for refused in ["broken", "nobody", "./nobody.toml"] {
        let (code, _, error) = tillward(&folder, &["profile", "use", refused], None);
        assert!(code == Some(1) && error.contains("What to do: "), "{refused}: {error}");
    }
    assert_eq!(meant(&folder, None).1, "operator");
    let (code, out, _) = tillward(&folder, &["profile", "list"], None);
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = out.lines().map(str::trim_start).collect();
    for start in ["profile", "broken", "production", "* rehearsal"] {
        assert!(lines.iter().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(start)), "{start}: {out}");
    }
}
