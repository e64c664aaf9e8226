//! Limits: sessions, objects, wrong PINs.

use cryptoki::error::RvError;
use cryptoki::slot::Limit;

use crate::rig::{PIN, SO_PIN, alone, code, finish, load, log_in, make_key, open, sign, slot_of, until};

#[test]
fn a_token_gives_so_many_sessions_and_no_more() {
    alone(|rig| {
        let module = load();
        let slot = slot_of(&module);
        rig.script("limit sessions 3");
        let info = module.get_token_info(slot).expect("info");
        assert!(matches!((info.max_session_count(), info.max_rw_session_count()), (Limit::Max(3), Limit::Max(3))), "{info:?}");
        let mut open: Vec<_> = (0..3).map(|_| module.open_rw_session(slot).expect("there is room")).collect();
        assert_eq!(code(module.open_ro_session(slot)), RvError::SessionCount);
        open.pop();
        open.push(module.open_ro_session(slot).expect("room was made"));
        assert_eq!(code(module.open_ro_session(slot)), RvError::SessionCount);
        rig.script("");
        module.open_ro_session(slot).expect("no limit any more");
        assert_eq!(rig.counts().reached("C_OpenSession"), Some(5));
    });
}

#[test]
#[ignore = "a process of the other tests"]
fn holds_two_sessions_until_it_is_killed() {
    alone(|rig| {
        let module = load();
        let slot = slot_of(&module);
        let _open = [0; 2].map(|_| module.open_rw_session(slot).expect("there is room"));
        std::fs::write(rig.path("open"), "").expect("writes");
        until("the end", || false);
    });
}

#[test]
fn the_sessions_of_all_processes_count_and_a_dead_process_has_none() {
    alone(|rig| {
        rig.script("limit sessions 3 shared");
        let mut other = rig.start("limits::holds_two_sessions_until_it_is_killed");
        until("two sessions", || rig.path("open").exists());
        let module = load();
        let slot = slot_of(&module);
        let _third = module.open_rw_session(slot).expect("there is room");
        assert_eq!(code(module.open_ro_session(slot)), RvError::SessionCount);
        other.kill().expect("ends");
        other.wait().expect("ended");
        let _more = [0; 2].map(|_| module.open_rw_session(slot).expect("the dead hold none"));
        assert_eq!(code(module.open_ro_session(slot)), RvError::SessionCount);
    });
}

#[test]
fn a_token_keeps_so_many_objects_and_no_more() {
    alone(|rig| {
        let module = load();
        let (session, _) = open(&module);
        rig.script("limit token-objects 2\nlimit session-objects 1");
        let made = make_key(&session, true).expect("the second");
        assert_eq!(code(make_key(&session, true)), RvError::DeviceMemory);
        let passing = make_key(&session, false).expect("the first of the session's");
        assert_eq!(code(make_key(&session, false)), RvError::DeviceMemory);
        session.destroy_object(made).expect("destroys");
        session.destroy_object(passing).expect("destroys");
        make_key(&session, true).expect("room was made");
        make_key(&session, false).expect("room was made");
        rig.script("");
        make_key(&session, true).expect("no limit any more");
        make_key(&session, false).expect("no limit any more");
    });
}

#[test]
fn three_wrong_pins_lock_the_token_for_the_right_one_too_and_the_officer_unlocks_it() {
    alone(|rig| {
        let module = load();
        let slot = slot_of(&module);
        let session = module.open_rw_session(slot).expect("opens");
        rig.script("pin-tries 3");
        let flags = || {
            let info = module.get_token_info(slot).expect("info");
            [info.user_pin_count_low(), info.user_pin_final_try(), info.user_pin_locked()]
        };
        assert_eq!(flags(), [false; 3]);
        assert_eq!(code(log_in(&session, "wrong-1")), RvError::PinIncorrect);
        assert_eq!(flags(), [true, false, false]);
        log_in(&session, PIN).expect("the right one forgives");
        assert_eq!(flags(), [false; 3]);
        assert_eq!(code(log_in(&session, "wrong-1")), RvError::UserAlreadyLoggedIn);
        assert_eq!(flags(), [false; 3]);
        session.logout().expect("logs out");
        for (pin, after) in [("wrong-1", [true, false, false]), ("wrong-2", [true, true, false]), ("wrong-3", [false, false, true])] {
            assert_eq!(code(log_in(&session, pin)), RvError::PinIncorrect);
            assert_eq!(flags(), after);
        }
        assert_eq!(code(log_in(&session, PIN)), RvError::PinLocked);
        assert!(!finish(rig.start("death::signs_once")).success(), "another process finds it locked");
        let counts = rig.counts();
        assert_eq!((counts.called("C_Login"), counts.failed("C_Login"), counts.reached("C_Login")), (Some(8), Some(7), Some(6)));

        session.login(cryptoki::session::UserType::So, Some(&cryptoki::types::AuthPin::new(SO_PIN.into()))).expect("the officer");
        session.init_pin(&cryptoki::types::AuthPin::new(PIN.into())).expect("a new PIN");
        session.logout().expect("logs out");
        assert_eq!(flags(), [false; 3]);
        log_in(&session, PIN).expect("logs in");
        let key = crate::rig::find_key(&session).expect("the key");
        sign(&session, key).expect("signs");
    });
}

#[test]
fn a_pin_is_tried_no_more_than_so_often_however_many_try_at_once() {
    alone(|rig| {
        let module = load();
        let slot = slot_of(&module);
        rig.script("pin-tries 3");
        let codes = std::thread::scope(|scope| {
            let tries = [0; 16].map(|_| scope.spawn(|| code(log_in(&module.open_rw_session(slot).expect("opens"), "wrong"))));
            tries.map(|attempt| attempt.join().expect("ends"))
        });
        assert_eq!(codes.iter().filter(|code| **code == RvError::PinIncorrect).count(), 3, "{codes:?}");
        assert_eq!(codes.iter().filter(|code| **code == RvError::PinLocked).count(), 13, "{codes:?}");
    });
}
