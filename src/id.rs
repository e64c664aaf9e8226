//! Identifiers: a newtype each, parsed once at the border.
//!
//! Merchant and terminal ids belong to the back end; device ids are made here from 128 random bits;
//! activation ids are the public first seven symbols of an activation code.

use std::fmt;

/// Why a text is not an identifier. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} id: {rule}")]
pub struct IdError {
    kind: &'static str,
    rule: &'static str,
}

/// Declares an id newtype over `String` with one parser: `FromStr`, `TryFrom<String>`, serde through the same door. The pattern says the same to
/// the readers of the API.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $pattern:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(IdError { kind: $kind, rule: $rule }) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                crate::schema::text($pattern)
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

id!(
    /// A merchant, as the back end names it.
    MerchantId, "merchant", "1 to 36 of A-Z a-z 0-9 . _ -, first a letter or digit", "^[A-Za-z0-9][A-Za-z0-9._-]{0,35}$", is_reference
);
id!(
    /// A terminal of a merchant, as the back end names it.
    TerminalId, "terminal", "1 to 36 of A-Z a-z 0-9 . _ -, first a letter or digit", "^[A-Za-z0-9][A-Za-z0-9._-]{0,35}$", is_reference
);
id!(
    /// An acquirer: owner of one pair of base derivation keys.
    AcquirerId, "acquirer", "1 to 36 of A-Z a-z 0-9 . _ -, first a letter or digit", "^[A-Za-z0-9][A-Za-z0-9._-]{0,35}$", is_reference
);
id!(
    /// An enrolled phone.
    DeviceId, "device", "dev_ and 26 lower-case Crockford base32 symbols", "^dev_[0-9a-hjkmnp-tv-z]{26}$", is_device
);
id!(
    /// The public part of an activation code.
    ActivationId, "activation", "7 upper-case Crockford base32 symbols", "^[0-9A-HJKMNP-TV-Z]{7}$", is_activation
);

/// Crockford's base32 alphabet, upper case.
pub const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn is_reference(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.len() <= 36
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_device(text: &str) -> bool {
    text.strip_prefix("dev_").is_some_and(|rest| {
        rest.len() == 26 && rest.bytes().all(|b| !b.is_ascii_uppercase() && CROCKFORD.contains(&b.to_ascii_uppercase()))
    })
}

fn is_activation(text: &str) -> bool {
    text.len() == 7 && text.bytes().all(|b| CROCKFORD.contains(&b))
}

impl DeviceId {
    /// A device id from 16 random bytes.
    pub fn from_random(random: [u8; 16]) -> Self {
        let mut value = u128::from_be_bytes(random);
        let mut symbols = [b'0'; 26];
        for symbol in symbols.iter_mut().rev() {
            let index = usize::from(value.to_le_bytes()[0] & 31);
            *symbol = CROCKFORD[index].to_ascii_lowercase();
            value >>= 5;
        }
        Self(format!("dev_{}", String::from_utf8_lossy(&symbols)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_made_device_id_parses(random: [u8; 16]) {
            let id = DeviceId::from_random(random);
            prop_assert_eq!(id.as_str().parse::<DeviceId>().expect("parses"), id);
        }

        #[test]
        fn no_text_panics_and_what_parses_prints_itself(text in ".{0,48}") {
            if let Ok(id) = text.parse::<MerchantId>() { prop_assert_eq!(id.as_str(), text.as_str()); }
            if let Ok(id) = text.parse::<DeviceId>() { prop_assert_eq!(id.as_str(), text.as_str()); }
            if let Ok(id) = text.parse::<ActivationId>() { prop_assert_eq!(id.as_str(), text.as_str()); }
        }
    }

    #[test]
    fn separators_and_case_are_refused() {
        for bad in ["", "-a", "a:b", "a b", "ä", &"a".repeat(37)] {
            assert!(bad.parse::<MerchantId>().is_err(), "{bad:?}");
        }
        assert!("dev_0123456789ABCDEFGHJKMNPQRS".parse::<DeviceId>().is_err());
        assert!("ABCDEFI".parse::<ActivationId>().is_err());
    }
}
