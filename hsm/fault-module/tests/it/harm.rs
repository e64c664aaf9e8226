//! What is done to login, sessions, handles, slots, token and module.

use cryptoki::context::Pkcs11;
use cryptoki::error::RvError;
use cryptoki::session::SessionState;

use crate::rig::{PIN, alone, code, find_key, initialize, load, log_in, open, sign, slot_of};

/// The fault has come and gone: everything works again, from a new session on.
fn works(module: &Pkcs11) {
    let session = module.open_rw_session(slot_of(module)).expect("opens");
    if let Err(error) = log_in(&session, PIN) {
        assert_eq!(code(Err::<(), _>(error)), RvError::UserAlreadyLoggedIn);
    }
    let key = find_key(&session).expect("the key");
    sign(&session, key).expect("signs");
}

#[test]
fn a_dropped_login_makes_every_session_public_and_every_private_handle_invalid() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let other = module.open_rw_session(slot_of(&module)).expect("opens");
        rig.script("C_SignInit on 2 drop-login");
        sign(&other, key).expect("is the first");
        assert_eq!(code(sign(&other, key)), RvError::ObjectHandleInvalid);
        for session in [&session, &other] {
            assert_eq!(session.get_session_info().expect("info").session_state(), SessionState::RwPublic);
        }
        log_in(&other, PIN).expect("nobody is logged in");
        let key = find_key(&session).expect("found again");
        sign(&session, key).expect("signs");
    });
}

#[test]
fn one_session_is_closed_under_its_caller() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let other = module.open_rw_session(slot_of(&module)).expect("opens");
        rig.script("C_SignInit on 1 close-session");
        assert_eq!(code(sign(&other, key)), RvError::SessionHandleInvalid);
        sign(&session, key).expect("the other session is not meant");
        works(&module);
    });
}

#[test]
fn all_sessions_are_closed() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let other = module.open_rw_session(slot_of(&module)).expect("opens");
        rig.script("C_SignInit on 1 close-sessions");
        assert_eq!(code(sign(&other, key)), RvError::SessionHandleInvalid);
        assert_eq!(code(session.get_session_info()), RvError::SessionHandleInvalid);
        works(&module);
        assert_eq!(code(sign(&session, key)), RvError::SessionHandleInvalid);
    });
}

#[test]
fn handles_of_objects_go_stale_and_objects_are_found_again() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        rig.script("C_SignInit on 1 stale-objects");
        assert_eq!(code(sign(&session, key)), RvError::ObjectHandleInvalid);
        assert_eq!(code(sign(&session, key)), RvError::ObjectHandleInvalid);
        let again = find_key(&session).expect("found again");
        assert_ne!(again.handle(), key.handle());
        sign(&session, again).expect("signs");
        assert_eq!(code(sign(&session, key)), RvError::ObjectHandleInvalid);
        let made = crate::rig::make_key(&session, false).expect("makes");
        sign(&session, made).expect("a new handle is of the new kind");
        session.destroy_object(made).expect("is known");
    });
}

#[test]
fn slots_get_other_numbers_for_good() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let before = slot_of(&module);
        rig.script("C_GetSlotList on 1 change-slots");
        let after = slot_of(&module);
        assert_ne!(before, after);
        assert_eq!(code(module.open_ro_session(before)), RvError::SlotIdInvalid);
        assert_eq!(code(module.get_token_info(before)), RvError::SlotIdInvalid);
        assert_eq!(session.get_session_info().expect("info").slot_id(), after);
        sign(&session, key).expect("the session stays");
        works(&module);
        drop(session);
        module.finalize().expect("ends");
        let module = load();
        assert_eq!(slot_of(&module), after);
    });
}

#[test]
fn a_token_that_is_taken_out_is_gone_until_it_is_back_and_then_its_sessions_are() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let slot = slot_of(&module);
        rig.script("* on 1 remove-token");
        assert_eq!(code(sign(&session, key)), RvError::DeviceRemoved);
        assert_eq!(code(session.get_session_info()), RvError::DeviceRemoved);
        assert_eq!(code(module.open_ro_session(slot)), RvError::TokenNotPresent);
        assert_eq!(code(module.get_token_info(slot)), RvError::TokenNotPresent);
        assert_eq!(module.get_slots_with_token().expect("lists"), []);
        assert!(module.get_all_slots().expect("lists").contains(&slot));
        assert!(!module.get_slot_info(slot).expect("info").token_present());
        rig.script("");
        assert_eq!(code(sign(&session, key)), RvError::SessionHandleInvalid);
        assert!(module.get_slot_info(slot).expect("info").token_present());
        works(&module);
    });
}

#[test]
fn a_module_that_lost_its_initialisation_can_be_initialised_again() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        rig.script("C_SignInit on 1 lose-init");
        assert_eq!(code(sign(&session, key)), RvError::CryptokiNotInitialized);
        assert_eq!(code(module.get_all_slots()), RvError::CryptokiNotInitialized);
        rig.script("");
        assert_eq!(code(sign(&session, key)), RvError::CryptokiNotInitialized);
        std::mem::forget(session);
        let module = Pkcs11::new(tillward_fault_module::library_path()).expect("loads");
        initialize(&module).expect("initialises");
        works(&module);
    });
}

#[test]
fn a_broken_device_stays_broken_until_the_module_is_initialised_anew() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let slot = slot_of(&module);
        rig.script("C_SignInit on 1 break-device");
        assert_eq!(code(sign(&session, key)), RvError::DeviceError);
        rig.script("");
        for _ in 0..3 {
            assert_eq!(code(sign(&session, key)), RvError::DeviceError);
            assert_eq!(code(module.open_ro_session(slot)), RvError::DeviceError);
        }
        std::mem::forget(session);
        module.finalize().expect("ends");
        works(&load());
    });
}

#[test]
fn sessions_are_closed_and_logins_dropped_under_load_without_a_crash() {
    alone(|rig| {
        let module = load();
        let (anchor, _) = open(&module);
        rig.script("C_SignInit every 50 close-sessions\nC_SignInit every 70 drop-login\nC_SignInit every 90 stale-objects");
        let signed = std::thread::scope(|scope| {
            let workers = [0; 4].map(|_| {
                scope.spawn(|| {
                    let mut signed = 0;
                    for _ in 0..300 {
                        let Ok(session) = module.open_rw_session(slot_of(&module)) else { continue };
                        let _: Result<(), _> = log_in(&session, PIN);
                        for _ in 0..5 {
                            let Ok(Some(key)) =
                                session.find_objects(&[cryptoki::object::Attribute::Token(true)]).map(|mut keys| keys.pop())
                            else {
                                break;
                            };
                            signed += u32::from(sign(&session, key).is_ok());
                        }
                        std::mem::forget(session);
                    }
                    signed
                })
            });
            workers.map(|worker| worker.join().expect("no panic"))
        });
        assert!(signed.iter().all(|signed| *signed > 100), "{signed:?}");
        assert!(rig.counts().hits() > 40, "{}", rig.counts().hits());
        rig.script("");
        works(&module);
        std::mem::forget(anchor);
    });
}
