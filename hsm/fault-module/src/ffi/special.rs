//! Functions of which more than the numbers changes on the way: slots, sessions, PINs.

#![expect(non_snake_case, reason = "the names of PKCS#11")]

use std::ffi::c_void;

use cryptoki_sys::{
    CK_BBOOL, CK_BYTE, CK_FALSE, CK_FLAGS, CK_NOTIFY, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_SLOT_INFO, CK_TOKEN_INFO,
    CK_ULONG, CK_USER_TYPE, CKF_TOKEN_PRESENT, CKR_OK, CKU_SO,
};

use super::real::call;
use crate::function::Function;
use crate::module::run;

/// Changes what the real module has written to a place of the client's.
///
/// # Safety
/// `place` is null or valid for the call.
pub(super) unsafe fn change<T>(place: *mut T, with: impl FnOnce(&mut T)) {
    // SAFETY: valid if it is not null, and the client does not touch it during the call.
    if let Some(value) = unsafe { place.as_mut() } {
        with(value);
    }
}

pub(super) unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    run(Function::Initialize, None, None, |passage| {
        // SAFETY: the client's argument as it is, mutex functions and locking flags included.
        unsafe { call!(passage.module.real.table(), C_Initialize(arguments)) }
    })
}

pub(super) unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    run(Function::Finalize, None, None, |passage| {
        // SAFETY: the client's argument as it is.
        let code = unsafe { call!(passage.module.real.table(), C_Finalize(reserved)) };
        if code == CKR_OK {
            passage.module.finalized();
        }
        code
    })
}

pub(super) unsafe extern "C" fn C_GetSlotList(present: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    run(Function::GetSlotList, None, None, |passage| {
        if passage.token_away && present != CK_FALSE && !count.is_null() {
            // SAFETY: not null, so valid for the call.
            unsafe { count.write(0) };
            return CKR_OK;
        }
        // SAFETY: the client's arguments as they are.
        let code = unsafe { call!(passage.module.real.table(), C_GetSlotList(present, list, count)) };
        if code == CKR_OK && !list.is_null() {
            // SAFETY: the real module has written `*count` slots to the list.
            let slots = unsafe { std::slice::from_raw_parts_mut(list, usize::try_from(count.read()).unwrap_or_default()) };
            for slot in slots {
                *slot = passage.slot(*slot);
            }
        }
        code
    })
}

pub(super) unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    run(Function::GetSlotInfo, None, None, |passage| {
        // SAFETY: the client's arguments, and what the real module has written to them.
        unsafe {
            let code = call!(passage.module.real.table(), C_GetSlotInfo(passage.slot(slot), info));
            if code == CKR_OK && passage.token_away {
                change(info, |info| info.flags &= !CKF_TOKEN_PRESENT);
            }
            code
        }
    })
}

pub(super) unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    run(Function::GetTokenInfo, None, None, |passage| {
        let slot = passage.slot(slot);
        // SAFETY: the client's arguments, and what the real module has written to them.
        unsafe {
            let code = call!(passage.module.real.table(), C_GetTokenInfo(slot, info));
            if code == CKR_OK {
                change(info, |info| passage.adjust(slot, info));
            }
            code
        }
    })
}

pub(super) unsafe extern "C" fn C_WaitForSlotEvent(flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: *mut c_void) -> CK_RV {
    run(Function::WaitForSlotEvent, None, None, |passage| {
        // SAFETY: the client's arguments, and what the real module has written to them.
        unsafe {
            let code = call!(passage.module.real.table(), C_WaitForSlotEvent(flags, slot, reserved));
            if code == CKR_OK {
                change(slot, |slot| *slot = passage.slot(*slot));
            }
            code
        }
    })
}

pub(super) unsafe extern "C" fn C_InitToken(slot: CK_SLOT_ID, pin: *mut CK_BYTE, length: CK_ULONG, label: *mut CK_BYTE) -> CK_RV {
    run(Function::InitToken, None, None, |passage| {
        let slot = passage.slot(slot);
        // SAFETY: the client's arguments.
        let code = unsafe { call!(passage.module.real.table(), C_InitToken(slot, pin, length, label)) };
        if code == CKR_OK {
            passage.unlock_slot(slot);
        }
        code
    })
}

pub(super) unsafe extern "C" fn C_InitPIN(session: CK_SESSION_HANDLE, pin: *mut CK_BYTE, length: CK_ULONG) -> CK_RV {
    run(Function::InitPIN, Some(session), None, |passage| {
        let session = passage.session(session);
        // SAFETY: the client's arguments.
        let code = unsafe { call!(passage.module.real.table(), C_InitPIN(session, pin, length)) };
        if code == CKR_OK {
            passage.unlock_pin(session);
        }
        code
    })
}

pub(super) unsafe extern "C" fn C_SetPIN(
    session: CK_SESSION_HANDLE,
    old: *mut CK_BYTE,
    old_length: CK_ULONG,
    new: *mut CK_BYTE,
    new_length: CK_ULONG,
) -> CK_RV {
    run(Function::SetPIN, Some(session), None, |passage| {
        let session = passage.session(session);
        // SAFETY: the client's arguments.
        let set = || unsafe { call!(passage.module.real.table(), C_SetPIN(session, old, old_length, new, new_length)) };
        // The security officer changes a PIN of their own with it (PKCS#11 3.0 §5.5.9).
        if passage.module.real.is_officer(session) { set() } else { passage.try_pin(Function::SetPIN, session, set) }
    })
}

pub(super) unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    run(Function::OpenSession, None, None, |passage| {
        let slot = passage.slot(slot);
        passage.open_session(slot, || {
            let mut opened = 0;
            // SAFETY: the client's arguments, and what the real module has written to them.
            let code = unsafe {
                let code = call!(passage.module.real.table(), C_OpenSession(slot, flags, application, notify, session));
                if code == CKR_OK {
                    change(session, |session| {
                        opened = *session;
                        *session = passage.session(opened);
                    });
                }
                code
            };
            (code, opened)
        })
    })
}

pub(super) unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    run(Function::CloseSession, Some(session), None, |passage| {
        let session = passage.session(session);
        let code = passage.module.real.close_session(session);
        if code == CKR_OK {
            passage.module.forget_session(session);
        }
        code
    })
}

pub(super) unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    run(Function::CloseAllSessions, None, None, |passage| {
        let slot = passage.slot(slot);
        let code = passage.module.real.close_all_sessions(slot);
        if code == CKR_OK {
            passage.module.forget_sessions(Some(slot));
        }
        code
    })
}

pub(super) unsafe extern "C" fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) -> CK_RV {
    run(Function::GetSessionInfo, Some(session), None, |passage| {
        // SAFETY: the client's arguments, and what the real module has written to them.
        unsafe {
            let code = call!(passage.module.real.table(), C_GetSessionInfo(passage.session(session), info));
            if code == CKR_OK {
                change(info, |info| info.slotID = passage.slot(info.slotID));
            }
            code
        }
    })
}

pub(super) unsafe extern "C" fn C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_BYTE, length: CK_ULONG) -> CK_RV {
    run(Function::Login, Some(session), None, |passage| {
        let session = passage.session(session);
        // SAFETY: the client's arguments.
        let log_in = || unsafe { call!(passage.module.real.table(), C_Login(session, user, pin, length)) };
        if user == CKU_SO { log_in() } else { passage.try_pin(Function::Login, session, log_in) }
    })
}
