//! PKCS#11 errors: their names, and the rule that holds for them.

use cryptoki::error::{Error, RvError};

use crate::error::Refusal;
use crate::rules::{self, Action, Rule};

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

/// The failure rule of an error.
pub(super) fn rule(error: &Error) -> &'static Rule {
    rules::rule(&code(error), &function(error))
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
    rule(error).action == Action::AskOperator
}

/// Whether a handle is not one any more: the object was destroyed, or the login is lost.
pub(super) fn is_stale(error: &Error) -> bool {
    use RvError as R;
    matches!(
        error,
        Error::Pkcs11(R::ObjectHandleInvalid | R::KeyHandleInvalid | R::WrappingKeyHandleInvalid | R::UnwrappingKeyHandleInvalid, _)
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

    /// Every code that cryptoki knows by name is in the table, so that none is decided by accident.
    #[test]
    fn every_code_of_the_standard_has_its_rule() {
        let mut known = 0;
        for number in 1..0x400 {
            let cryptoki::error::Rv::Error(rv) = cryptoki::error::Rv::from(number) else { continue };
            if matches!(rv, RvError::UnknownErrorCode(_) | RvError::VendorDefined(_)) {
                continue;
            }
            let error = Error::Pkcs11(rv, Function::Sign);
            assert_ne!(rule(&error).code, rules::UNKNOWN.code, "{} is not in the table", code(&error));
            known += 1;
        }
        assert!(known > 80, "{known}");
        assert_eq!(rule(&Error::Pkcs11(RvError::VendorDefined(1), Function::Sign)).code, rules::UNKNOWN.code);
        assert_eq!(rule(&Error::Pkcs11(RvError::GeneralError, Function::Login)).action, Action::Reinitialise);
    }
}
