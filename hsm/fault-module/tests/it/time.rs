//! Delays, hangs and spans.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cryptoki::error::RvError;

use crate::rig::{alone, code, load, open, sign, slot_of, until};

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (act(), start.elapsed())
}

#[test]
fn a_delay_is_as_long_as_was_said_and_ends_with_its_rule() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        rig.script("C_SignInit delay 150ms");
        let (signed, took) = timed(|| sign(&session, key));
        signed.expect("signs, late");
        assert!(took >= Duration::from_millis(150), "{took:?}");
        rig.script("C_SignInit on 2 after delay 100ms..200ms");
        let [_, second] = [0, 1].map(|_| timed(|| sign(&session, key).expect("signs")).1);
        assert!(second >= Duration::from_millis(100), "{second:?}");
        rig.script("C_SignInit delay 10m");
        std::thread::scope(|scope| {
            let late = scope.spawn(move || sign(&session, key));
            until("the hit", || rig.counts().hits() >= 3);
            rig.script("");
            late.join().expect("ends").expect("signs as soon as the delay is lifted");
        });
    });
}

#[test]
fn a_call_hangs_until_its_rule_is_lifted_and_no_other_call_waits_for_it() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let other = module.open_ro_session(slot_of(&module)).expect("opens");
        rig.script("C_SignInit next 1 hang");
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let ended = &ended;
            let hung = scope.spawn(move || {
                let signed = sign(&session, key);
                ended.store(true, Ordering::SeqCst);
                signed
            });
            until("the hang", || rig.counts().hits() == 1);
            for _ in 0..100 {
                sign(&other, key).expect("another thread signs");
            }
            // What has the module for itself does not wait for it either.
            module.open_ro_session(slot_of(&module)).expect("opens");
            assert!(!ended.load(Ordering::SeqCst));
            rig.script("");
            hung.join().expect("ends").expect("signs as if nothing had been");
        });
    });
}

#[test]
fn a_span_is_counted_from_the_moment_the_script_was_written() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let before = Instant::now();
        rig.script("C_SignInit from 200ms for 300ms return CKR_DEVICE_ERROR");
        let after = Instant::now();
        // The file's date is that of a clock tick, up to 10 ms old.
        let tick = Duration::from_millis(15);
        let (from, to) = (Duration::from_millis(200), Duration::from_millis(500));
        let mut failed = 0;
        while before.elapsed() < Duration::from_millis(700) {
            let began = Instant::now();
            let signed = sign(&session, key);
            let ended = Instant::now();
            if signed.is_err() {
                assert_eq!(code(signed), RvError::DeviceError);
                assert!(ended + tick >= before + from && began <= after + to, "{:?}", began - before);
                failed += 1;
            } else {
                assert!(began < after + from || ended + tick > before + to, "{:?}", began - before);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(failed > 0);
    });
}
