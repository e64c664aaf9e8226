//! Where rules come from: script and socket; what is counted.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use cryptoki::context::Pkcs11;
use cryptoki::error::RvError;

use crate::rig::{Rig, alone, code, finish, initialize, load, open, sign, slot_of, until};

/// What a control socket says to a line: all lines of the answer; nothing if nobody listens.
fn ask(path: &Path, line: &str) -> Option<Vec<String>> {
    let mut stream = UnixStream::connect(path).ok()?;
    writeln!(stream, "{line}").ok()?;
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        lines.push(line.ok()?);
        if lines.last().is_some_and(|line| line.starts_with("ok") || line.starts_with("error")) {
            return Some(lines);
        }
    }
    None
}

/// What the control socket of this process says.
fn control(rig: &Rig, line: &str) -> Vec<String> {
    let path = rig.path(&format!("control-{}", std::process::id()));
    until("the socket", || UnixStream::connect(&path).is_ok());
    ask(&path, line).expect("an answer")
}

#[test]
fn a_socket_that_processes_share_is_taken_over_when_its_owner_ends() {
    alone(|rig| {
        let path = rig.path("control");
        let start = || {
            let mut command = rig.command("limits::holds_two_sessions_until_it_is_killed");
            command.env("TILLWARD_FAULT_SOCKET", &path).spawn().expect("starts")
        };
        let listens = |pid: u32| until("the socket", || ask(&path, "pid") == Some(vec![format!("ok {pid}")]));
        let mut first = start();
        listens(first.id());
        std::fs::remove_file(rig.path("open")).ok();
        let mut second = start();
        until("the second process", || rig.path("open").exists());
        listens(first.id());
        first.kill().expect("ends");
        first.wait().expect("ended");
        listens(second.id());
        second.kill().expect("ends");
        second.wait().expect("ended");
    });
}

#[test]
fn the_socket_adds_rules_tells_their_hits_and_lifts_them() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        assert_eq!(control(rig, "pid"), [format!("ok {}", std::process::id())]);
        assert_eq!(control(rig, "status"), ["ok 0 rules"]);
        assert_eq!(control(rig, "C_SignInit on 2 return CKR_DEVICE_ERROR"), ["ok"]);
        assert_eq!(control(rig, "limit sessions 9"), ["ok"]);
        sign(&session, key).expect("the first");
        assert_eq!(code(sign(&session, key)), RvError::DeviceError);
        sign(&session, key).expect("the third");
        let status = ["C_SignInit on 2 return CKR_DEVICE_ERROR [calls 3, hits 1]", "limit sessions 9", "ok 1 rules"];
        assert_eq!(control(rig, "status"), status);
        assert_eq!(control(rig, "C_SignInit fly"), ["error \"fly\" is neither a condition nor an action"]);
        assert!(control(rig, "C_SignInit shared hang")[0].starts_with("error shared counts belong to a script"));

        rig.script("C_Sign return CKR_FUNCTION_FAILED");
        assert_eq!(code(sign(&session, key)), RvError::FunctionFailed);
        assert_eq!(control(rig, "clear"), ["ok"]);
        assert_eq!(control(rig, "status"), ["ok 0 rules"]);
        let session = module.open_rw_session(slot_of(&module)).expect("opens");
        sign(&session, key).expect("signs");
        let counts = control(rig, "counts");
        assert!(counts.iter().any(|line| line.starts_with("C_SignInit called 5 failed 1 reached 4")), "{counts:?}");
    });
}

#[test]
fn a_hang_is_lifted_over_the_socket() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        assert_eq!(control(rig, "C_SignInit hang"), ["ok"]);
        std::thread::scope(|scope| {
            let hung = scope.spawn(move || sign(&session, key));
            until("the hang", || rig.counts().hits() == 1);
            assert_eq!(control(rig, "clear"), ["ok"]);
            hung.join().expect("ends").expect("signs");
        });
    });
}

#[test]
fn a_script_with_an_error_stops_everything_until_it_is_mended() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        std::fs::write(rig.path("script"), "C_Sign hang # never\nC_Signn hang").expect("writes");
        assert_eq!(code(sign(&session, key)), RvError::GeneralError);
        let status = control(rig, "status");
        assert!(status[0].ends_with("script: line 2: \"C_Signn\" names no function that is not named already"), "{status:?}");
        rig.script("");
        sign(&session, key).expect("signs");
        std::fs::remove_file(rig.path("script")).expect("removes");
        sign(&session, key).expect("no script is an empty script");
    });
}

#[test]
fn without_a_real_module_nothing_is_initialised() {
    alone(|rig| {
        let mut command = std::process::Command::new(std::env::current_exe().expect("an executable"));
        command.args(["sources::cannot_initialise", "--exact", "--include-ignored", "--nocapture"]);
        rig.environment(&mut command);
        for module in ["", "/nowhere.so", "/usr/lib/os-release"] {
            let ran = command.env("TILLWARD_FAULT_MODULE", module).output().expect("starts");
            assert!(ran.status.success(), "{module}: {ran:?}");
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(
                said.contains("tillward-fault-module: ") && said.contains(if module.is_empty() { "not set" } else { module }),
                "{said}"
            );
        }
    });
}

#[test]
#[ignore = "a process of the other tests"]
fn cannot_initialise() {
    if std::env::var_os("TILLWARD_FAULT_MODULE").is_some_and(|module| !module.to_string_lossy().contains("softhsm")) {
        let module = Pkcs11::new(tillward_fault_module::library_path()).expect("loads");
        assert_eq!(code(initialize(&module)), RvError::GeneralError);
    }
}

#[test]
fn calls_of_all_processes_are_counted() {
    alone(|rig| {
        for process in 1..=3 {
            assert!(finish(rig.start("death::signs_once")).success());
            assert_eq!(rig.counts().called("C_Login"), Some(process));
            assert_eq!(rig.counts().failed("C_Login"), Some(0));
        }
        assert_eq!(rig.counts().called("C_Sign"), Some(6), "each asks for the length first");
        assert_eq!(rig.counts().called("C_Nothing"), None);
        assert_eq!(rig.counts().hits(), 0);
    });
}

#[test]
fn every_process_obeys_the_script_that_is_there_when_it_starts() {
    alone(|rig| {
        rig.script("C_SignInit return CKR_DEVICE_ERROR");
        assert!(!finish(rig.start("death::signs_once")).success());
        rig.script("");
        assert!(finish(rig.start("death::signs_once")).success());
    });
}
