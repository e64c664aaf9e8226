//! Return codes: which call gets them, and when they end.

use cryptoki::error::RvError;

use crate::rig::{alone, code, load, log_in, open, sign, slot_of};

/// How the next calls of `C_SignInit` end: true is a signature.
fn tries(session: &cryptoki::session::Session, key: cryptoki::object::ObjectHandle, many: usize) -> Vec<bool> {
    (0..many).map(|_| sign(session, key).is_ok()).collect()
}

#[test]
fn a_code_comes_on_the_call_that_was_named_and_on_no_other() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        assert_eq!(tries(&session, key, 3), [true; 3]);
        rig.script("C_SignInit on 2 return CKR_DEVICE_ERROR");
        assert_eq!(tries(&session, key, 4), [true, false, true, true]);
        rig.script("C_SignInit every 3 return 0x30");
        assert_eq!(tries(&session, key, 6), [true, true, false, true, true, false]);
        rig.script("C_SignInit next 2 return CKR_DEVICE_ERROR");
        assert_eq!(tries(&session, key, 4), [false, false, true, true]);
        rig.script("C_SignInit return CKR_FUNCTION_FAILED");
        assert_eq!(code(sign(&session, key)), RvError::FunctionFailed);
        assert_eq!(tries(&session, key, 5), [false; 5]);
        rig.script("");
        assert_eq!(tries(&session, key, 5), [true; 5]);
    });
}

#[test]
fn a_code_that_is_given_after_the_call_leaves_what_the_call_did() {
    alone(|rig| {
        let module = load();
        let (session, _) = open(&module);
        let slot = slot_of(&module);
        rig.script("C_DestroyObject return CKR_DEVICE_ERROR");
        let key = crate::rig::make_key(&session, false).expect("makes");
        assert_eq!(code(session.destroy_object(key)), RvError::DeviceError);
        sign(&session, key).expect("it is still there");
        rig.script("C_DestroyObject after return CKR_DEVICE_ERROR");
        assert_eq!(code(session.destroy_object(key)), RvError::DeviceError);
        assert_eq!(code(sign(&session, key)), RvError::ObjectHandleInvalid);

        // A logout that is said to have failed has logged out.
        rig.script("C_Logout after return CKR_GENERAL_ERROR");
        assert_eq!(code(session.logout()), RvError::GeneralError);
        rig.script("");
        log_in(&session, crate::rig::PIN).expect("nobody was logged in");
        drop((session, slot));
    });
}

#[test]
fn the_star_means_every_function() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        rig.script("* return CKR_HOST_MEMORY");
        assert_eq!(code(sign(&session, key)), RvError::HostMemory);
        assert_eq!(code(module.get_all_slots()), RvError::HostMemory);
        assert_eq!(code(session.generate_random_vec(4)), RvError::HostMemory);
        rig.script("C_Get* return CKR_HOST_MEMORY");
        assert_eq!(code(module.get_library_info()), RvError::HostMemory);
        sign(&session, key).expect("is not meant");
    });
}

#[test]
fn a_share_of_the_calls_is_hit_and_the_seed_says_which() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        rig.script("C_SignInit 20% seed 5 return CKR_DEVICE_ERROR");
        let first = tries(&session, key, 500);
        let failed = first.iter().filter(|signed| !**signed).count();
        assert!((60..140).contains(&failed), "{failed} of 500");
        rig.script("C_SignInit 20% seed 5 return CKR_DEVICE_ERROR # again");
        assert_eq!(tries(&session, key, 500), first);
        rig.script("C_SignInit 20% seed 6 return CKR_DEVICE_ERROR");
        assert_ne!(tries(&session, key, 500), first);
    });
}
