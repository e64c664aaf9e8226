//! `pkcs11-tool` (package opensc) through the module.

use std::process::Command;

use tillward_fault_module::library_path;

use crate::rig::{LABEL, PIN, Rig, SO_PIN, alone, softhsm};

const TOOL: &str = "pkcs11-tool";

fn is_there() -> bool {
    let there = Command::new(TOOL).arg("--help").output().is_ok();
    if !there {
        eprintln!("SKIPPED: no pkcs11-tool; on Debian: apt install opensc");
    }
    there
}

/// What the tool says, on both outputs, and whether it succeeded.
fn through(rig: &Rig, library: &std::path::Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(TOOL);
    command.arg("--module").arg(library).args(arguments).current_dir(rig.path(""));
    rig.environment(&mut command);
    let ran = command.output().expect("runs");
    (ran.status.success(), String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned())
}

fn tool(rig: &Rig, arguments: &str) -> (bool, String) {
    through(rig, &library_path(), &arguments.split(' ').collect::<Vec<_>>())
}

fn works(rig: &Rig, arguments: &str) -> String {
    let (succeeded, said) = tool(rig, arguments);
    assert!(succeeded, "{arguments}: {said}");
    said
}

fn fails(rig: &Rig, arguments: &str, code: &str) {
    let (succeeded, said) = tool(rig, arguments);
    assert!(!succeeded && said.contains(code), "{arguments}: {said}");
}

#[test]
fn the_tool_reads_the_same_through_the_module_as_without_it() {
    alone(|rig| {
        if !is_there() {
            return;
        }
        let softhsm = softhsm().expect("was found before");
        let login = format!("--token-label {LABEL} --login --pin {PIN}");
        for arguments in [
            "-I".to_owned(),
            "-L".to_owned(),
            format!("-M --token-label {LABEL}"),
            format!("-O {login}"),
            format!("-O {login}-wrong"),
            "-M --slot 77".to_owned(),
        ] {
            let arguments = arguments.split(' ').collect::<Vec<_>>();
            let [direct, shimmed] = [softhsm, &library_path()].map(|library| through(rig, library, &arguments));
            assert!(direct.1.len() > 20, "{}", direct.1);
            assert_eq!(shimmed, direct, "{arguments:?}");
        }
    });
}

#[test]
fn a_token_is_set_up_used_and_disturbed_by_the_tool() {
    alone(|rig| {
        if !is_there() {
            return;
        }
        std::fs::write(rig.path("digest"), [0x5A; 32]).expect("writes");
        let said = works(rig, &format!("--init-token --slot-index 1 --label second --so-pin {SO_PIN}"));
        assert!(said.contains("successfully initialized"), "{said}");
        works(rig, &format!("--token-label second --init-pin --login --login-type so --so-pin {SO_PIN} --pin {PIN}"));
        let login = format!("--token-label second --login --pin {PIN}");
        works(rig, &format!("{login} --keypairgen --key-type EC:prime256v1 --usage-sign --id 01"));
        let sign = format!("{login} --sign -m ECDSA --id 01 -i digest -o signature");
        let verify = format!("{login} --verify -m ECDSA --id 01 -i digest --signature-file signature");
        works(rig, &sign);
        assert!(works(rig, &verify).contains("Signature is valid"));

        rig.script("C_SignInit return CKR_DEVICE_ERROR");
        fails(rig, &sign, "CKR_DEVICE_ERROR");
        rig.script("C_OpenSession return CKR_SESSION_COUNT");
        fails(rig, &sign, "CKR_SESSION_COUNT");
        rig.script("C_FindObjectsInit close-sessions");
        fails(rig, &sign, "CKR_SESSION_HANDLE_INVALID");
        rig.script("C_SignInit stale-objects");
        fails(rig, &sign, "CKR_OBJECT_HANDLE_INVALID");
        rig.script("C_Login lose-init");
        fails(rig, &sign, "CKR_CRYPTOKI_NOT_INITIALIZED");
        rig.script("C_Sign output corrupt");
        works(rig, &sign);
        rig.script("");
        assert!(!works_or_says(rig, &verify).contains("Signature is valid"));
        works(rig, &sign);
        assert!(works(rig, &verify).contains("Signature is valid"));

        rig.script("pin-tries 3");
        for code in ["CKR_PIN_INCORRECT", "CKR_PIN_INCORRECT", "CKR_PIN_INCORRECT", "CKR_PIN_LOCKED"] {
            fails(rig, "--token-label second --login --pin wrong-pin -O", code);
        }
        fails(rig, &sign, "CKR_PIN_LOCKED");
        assert!(works(rig, "-L").contains("user PIN locked"));
    });
}

fn works_or_says(rig: &Rig, arguments: &str) -> String {
    tool(rig, arguments).1
}
