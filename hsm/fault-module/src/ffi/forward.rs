//! Functions that go on to the real module as they come, but for the numbers of sessions, objects and slots.

#![expect(non_snake_case, reason = "the names of PKCS#11")]

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_INFO, CK_MECHANISM, CK_MECHANISM_INFO, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG,
};

use super::output::Output;
use super::real::call;
use crate::function::Function;
use crate::module::run;

/// The C type of a kind of argument.
macro_rules! kind {
    (session) => { CK_SESSION_HANDLE };
    (object) => { CK_OBJECT_HANDLE };
    (slot) => { CK_SLOT_ID };
    (number) => { CK_ULONG };
    (bytes) => { *mut CK_BYTE };
    (length) => { *mut CK_ULONG };
    (mechanism) => { *mut CK_MECHANISM };
    (template) => { *mut CK_ATTRIBUTE };
    (info) => { *mut CK_INFO };
    (mechanism_info) => { *mut CK_MECHANISM_INFO };
}

/// What the real module gets for an argument.
macro_rules! translate {
    ($passage:ident, $value:ident, session) => {
        $passage.session($value)
    };
    ($passage:ident, $value:ident, object) => {
        $passage.object($value)
    };
    ($passage:ident, $value:ident, slot) => {
        $passage.slot($value)
    };
    ($passage:ident, $value:ident, $other:tt) => {
        $value
    };
}

/// The session of the call: its first argument, if it has one.
macro_rules! session {
    (session, $value:ident) => {
        Some($value)
    };
    ($other:tt, $value:ident) => {
        None
    };
}

macro_rules! forward {
    ($(fn $name:ident as $function:ident ($first:ident: $first_kind:tt $(, $argument:ident: $kind:tt)*) $(-> $buffer:ident, $length:ident)?;)*) => {
        $(
            pub(super) unsafe extern "C" fn $name($first: kind!($first_kind) $(, $argument: kind!($kind))*) -> CK_RV {
                // SAFETY: the client's arguments, of which the function asks what `Output` does.
                let output: Option<Output> = forward!(@output $($buffer, $length)?);
                run(Function::$function, session!($first_kind, $first), output.as_ref(), |passage| {
                    // SAFETY: the client's arguments go on as they are, handles apart.
                    unsafe {
                        call!(passage.module.real.table(), $name(translate!(passage, $first, $first_kind) $(, translate!(passage, $argument, $kind))*))
                    }
                })
            }
        )*
    };
    (@output) => { None };
    (@output $buffer:ident, $length:ident) => { Some(unsafe { Output::new($buffer, $length) }) };
}

forward! {
    fn C_GetInfo as GetInfo(info: info);
    fn C_GetMechanismList as GetMechanismList(slot: slot, list: length, count: length);
    fn C_GetMechanismInfo as GetMechanismInfo(slot: slot, kind: number, info: mechanism_info);
    fn C_GetOperationState as GetOperationState(session: session, state: bytes, length: length) -> state, length;
    fn C_SetOperationState as SetOperationState(session: session, state: bytes, length: number, encryption: object, authentication: object);
    fn C_Logout as Logout(session: session);
    fn C_DestroyObject as DestroyObject(session: session, object: object);
    fn C_GetObjectSize as GetObjectSize(session: session, object: object, size: length);
    fn C_GetAttributeValue as GetAttributeValue(session: session, object: object, template: template, count: number);
    fn C_SetAttributeValue as SetAttributeValue(session: session, object: object, template: template, count: number);
    fn C_FindObjectsInit as FindObjectsInit(session: session, template: template, count: number);
    fn C_FindObjectsFinal as FindObjectsFinal(session: session);
    fn C_EncryptInit as EncryptInit(session: session, mechanism: mechanism, key: object);
    fn C_Encrypt as Encrypt(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_EncryptUpdate as EncryptUpdate(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_EncryptFinal as EncryptFinal(session: session, out: bytes, length: length) -> out, length;
    fn C_DecryptInit as DecryptInit(session: session, mechanism: mechanism, key: object);
    fn C_Decrypt as Decrypt(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_DecryptUpdate as DecryptUpdate(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_DecryptFinal as DecryptFinal(session: session, out: bytes, length: length) -> out, length;
    fn C_DigestInit as DigestInit(session: session, mechanism: mechanism);
    fn C_Digest as Digest(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_DigestUpdate as DigestUpdate(session: session, data: bytes, count: number);
    fn C_DigestKey as DigestKey(session: session, key: object);
    fn C_DigestFinal as DigestFinal(session: session, out: bytes, length: length) -> out, length;
    fn C_SignInit as SignInit(session: session, mechanism: mechanism, key: object);
    fn C_Sign as Sign(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_SignUpdate as SignUpdate(session: session, data: bytes, count: number);
    fn C_SignFinal as SignFinal(session: session, out: bytes, length: length) -> out, length;
    fn C_SignRecoverInit as SignRecoverInit(session: session, mechanism: mechanism, key: object);
    fn C_SignRecover as SignRecover(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_VerifyInit as VerifyInit(session: session, mechanism: mechanism, key: object);
    fn C_Verify as Verify(session: session, data: bytes, count: number, signature: bytes, length: number);
    fn C_VerifyUpdate as VerifyUpdate(session: session, data: bytes, count: number);
    fn C_VerifyFinal as VerifyFinal(session: session, signature: bytes, length: number);
    fn C_VerifyRecoverInit as VerifyRecoverInit(session: session, mechanism: mechanism, key: object);
    fn C_VerifyRecover as VerifyRecover(session: session, signature: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_DigestEncryptUpdate as DigestEncryptUpdate(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_DecryptDigestUpdate as DecryptDigestUpdate(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_SignEncryptUpdate as SignEncryptUpdate(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_DecryptVerifyUpdate as DecryptVerifyUpdate(session: session, data: bytes, count: number, out: bytes, length: length) -> out, length;
    fn C_WrapKey as WrapKey(session: session, mechanism: mechanism, wrapping: object, key: object, out: bytes, length: length) -> out, length;
    fn C_SeedRandom as SeedRandom(session: session, seed: bytes, count: number);
    fn C_GenerateRandom as GenerateRandom(session: session, out: bytes, count: number);
    fn C_GetFunctionStatus as GetFunctionStatus(session: session);
    fn C_CancelFunction as CancelFunction(session: session);
}
