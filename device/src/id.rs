//! Identifiers (docs/protocol.md §1): a newtype each, parsed once at the border.

use std::fmt;

/// Why a text is not an identifier. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} id: {rule}")]
pub struct IdError {
    kind: &'static str,
    rule: &'static str,
}

/// Declares an id newtype over `String` with one parser: `FromStr`, `TryFrom<String>`, serde through the same door.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
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
    };
}

id!(
    /// A merchant, as the back end names it.
    MerchantId, "merchant", "1 to 36 of A-Z a-z 0-9 . _ -, first a letter or digit", is_reference
);
id!(
    /// A terminal of a merchant, as the back end names it.
    TerminalId, "terminal", "1 to 36 of A-Z a-z 0-9 . _ -, first a letter or digit", is_reference
);
id!(
    /// An enrolled phone.
    DeviceId, "device", "dev_ and 26 lower-case Crockford base32 symbols", is_device
);
id!(
    /// The public part of an activation code.
    ActivationId, "activation", "7 upper-case Crockford base32 symbols", is_activation
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

/// What the URI of a merchant certificate names: `urn:tillward:device:<merchant>:<terminal>:<device>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceIdentity {
    /// The merchant.
    pub merchant: MerchantId,
    /// The merchant's terminal.
    pub terminal: TerminalId,
    /// The phone that serves as the terminal.
    pub device: DeviceId,
}

impl DeviceIdentity {
    /// Reads the URI. None of the three ids can hold a colon, so there is one way to split it.
    pub fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("urn:tillward:device:")?.split(':');
        let identity =
            Self { merchant: parts.next()?.parse().ok()?, terminal: parts.next()?.parse().ok()?, device: parts.next()?.parse().ok()? };
        parts.next().is_none().then_some(identity)
    }
}

impl fmt::Display for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "urn:tillward:device:{}:{}:{}", self.merchant, self.terminal, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_prints_itself(text in ".{0,48}") {
            if let Ok(id) = text.parse::<MerchantId>() { prop_assert_eq!(id.as_str(), text.as_str()); }
            if let Ok(id) = text.parse::<DeviceId>() { prop_assert_eq!(id.as_str(), text.as_str()); }
            if let Ok(id) = text.parse::<ActivationId>() { prop_assert_eq!(id.as_str(), text.as_str()); }
            if let Some(identity) = DeviceIdentity::parse(&text) { prop_assert_eq!(identity.to_string(), text); }
        }

        #[test]
        fn an_identity_survives_its_uri(merchant in "[A-Za-z0-9][A-Za-z0-9._-]{0,35}", terminal in "[A-Za-z0-9][A-Za-z0-9._-]{0,35}", device in "dev_[0-9a-hjkmnp-tv-z]{26}") {
            let uri = format!("urn:tillward:device:{merchant}:{terminal}:{device}");
            prop_assert_eq!(DeviceIdentity::parse(&uri).expect("parses").to_string(), uri);
        }
    }

    #[test]
    fn an_identity_has_exactly_three_parts() {
        let device = "dev_00000000000000000000000000";
        assert!(DeviceIdentity::parse(&format!("urn:tillward:device:m:t:{device}")).is_some());
        for bad in [
            format!("urn:tillward:device:m:{device}"),
            format!("urn:tillward:device:m:t:{device}:x"),
            format!("URN:tillward:device:m:t:{device}"),
        ] {
            assert_eq!(DeviceIdentity::parse(&bad), None, "{bad}");
        }
    }
}
