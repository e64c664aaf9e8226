//! The real module.

use std::path::Path;
use std::ptr;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_FALSE, CK_FUNCTION_LIST, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_TRUE,
    CK_ULONG, CKA_TOKEN, CKF_SERIAL_SESSION, CKR_OK, CKS_RW_SO_FUNCTIONS, Pkcs11,
};

/// The real module's table of functions. The library stays loaded for ever: other threads may be inside.
pub(crate) struct Real(CK_FUNCTION_LIST);

/// Calls a function of the table, if the module has it.
macro_rules! call {
    ($list:expr, $name:ident($($argument:expr),* $(,)?)) => {
        match $list.$name {
            Some(function) => function($($argument),*),
            None => cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}
pub(super) use call;

impl Real {
    /// Loads the library.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: the person who runs the test names a PKCS#11 module; what its initialisers do is the module's.
        let library = unsafe { Pkcs11::new(path) }.map_err(|error| error.to_string())?;
        let library = Box::leak(Box::new(library));
        let function = library.C_GetFunctionList.as_ref().map_err(|_| "it has no C_GetFunctionList: is it a PKCS#11 module?")?;
        let mut list = ptr::null_mut();
        // SAFETY: `list` is valid for the call.
        let code = unsafe { function(&raw mut list) };
        if code != CKR_OK || list.is_null() {
            return Err(format!("C_GetFunctionList answers {}", crate::code::name(code)));
        }
        // SAFETY: the module says that its table is there (PKCS#11 3.0 §5.4.4); every version begins with the functions of 2.40.
        Ok(Self(unsafe { list.read() }))
    }

    /// The table.
    pub(super) fn table(&self) -> &CK_FUNCTION_LIST {
        &self.0
    }

    pub(crate) fn logout(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        // SAFETY: numbers only; the module checks its handles.
        unsafe { call!(self.0, C_Logout(session)) }
    }

    pub(crate) fn close_session(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        // SAFETY: numbers only.
        unsafe { call!(self.0, C_CloseSession(session)) }
    }

    pub(crate) fn close_all_sessions(&self, slot: CK_SLOT_ID) -> CK_RV {
        // SAFETY: numbers only.
        unsafe { call!(self.0, C_CloseAllSessions(slot)) }
    }

    pub(crate) fn finalize(&self) -> CK_RV {
        // SAFETY: the argument has to be null.
        unsafe { call!(self.0, C_Finalize(ptr::null_mut())) }
    }

    /// Objects that can be seen now, on the token or of sessions; nothing if the module does not tell.
    pub(crate) fn count_objects(&self, slot: CK_SLOT_ID, on_token: bool) -> Option<usize> {
        let mut session = 0;
        // SAFETY: `session` is valid for the call; a session without callback.
        let code = unsafe { call!(self.0, C_OpenSession(slot, CKF_SERIAL_SESSION, ptr::null_mut(), None, &raw mut session)) };
        let counted = (code == CKR_OK).then(|| self.count_found(session, on_token)).flatten();
        if code == CKR_OK {
            self.close_session(session);
        }
        counted
    }

    fn count_found(&self, session: CK_SESSION_HANDLE, on_token: bool) -> Option<usize> {
        let mut value: CK_BBOOL = if on_token { CK_TRUE } else { CK_FALSE };
        let mut template = CK_ATTRIBUTE { type_: CKA_TOKEN, pValue: (&raw mut value).cast(), ulValueLen: 1 };
        // SAFETY: one attribute, valid for the call with the value that it points at.
        if unsafe { call!(self.0, C_FindObjectsInit(session, &raw mut template, 1)) } != CKR_OK {
            return None;
        }
        let mut all = 0_usize;
        let mut handles: [CK_OBJECT_HANDLE; 64] = [0; 64];
        loop {
            let mut found: CK_ULONG = 0;
            // SAFETY: room for 64 handles.
            let code = unsafe { call!(self.0, C_FindObjects(session, handles.as_mut_ptr(), 64, &raw mut found)) };
            if code != CKR_OK || found == 0 {
                return (code == CKR_OK).then_some(all);
            }
            all = all.saturating_add(usize::try_from(found).unwrap_or(usize::MAX));
        }
    }

    /// Whether the security officer is logged in.
    pub(crate) fn is_officer(&self, session: CK_SESSION_HANDLE) -> bool {
        let mut info = CK_SESSION_INFO::default();
        // SAFETY: `info` is valid for the call.
        let code = unsafe { call!(self.0, C_GetSessionInfo(session, &raw mut info)) };
        code == CKR_OK && info.state == CKS_RW_SO_FUNCTIONS
    }

    /// Whether the token keeps the object.
    pub(crate) fn is_on_token(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> bool {
        let mut value: CK_BBOOL = CK_FALSE;
        let mut template = CK_ATTRIBUTE { type_: CKA_TOKEN, pValue: (&raw mut value).cast(), ulValueLen: 1 };
        // SAFETY: one attribute with room for the one byte of its value.
        let code = unsafe { call!(self.0, C_GetAttributeValue(session, object, &raw mut template, 1)) };
        code == CKR_OK && value == CK_TRUE
    }
}
