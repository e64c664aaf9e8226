//! The process ends inside a call.

use std::os::unix::process::ExitStatusExt;

use crate::rig::{alone, finish, load, open, sign};

#[test]
#[ignore = "a process of the other tests"]
fn signs_once() {
    alone(|_| {
        let module = load();
        let (session, key) = open(&module);
        sign(&session, key).expect("signs");
    });
}

#[test]
fn a_process_ends_as_the_rule_says() {
    alone(|rig| {
        for (action, signal, exit) in
            [("abort", Some(6), None), ("segfault", Some(11), None), ("kill", Some(9), None), ("exit 7", None, Some(7))]
        {
            rig.script(&format!("C_Sign output {action}"));
            let status = finish(rig.start("death::signs_once"));
            assert_eq!((status.signal(), status.code()), (signal, exit), "{action}");
        }
        rig.script("");
        assert!(finish(rig.start("death::signs_once")).success());
    });
}

#[test]
fn a_shared_count_kills_one_process_and_spares_the_one_that_replaces_it() {
    alone(|rig| {
        rig.script("C_Sign next 1 kill");
        for _ in 0..2 {
            assert_eq!(finish(rig.start("death::signs_once")).signal(), Some(9), "each process counts for itself");
        }
        rig.script("C_Sign shared next 1 kill");
        assert_eq!(finish(rig.start("death::signs_once")).signal(), Some(9));
        for _ in 0..2 {
            assert!(finish(rig.start("death::signs_once")).success());
        }
    });
}

#[test]
fn a_death_after_the_call_leaves_what_the_call_did() {
    alone(|rig| {
        rig.script("C_GenerateKey after kill");
        assert_eq!(finish(rig.start("death::makes_a_key")).signal(), Some(9));
        rig.script("");
        let module = load();
        let (session, _) = open(&module);
        assert_eq!(session.find_objects(&[]).expect("finds").len(), 2);
    });
}

#[test]
#[ignore = "a process of the other tests"]
fn makes_a_key() {
    alone(|_| {
        let module = load();
        let (session, _) = open(&module);
        crate::rig::make_key(&session, true).expect("makes");
    });
}
