//! The table that the client gets.

use std::ptr;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CK_VERSION, CKR_ARGUMENTS_BAD, CKR_OK};

use super::{forward, objects, special};

/// Only read: PKCS#11 gives out a pointer to a table that is not const.
static TABLE: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
    version: CK_VERSION { major: 2, minor: 40 },
    C_Initialize: Some(special::C_Initialize),
    C_Finalize: Some(special::C_Finalize),
    C_GetInfo: Some(forward::C_GetInfo),
    C_GetFunctionList: Some(C_GetFunctionList),
    C_GetSlotList: Some(special::C_GetSlotList),
    C_GetSlotInfo: Some(special::C_GetSlotInfo),
    C_GetTokenInfo: Some(special::C_GetTokenInfo),
    C_GetMechanismList: Some(forward::C_GetMechanismList),
    C_GetMechanismInfo: Some(forward::C_GetMechanismInfo),
    C_InitToken: Some(special::C_InitToken),
    C_InitPIN: Some(special::C_InitPIN),
    C_SetPIN: Some(special::C_SetPIN),
    C_OpenSession: Some(special::C_OpenSession),
    C_CloseSession: Some(special::C_CloseSession),
    C_CloseAllSessions: Some(special::C_CloseAllSessions),
    C_GetSessionInfo: Some(special::C_GetSessionInfo),
    C_GetOperationState: Some(forward::C_GetOperationState),
    C_SetOperationState: Some(forward::C_SetOperationState),
    C_Login: Some(special::C_Login),
    C_Logout: Some(forward::C_Logout),
    C_CreateObject: Some(objects::C_CreateObject),
    C_CopyObject: Some(objects::C_CopyObject),
    C_DestroyObject: Some(forward::C_DestroyObject),
    C_GetObjectSize: Some(forward::C_GetObjectSize),
    C_GetAttributeValue: Some(forward::C_GetAttributeValue),
    C_SetAttributeValue: Some(forward::C_SetAttributeValue),
    C_FindObjectsInit: Some(forward::C_FindObjectsInit),
    C_FindObjects: Some(objects::C_FindObjects),
    C_FindObjectsFinal: Some(forward::C_FindObjectsFinal),
    C_EncryptInit: Some(forward::C_EncryptInit),
    C_Encrypt: Some(forward::C_Encrypt),
    C_EncryptUpdate: Some(forward::C_EncryptUpdate),
    C_EncryptFinal: Some(forward::C_EncryptFinal),
    C_DecryptInit: Some(forward::C_DecryptInit),
    C_Decrypt: Some(forward::C_Decrypt),
    C_DecryptUpdate: Some(forward::C_DecryptUpdate),
    C_DecryptFinal: Some(forward::C_DecryptFinal),
    C_DigestInit: Some(forward::C_DigestInit),
    C_Digest: Some(forward::C_Digest),
    C_DigestUpdate: Some(forward::C_DigestUpdate),
    C_DigestKey: Some(forward::C_DigestKey),
    C_DigestFinal: Some(forward::C_DigestFinal),
    C_SignInit: Some(forward::C_SignInit),
    C_Sign: Some(forward::C_Sign),
    C_SignUpdate: Some(forward::C_SignUpdate),
    C_SignFinal: Some(forward::C_SignFinal),
    C_SignRecoverInit: Some(forward::C_SignRecoverInit),
    C_SignRecover: Some(forward::C_SignRecover),
    C_VerifyInit: Some(forward::C_VerifyInit),
    C_Verify: Some(forward::C_Verify),
    C_VerifyUpdate: Some(forward::C_VerifyUpdate),
    C_VerifyFinal: Some(forward::C_VerifyFinal),
    C_VerifyRecoverInit: Some(forward::C_VerifyRecoverInit),
    C_VerifyRecover: Some(forward::C_VerifyRecover),
    C_DigestEncryptUpdate: Some(forward::C_DigestEncryptUpdate),
    C_DecryptDigestUpdate: Some(forward::C_DecryptDigestUpdate),
    C_SignEncryptUpdate: Some(forward::C_SignEncryptUpdate),
    C_DecryptVerifyUpdate: Some(forward::C_DecryptVerifyUpdate),
    C_GenerateKey: Some(objects::C_GenerateKey),
    C_GenerateKeyPair: Some(objects::C_GenerateKeyPair),
    C_WrapKey: Some(forward::C_WrapKey),
    C_UnwrapKey: Some(objects::C_UnwrapKey),
    C_DeriveKey: Some(objects::C_DeriveKey),
    C_SeedRandom: Some(forward::C_SeedRandom),
    C_GenerateRandom: Some(forward::C_GenerateRandom),
    C_GetFunctionStatus: Some(forward::C_GetFunctionStatus),
    C_CancelFunction: Some(forward::C_CancelFunction),
    C_WaitForSlotEvent: Some(special::C_WaitForSlotEvent),
};

/// PKCS#11 3.0 §5.4.4: the one function that a client finds by name.
///
/// # Safety
/// `list` is null or valid for the call.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: not null, so valid for the call.
    unsafe { list.write(ptr::from_ref(&TABLE).cast_mut()) };
    CKR_OK
}
