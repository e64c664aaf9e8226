//! Functions that give out handles of objects: they find or make them, the latter only where there is room.

#![expect(non_snake_case, reason = "the names of PKCS#11")]

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_TRUE, CK_ULONG, CKA_TOKEN, CKR_OK,
};

use super::real::call;
use super::special::change;
use crate::function::Function;
use crate::module::{Passage, run};

pub(super) unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    most: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    run(Function::FindObjects, Some(session), None, |passage| {
        // SAFETY: the client's arguments.
        let code = unsafe { call!(passage.module.real.table(), C_FindObjects(passage.session(session), objects, most, count)) };
        if code == CKR_OK && !objects.is_null() && !count.is_null() {
            // SAFETY: the real module has written `*count` handles.
            let found = unsafe { std::slice::from_raw_parts_mut(objects, usize::try_from(count.read()).unwrap_or_default()) };
            for object in found {
                *object = passage.object(*object);
            }
        }
        code
    })
}

/// `CKA_TOKEN` of a template; nothing if it does not say.
///
/// # Safety
/// `template` is null or has `count` attributes, valid for the call.
unsafe fn token_flag(template: *mut CK_ATTRIBUTE, count: CK_ULONG) -> Option<bool> {
    if template.is_null() {
        return None;
    }
    // SAFETY: as promised.
    let attributes = unsafe { std::slice::from_raw_parts(template, usize::try_from(count).unwrap_or_default()) };
    let flag =
        attributes.iter().find(|attribute| attribute.type_ == CKA_TOKEN && attribute.ulValueLen == 1 && !attribute.pValue.is_null())?;
    // SAFETY: the attribute's value has one byte.
    Some(unsafe { flag.pValue.cast::<CK_BBOOL>().read() } == CK_TRUE)
}

/// Makes an object if there is room for it, and gives its handle to the client in the client's numbers.
///
/// # Safety
/// `template` and `handle` are the client's for the call.
unsafe fn make(
    passage: &Passage,
    function: Function,
    session: CK_SESSION_HANDLE,
    on_token: bool,
    handle: *mut CK_OBJECT_HANDLE,
    made: impl FnOnce() -> CK_RV,
) -> CK_RV {
    let mut code = passage.room_for(function, session, &[on_token]);
    if code == CKR_OK {
        code = made();
    }
    if code == CKR_OK {
        // SAFETY: as promised.
        unsafe { change(handle, |handle| *handle = passage.object(*handle)) };
    }
    code
}

pub(super) unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    handle: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Function::CreateObject, Some(session), None, |passage| {
        let session = passage.session(session);
        // SAFETY: the client's arguments.
        unsafe {
            let on_token = token_flag(template, count).unwrap_or(false);
            make(passage, Function::CreateObject, session, on_token, handle, || {
                call!(passage.module.real.table(), C_CreateObject(session, template, count, handle))
            })
        }
    })
}

pub(super) unsafe extern "C" fn C_CopyObject(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    handle: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Function::CopyObject, Some(session), None, |passage| {
        let (session, object) = (passage.session(session), passage.object(object));
        // SAFETY: the client's arguments.
        unsafe {
            let on_token = token_flag(template, count).unwrap_or_else(|| passage.module.real.is_on_token(session, object));
            make(passage, Function::CopyObject, session, on_token, handle, || {
                call!(passage.module.real.table(), C_CopyObject(session, object, template, count, handle))
            })
        }
    })
}

pub(super) unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    handle: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Function::GenerateKey, Some(session), None, |passage| {
        let session = passage.session(session);
        // SAFETY: the client's arguments.
        unsafe {
            let on_token = token_flag(template, count).unwrap_or(false);
            make(passage, Function::GenerateKey, session, on_token, handle, || {
                call!(passage.module.real.table(), C_GenerateKey(session, mechanism, template, count, handle))
            })
        }
    })
}

pub(super) unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_handle: *mut CK_OBJECT_HANDLE,
    private_handle: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Function::GenerateKeyPair, Some(session), None, |passage| {
        let session = passage.session(session);
        // SAFETY: the client's arguments, and what the real module has written to them.
        unsafe {
            let kept = [token_flag(public, public_count), token_flag(private, private_count)].map(|flag| flag.unwrap_or(false));
            let mut code = passage.room_for(Function::GenerateKeyPair, session, &kept);
            if code == CKR_OK {
                let table = passage.module.real.table();
                code = call!(
                    table,
                    C_GenerateKeyPair(session, mechanism, public, public_count, private, private_count, public_handle, private_handle)
                );
            }
            if code == CKR_OK {
                change(public_handle, |handle| *handle = passage.object(*handle));
                change(private_handle, |handle| *handle = passage.object(*handle));
            }
            code
        }
    })
}

pub(super) unsafe extern "C" fn C_UnwrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    wrapped_length: CK_ULONG,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    handle: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Function::UnwrapKey, Some(session), None, |passage| {
        let (session, key) = (passage.session(session), passage.object(key));
        // SAFETY: the client's arguments.
        unsafe {
            let on_token = token_flag(template, count).unwrap_or(false);
            make(passage, Function::UnwrapKey, session, on_token, handle, || {
                let table = passage.module.real.table();
                call!(table, C_UnwrapKey(session, mechanism, key, wrapped, wrapped_length, template, count, handle))
            })
        }
    })
}

pub(super) unsafe extern "C" fn C_DeriveKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    handle: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Function::DeriveKey, Some(session), None, |passage| {
        let (session, key) = (passage.session(session), passage.object(key));
        // SAFETY: the client's arguments.
        unsafe {
            let on_token = token_flag(template, count).unwrap_or(false);
            make(passage, Function::DeriveKey, session, on_token, handle, || {
                call!(passage.module.real.table(), C_DeriveKey(session, mechanism, key, template, count, handle))
            })
        }
    })
}
