//! Every function of the table, called as no client should: the module answers what the real one answers.

#![expect(unsafe_code, reason = "PKCS#11 is a C interface")]

use std::path::Path;
use std::ptr::null_mut;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_CRYPTOKI_NOT_INITIALIZED, Pkcs11};

use crate::rig::{alone, load, softhsm};

fn table(library: &Path) -> CK_FUNCTION_LIST {
    let mut list = null_mut();
    // SAFETY: a PKCS#11 module; the library stays loaded.
    unsafe {
        let library = Box::leak(Box::new(Pkcs11::new(library).expect("loads")));
        assert_eq!(library.C_GetFunctionList(&raw mut list), 0);
        list.read()
    }
}

/// Each function with a session or slot that does not exist, and no other argument. Null pointers are what `CKR_ARGUMENTS_BAD` is for.
fn answers(table: &CK_FUNCTION_LIST) -> Vec<(&'static str, CK_RV)> {
    let mut answers = Vec::new();
    macro_rules! ask {
        ($($name:ident($($argument:expr),*);)*) => {
            $(
                // SAFETY: numbers and null pointers, which the module checks.
                let answer = unsafe { table.$name.expect("is there")($($argument),*) };
                answers.push((stringify!($name), answer));
            )*
        };
    }
    let (s, n) = (0xDEAD, null_mut());
    ask! {
        C_GetInfo(null_mut());
        C_GetSlotList(0, n, null_mut());
        C_GetSlotInfo(s, null_mut());
        C_GetTokenInfo(s, null_mut());
        C_GetMechanismList(s, n, null_mut());
        C_GetMechanismInfo(s, 0, null_mut());
        C_InitToken(s, null_mut(), 0, null_mut());
        C_InitPIN(s, null_mut(), 0);
        C_SetPIN(s, null_mut(), 0, null_mut(), 0);
        C_OpenSession(s, 0, null_mut(), None, n);
        C_CloseSession(s);
        C_CloseAllSessions(s);
        C_GetSessionInfo(s, null_mut());
        C_GetOperationState(s, null_mut(), n);
        C_SetOperationState(s, null_mut(), 0, 0, 0);
        C_Login(s, 1, null_mut(), 0);
        C_Logout(s);
        C_CreateObject(s, null_mut(), 0, n);
        C_CopyObject(s, 1, null_mut(), 0, n);
        C_DestroyObject(s, 1);
        C_GetObjectSize(s, 1, n);
        C_GetAttributeValue(s, 1, null_mut(), 0);
        C_SetAttributeValue(s, 1, null_mut(), 0);
        C_FindObjectsInit(s, null_mut(), 0);
        C_FindObjects(s, n, 0, n);
        C_FindObjectsFinal(s);
        C_EncryptInit(s, null_mut(), 1);
        C_Encrypt(s, null_mut(), 0, null_mut(), n);
        C_EncryptUpdate(s, null_mut(), 0, null_mut(), n);
        C_EncryptFinal(s, null_mut(), n);
        C_DecryptInit(s, null_mut(), 1);
        C_Decrypt(s, null_mut(), 0, null_mut(), n);
        C_DecryptUpdate(s, null_mut(), 0, null_mut(), n);
        C_DecryptFinal(s, null_mut(), n);
        C_DigestInit(s, null_mut());
        C_Digest(s, null_mut(), 0, null_mut(), n);
        C_DigestUpdate(s, null_mut(), 0);
        C_DigestKey(s, 1);
        C_DigestFinal(s, null_mut(), n);
        C_SignInit(s, null_mut(), 1);
        C_Sign(s, null_mut(), 0, null_mut(), n);
        C_SignUpdate(s, null_mut(), 0);
        C_SignFinal(s, null_mut(), n);
        C_SignRecoverInit(s, null_mut(), 1);
        C_SignRecover(s, null_mut(), 0, null_mut(), n);
        C_VerifyInit(s, null_mut(), 1);
        C_Verify(s, null_mut(), 0, null_mut(), 0);
        C_VerifyUpdate(s, null_mut(), 0);
        C_VerifyFinal(s, null_mut(), 0);
        C_VerifyRecoverInit(s, null_mut(), 1);
        C_VerifyRecover(s, null_mut(), 0, null_mut(), n);
        C_DigestEncryptUpdate(s, null_mut(), 0, null_mut(), n);
        C_DecryptDigestUpdate(s, null_mut(), 0, null_mut(), n);
        C_SignEncryptUpdate(s, null_mut(), 0, null_mut(), n);
        C_DecryptVerifyUpdate(s, null_mut(), 0, null_mut(), n);
        C_GenerateKey(s, null_mut(), null_mut(), 0, n);
        C_GenerateKeyPair(s, null_mut(), null_mut(), 0, null_mut(), 0, n, n);
        C_WrapKey(s, null_mut(), 1, 1, null_mut(), n);
        C_UnwrapKey(s, null_mut(), 1, null_mut(), 0, null_mut(), 0, n);
        C_DeriveKey(s, null_mut(), 1, null_mut(), 0, n);
        C_SeedRandom(s, null_mut(), 0);
        C_GenerateRandom(s, null_mut(), 0);
        C_GetFunctionStatus(s);
        C_CancelFunction(s);
        C_WaitForSlotEvent(1, n, null_mut());
        C_Initialize(null_mut());
        C_Finalize(null_mut());
    }
    answers
}

#[test]
fn every_function_answers_what_the_real_module_answers() {
    alone(|rig| {
        let (shim, real) = (table(&tillward_fault_module::library_path()), table(softhsm().expect("was found before")));
        assert_eq!(shim.version.major, 2);
        let before = answers(&shim);
        assert!(before[..65].iter().all(|(_, answer)| *answer == CKR_CRYPTOKI_NOT_INITIALIZED), "{before:?}");
        // Both tables lead to one library, which the last of the calls finalises each time.
        let [through, direct] = [&shim, &real].map(|table| {
            let _initialised = load();
            answers(table)
        });
        assert_eq!(through, direct);
        assert_eq!(through.len(), 67, "and C_GetFunctionList");
        let counts = rig.counts();
        for (name, _) in through {
            assert!(counts.called(name).is_some_and(|called| called > 0), "{name}");
        }
    });
}
