//! The 68 functions of PKCS#11 2.40, in the order of their table (base specification §3.6).

macro_rules! functions {
    ($($name:ident),* $(,)?) => {
        /// A function of the module.
        #[expect(clippy::enum_variant_names, reason = "the names of PKCS#11")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function {
            $($name),*
        }

        impl Function {
            /// Every function, in the order of the table.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// `C_...`
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("C_", stringify!($name))),*
                }
            }
        }
    };
}

functions!(
    Initialize,
    Finalize,
    GetInfo,
    GetFunctionList,
    GetSlotList,
    GetSlotInfo,
    GetTokenInfo,
    GetMechanismList,
    GetMechanismInfo,
    InitToken,
    InitPIN,
    SetPIN,
    OpenSession,
    CloseSession,
    CloseAllSessions,
    GetSessionInfo,
    GetOperationState,
    SetOperationState,
    Login,
    Logout,
    CreateObject,
    CopyObject,
    DestroyObject,
    GetObjectSize,
    GetAttributeValue,
    SetAttributeValue,
    FindObjectsInit,
    FindObjects,
    FindObjectsFinal,
    EncryptInit,
    Encrypt,
    EncryptUpdate,
    EncryptFinal,
    DecryptInit,
    Decrypt,
    DecryptUpdate,
    DecryptFinal,
    DigestInit,
    Digest,
    DigestUpdate,
    DigestKey,
    DigestFinal,
    SignInit,
    Sign,
    SignUpdate,
    SignFinal,
    SignRecoverInit,
    SignRecover,
    VerifyInit,
    Verify,
    VerifyUpdate,
    VerifyFinal,
    VerifyRecoverInit,
    VerifyRecover,
    DigestEncryptUpdate,
    DecryptDigestUpdate,
    SignEncryptUpdate,
    DecryptVerifyUpdate,
    GenerateKey,
    GenerateKeyPair,
    WrapKey,
    UnwrapKey,
    DeriveKey,
    SeedRandom,
    GenerateRandom,
    GetFunctionStatus,
    CancelFunction,
    WaitForSlotEvent,
);

impl Function {
    /// Place in the table.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The function of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|function| function.name() == name)
    }
}

/// A set of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FunctionSet(u128);

impl FunctionSet {
    /// No function.
    pub(crate) const EMPTY: Self = Self(0);
    /// Every function.
    pub(crate) const ALL: Self = Self((1 << Function::ALL.len()) - 1);

    /// Those that write bytes to a buffer and their number to a length.
    pub(crate) const WITH_OUTPUT: Self = {
        use Function as F;
        Self::EMPTY
            .with(F::GetOperationState)
            .with(F::Encrypt)
            .with(F::EncryptUpdate)
            .with(F::EncryptFinal)
            .with(F::Decrypt)
            .with(F::DecryptUpdate)
            .with(F::DecryptFinal)
            .with(F::Digest)
            .with(F::DigestFinal)
            .with(F::Sign)
            .with(F::SignFinal)
            .with(F::SignRecover)
            .with(F::VerifyRecover)
            .with(F::DigestEncryptUpdate)
            .with(F::DecryptDigestUpdate)
            .with(F::SignEncryptUpdate)
            .with(F::DecryptVerifyUpdate)
            .with(F::WrapKey)
    };

    /// The set with one more.
    pub(crate) const fn with(self, function: Function) -> Self {
        Self(self.0 | 1 << function.index())
    }

    /// Whether the function is in the set.
    pub(crate) const fn contains(self, function: Function) -> bool {
        self.0 & 1 << function.index() != 0
    }

    /// Whether a function is in both sets.
    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The functions of the set.
    pub(crate) fn iter(self) -> impl Iterator<Item = Function> {
        Function::ALL.iter().copied().filter(move |function| self.contains(*function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_68_functions_and_each_is_found_by_its_name() {
        assert_eq!(Function::ALL.len(), 68);
        for (index, function) in Function::ALL.iter().enumerate() {
            assert_eq!(function.index(), index);
            assert_eq!(Function::named(function.name()), Some(*function));
        }
        assert_eq!(Function::named("C_Nothing"), None);
        assert_eq!(FunctionSet::ALL.iter().count(), 68);
    }
}
