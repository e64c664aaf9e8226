//! Completion and man pages: what a shell and `man` make of them.

use std::path::Path;
use std::process::Command;

use super::{NOUNS, command, run, stderr, stdout, text};
use crate::service::PROGRAM;

/// Every program of the command line that is not for people.
const HIDDEN: [&str; 2] = ["hsm-host", "hsm-trial"];

#[test]
fn bash_accepts_the_completion_and_completes_nouns_verbs_and_profiles() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let script = folder.path().join("tillward.bash");
    std::fs::write(&script, stdout(&run(&["completion", "bash"]))).expect("writes");
    let profiles = folder.path().join("tillward/profiles");
    std::fs::create_dir_all(&profiles).expect("a folder");
    std::fs::write(profiles.join("production.toml"), "").expect("writes");
    assert!(Command::new("bash").arg("-n").arg(&script).status().expect("bash").success());
    let complete = |words: &str| {
        let body = format!(
            "compopt() {{ :; }}; source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _tillward_with_profiles tillward \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output =
            Command::new("bash").args(["-c", &body]).env("XDG_CONFIG_HOME", folder.path()).current_dir(&folder).output().expect("bash");
        assert_eq!(stderr(&output), "", "{words}");
        stdout(&output).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let nouns = complete("tillward ''");
    for noun in NOUNS {
        assert!(nouns.iter().any(|word| word == noun), "{noun}");
    }
    assert!(HIDDEN.iter().all(|hidden| !nouns.iter().any(|word| word == hidden)), "{nouns:?}");
    assert_eq!(complete("tillward merch"), ["merchant"]);
    assert_eq!(complete("tillward device ret"), ["retire"]);
    assert_eq!(complete("tillward device list --profile prod"), ["production"]);
}

#[test]
fn no_completion_knows_what_is_not_for_people() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&["completion", shell]));
        assert!(script.contains("merchant") && script.contains("--execute") || shell == "fish" && script.contains("execute"), "{shell}");
        assert!(HIDDEN.iter().all(|hidden| !script.contains(hidden)), "{shell}");
    }
    assert_eq!(run(&["completion", "tcsh"]).status.code(), Some(2));
}

fn page(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|_| panic!("no page {name}"))
}

#[test]
fn every_command_has_a_man_page_with_exit_codes_environment_and_files() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let made = run(&["man", text(folder.path()), "--json"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).expect("a folder").map(|file| file.expect("a file").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    assert!(HIDDEN.iter().all(|hidden| names.iter().all(|name| !name.contains(hidden))), "{names:?}");
    for noun in NOUNS {
        assert!(names.contains(&format!("tillward-{noun}.1")), "{noun}");
    }
    for name in &names {
        let page = page(folder.path(), name);
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES"] {
            assert!(page.contains(&format!(".SH {section}\n")), "{name}: {section}");
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/cli/tillward-profile-use.1");
    super::golden::compare(&golden, &page(folder.path(), "tillward-profile-use.1"));
}

#[test]
fn a_folder_that_cannot_be_written_is_said() {
    let output = command(&["man", "/proc/nowhere"]).output().expect("it starts");
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()));
    assert!(stderr(&output).lines().last().is_some_and(|line| line.starts_with("What to do: ")), "{PROGRAM}: {}", stderr(&output));
}
