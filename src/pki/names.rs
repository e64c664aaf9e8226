//! Names in certificates: the URIs that say who a certificate is for (docs/protocol.md §2), and subject names.

use std::fmt;
use std::str::FromStr;

use x509_cert::name::Name;

use crate::id::{DeviceId, MerchantId, TerminalId};

/// Why a text is not a name of this PKI. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(&'static str);

/// `urn:tillward:device:<merchant>:<terminal>:<device>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceUri {
    /// The merchant.
    pub merchant: MerchantId,
    /// Its terminal.
    pub terminal: TerminalId,
    /// The phone.
    pub device: DeviceId,
}

impl fmt::Display for DeviceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No id has a colon in its alphabet.
        write!(f, "urn:tillward:device:{}:{}:{}", self.merchant, self.terminal, self.device)
    }
}

impl FromStr for DeviceUri {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const RULE: NameError = NameError("a device's URI is urn:tillward:device:<merchant>:<terminal>:<device>");
        let mut parts = text.strip_prefix("urn:tillward:device:").ok_or(RULE)?.split(':');
        let (Some(merchant), Some(terminal), Some(device), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(RULE);
        };
        Ok(Self {
            merchant: merchant.parse().map_err(|_| RULE)?,
            terminal: terminal.parse().map_err(|_| RULE)?,
            device: device.parse().map_err(|_| RULE)?,
        })
    }
}

/// A signing key of the service, by what it signs: `urn:tillward:service:<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Parameters, challenges, attestation results.
    AttestationSigning,
    /// Personalization packages.
    PersonalizationSigning,
}

impl Service {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::AttestationSigning, Self::PersonalizationSigning];

    /// The key's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AttestationSigning => "attestation-signing",
            Self::PersonalizationSigning => "personalization-signing",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "urn:tillward:service:{}", self.name())
    }
}

impl FromStr for Service {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|service| text.strip_prefix("urn:tillward:service:") == Some(service.name()))
            .ok_or(NameError("a service's URI is urn:tillward:service:attestation-signing or personalization-signing"))
    }
}

/// A common name: 1 to 64 (RFC 5280 ub-common-name) of `A-Z a-z 0-9 . _ -` and inner spaces. Nothing in it needs escaping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonName(String);

impl CommonName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name whose only attribute it is.
    pub(super) fn to_name(&self) -> Name {
        Name::from_str(&format!("CN={}", self.0)).expect("no character that RFC 4514 escapes")
    }
}

impl FromStr for CommonName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b' ');
        if (1..=64).contains(&text.len()) && text.bytes().all(known) && text.trim() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError("a common name is 1 to 64 of A-Z a-z 0-9 . _ - and inner spaces"))
        }
    }
}

impl From<&TerminalId> for CommonName {
    fn from(terminal: &TerminalId) -> Self {
        // 1 to 36 of a smaller alphabet.
        Self(terminal.as_str().to_owned())
    }
}

/// Where the revocation list can be fetched: an http or https URL of at most 255 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlUrl(String);

impl CrlUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CrlUrl {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let fits = text.len() <= 255 && rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError("a CRL URL is http:// or https://, 255 printable ASCII characters at most"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_device_uri_has_three_ids() {
        let text = "urn:tillward:device:m-1:T.1:dev_0123456789abcdefghjkmnpqrs";
        assert_eq!(text.parse::<DeviceUri>().map(|uri| uri.to_string()), Ok(text.to_owned()));
        for bad in [
            "urn:tillward:device:m-1:T.1",
            "urn:tillward:device:m-1:T.1:dev_0123456789abcdefghjkmnpqrs:x",
            "urn:tillward:device:m-1::dev_0123456789abcdefghjkmnpqrs",
            "URN:tillward:device:m-1:T.1:dev_0123456789abcdefghjkmnpqrs",
            "urn:tillward:service:m-1:T.1:dev_0123456789abcdefghjkmnpqrs",
        ] {
            assert!(bad.parse::<DeviceUri>().is_err(), "{bad}");
        }
    }

    #[test]
    fn service_uris_are_the_two_of_the_protocol() {
        for service in Service::ALL {
            assert_eq!(service.to_string().parse(), Ok(service));
        }
        assert!("urn:tillward:service:issuing-ca".parse::<Service>().is_err());
        assert!("attestation-signing".parse::<Service>().is_err());
    }

    #[test]
    fn a_common_name_is_one_utf8_attribute() {
        let name: CommonName = "Tillward Root CA 1".parse().expect("a name");
        assert_eq!(name.to_name().to_string(), "CN=Tillward Root CA 1");
        for bad in ["", " a", "a ", "a,O=b", "a+b", "a=b", "a\\b", "#04", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<CommonName>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_uri_panics_and_what_parses_prints_itself(text in "(urn:tillward:(device|service):)?[a-zA-Z0-9:_.-]{0,60}") {
            if let Ok(uri) = text.parse::<DeviceUri>() { prop_assert_eq!(uri.to_string(), text.clone()); }
            if let Ok(uri) = text.parse::<Service>() { prop_assert_eq!(uri.to_string(), text); }
        }

        #[test]
        fn every_common_name_has_a_name_that_prints_it(text in "[A-Za-z0-9._ -]{1,64}") {
            if let Ok(name) = text.parse::<CommonName>() { prop_assert_eq!(name.to_name().to_string(), format!("CN={text}")); }
        }
    }
}
