//! PKCS#11 errors: their names, and what they say about session, context and token.

use cryptoki::error::{Error, RvError};

use crate::error::Refusal;

/// What follows from an error. The session is thrown away after every one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The input was bad; the token is fine.
    Data,
    /// `CKR_GENERAL_ERROR` and its like: SoftHSM gives them for a tampered blob and for a dead token alike. The canary decides.
    Suspect,
    /// Login, module or token is lost: every handle is dead. The process has to be replaced.
    Lost,
}

/// The class of an error.
pub(super) fn class(error: &Error) -> Class {
    use RvError as R;
    match error {
        Error::Pkcs11(
            R::DataInvalid
            | R::DataLenRange
            | R::EncryptedDataInvalid
            | R::EncryptedDataLenRange
            | R::SignatureInvalid
            | R::SignatureLenRange
            | R::WrappedKeyInvalid
            | R::WrappedKeyLenRange
            | R::KeySizeRange
            | R::KeyFunctionNotPermitted
            | R::KeyTypeInconsistent
            | R::MechanismInvalid
            | R::MechanismParamInvalid
            | R::TemplateIncomplete
            | R::TemplateInconsistent
            | R::AttributeReadOnly
            | R::AttributeTypeInvalid
            | R::AttributeValueInvalid
            | R::ActionProhibited
            | R::ArgumentsBad
            | R::KeyUnextractable
            | R::KeyNotWrappable
            | R::DomainParamsInvalid
            | R::CurveNotSupported,
            _,
        ) => Class::Data,
        Error::Pkcs11(
            R::UserNotLoggedIn
            | R::ObjectHandleInvalid
            | R::KeyHandleInvalid
            | R::UnwrappingKeyHandleInvalid
            | R::WrappingKeyHandleInvalid
            | R::DeviceRemoved
            | R::TokenNotPresent
            | R::TokenNotRecognized
            | R::CryptokiNotInitialized
            | R::SessionClosed
            | R::SessionHandleInvalid,
            _,
        ) => Class::Lost,
        // The codes that say nothing, and every code that is not known.
        _ => Class::Suspect,
    }
}

/// `CKR_...` of an error; what cryptoki itself says where the module was not the one to fail.
pub(super) fn code(error: &Error) -> String {
    match error {
        Error::Pkcs11(RvError::VendorDefined(code) | RvError::UnknownErrorCode(code), _) => format!("CKR {code:#010x}"),
        Error::Pkcs11(rv, _) => {
            let mut name = String::from("CKR");
            for letter in format!("{rv:?}").chars() {
                if letter.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name
        }
        Error::LibraryLoading(_) => "library could not be loaded".to_owned(),
        other => other.to_string(),
    }
}

/// The function that failed.
fn function(error: &Error) -> String {
    match error {
        Error::Pkcs11(_, function) => format!("C_{function:?}"),
        _ => "cryptoki".to_owned(),
    }
}

/// Whether a login must not be tried again: one wrong PIN times N tries locks a real HSM.
pub(super) fn is_about_the_pin(error: &Error) -> bool {
    use RvError as R;
    matches!(
        error,
        Error::Pkcs11(R::PinIncorrect | R::PinLocked | R::PinExpired | R::PinInvalid | R::PinLenRange | R::UserPinNotInitialized, _)
    )
}

/// Why an operation stopped: the host's own decision, or the module's.
#[derive(Debug)]
pub(super) enum Fault {
    Refused(Refusal),
    Token(Error),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl Fault {
    /// An argument of the wrong form.
    pub(super) fn input(what: &str) -> Self {
        Self::Refused(Refusal::InvalidInput { what: what.to_owned() })
    }

    /// What the caller is told.
    pub(super) fn into_refusal(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Token(error) => Refusal::Token { function: function(&error), code: code(&error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn codes_are_named_as_in_the_standard() {
        for (rv, name) in [
            (RvError::PinIncorrect, "CKR_PIN_INCORRECT"),
            (RvError::GeneralError, "CKR_GENERAL_ERROR"),
            (RvError::UserNotLoggedIn, "CKR_USER_NOT_LOGGED_IN"),
            (RvError::VendorDefined(0x8000_0001), "CKR 0x80000001"),
        ] {
            assert_eq!(code(&Error::Pkcs11(rv, Function::Login)), name);
        }
        let refusal = Fault::from(Error::Pkcs11(RvError::DeviceError, Function::Sign)).into_refusal();
        assert_eq!(refusal, Refusal::Token { function: "C_Sign".to_owned(), code: "CKR_DEVICE_ERROR".to_owned() });
    }

    #[test]
    fn a_code_that_is_not_known_is_suspect() {
        assert_eq!(class(&Error::Pkcs11(RvError::VendorDefined(1), Function::Sign)), Class::Suspect);
        assert_eq!(class(&Error::Pkcs11(RvError::GeneralError, Function::UnwrapKey)), Class::Suspect);
        assert_eq!(class(&Error::Pkcs11(RvError::UserNotLoggedIn, Function::Sign)), Class::Lost);
        assert_eq!(class(&Error::Pkcs11(RvError::WrappedKeyInvalid, Function::UnwrapKey)), Class::Data);
    }
}
