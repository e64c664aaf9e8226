//! Who asks.

use crate::id::{AcquirerId, ActivationId, DeviceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Who asks. Its text form goes into the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A phone on the device listener. It has no client certificate: it names itself, and the operation verifies
    /// the proof (activation code, evidence MAC) before anything has an effect.
    Phone(Phone),
    /// The holder of a client certificate on the mutual TLS listener.
    Principal(Principal),
    /// Work of the service itself, by name.
    System(&'static str),
}

/// What a phone says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phone {
    /// Not enrolled yet: the holder of an activation code.
    Activation(ActivationId),
    /// Enrolled.
    Device(DeviceId),
}

/// What a principal is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Security officer: keys, ceremonies, stopping what is suspect.
    Officer,
    /// Runs the day: merchants, activations, devices.
    Operator,
    /// Reads, changes nothing.
    Auditor,
    /// The payment back end (the Relying Party).
    Backend,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Officer, Self::Operator, Self::Auditor, Self::Backend];

    /// The name used in the configuration and in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Officer => "officer",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Backend => "backend",
        }
    }
}

/// A configured principal. Only [`super::Authz`] makes one, so that a role is never claimed. A copy of it is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(Arc<PrincipalEntry>);

/// A principal as the configuration writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalEntry {
    /// The URI in the client certificate's subjectAltName.
    pub uri: PrincipalUri,
    /// Its role.
    pub role: Role,
    /// The acquirers whose merchants and devices it may touch. There is no "all": an acquirer is given by name.
    #[serde(default)]
    pub acquirers: BTreeSet<AcquirerId>,
}

impl Principal {
    pub(super) fn new(entry: PrincipalEntry) -> Self {
        Self(Arc::new(entry))
    }

    /// The URI of its client certificate.
    pub fn uri(&self) -> &PrincipalUri {
        &self.0.uri
    }

    /// Its role.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The acquirers it acts for.
    pub fn acquirers(&self) -> &BTreeSet<AcquirerId> {
        &self.0.acquirers
    }
}

impl Caller {
    /// The principal, where the caller is one.
    pub fn principal(&self) -> Option<&Principal> {
        if let Self::Principal(principal) = self { Some(principal) } else { None }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phone(Phone::Activation(id)) => write!(f, "phone:activation:{id}"),
            Self::Phone(Phone::Device(id)) => write!(f, "phone:device:{id}"),
            Self::Principal(principal) => write!(f, "{}:{}", principal.role().name(), principal.uri()),
            Self::System(task) => write!(f, "system:{task}"),
        }
    }
}

/// The URI that names a principal, compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrincipalUri(String);

/// Why a text is not a principal's URI. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a principal's URI: a scheme, a colon, then printable ASCII without spaces, at most 255 characters")]
pub struct PrincipalUriError;

impl PrincipalUri {
    /// The URI as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PrincipalUri {
    type Error = PrincipalUriError;
    fn try_from(text: String) -> Result<Self, PrincipalUriError> {
        // RFC 3986 §3.1: scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )
        let (scheme, rest) = text.split_once(':').ok_or(PrincipalUriError)?;
        let fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
            && !rest.is_empty()
            && rest.bytes().all(|b| b.is_ascii_graphic())
            && text.len() <= 255;
        if fits { Ok(Self(text)) } else { Err(PrincipalUriError) }
    }
}

impl std::str::FromStr for PrincipalUri {
    type Err = PrincipalUriError;
    fn from_str(text: &str) -> Result<Self, PrincipalUriError> {
        Self::try_from(text.to_owned())
    }
}

impl From<PrincipalUri> for String {
    fn from(uri: PrincipalUri) -> Self {
        uri.0
    }
}

impl fmt::Display for PrincipalUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_is_one_printable_word(text in "(urn:|spiffe://|[a-z]{0,3}:?).{0,300}") {
            if let Ok(uri) = text.parse::<PrincipalUri>() {
                prop_assert_eq!(uri.to_string(), text.clone());
                prop_assert!(text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }

    #[test]
    fn an_entry_with_an_unknown_field_is_refused() {
        let good = serde_json::json!({"uri": "urn:example:a", "role": "backend", "acquirers": ["acme"]});
        assert!(serde_json::from_value::<PrincipalEntry>(good).is_ok());
        for bad in [
            serde_json::json!({"uri": "urn:example:a", "role": "backend", "acquirer": ["acme"]}),
            serde_json::json!({"uri": "urn:example:a", "role": "root"}),
            serde_json::json!({"uri": "example", "role": "backend"}),
            serde_json::json!({"uri": "urn:a b", "role": "backend"}),
        ] {
            assert!(serde_json::from_value::<PrincipalEntry>(bad).is_err());
        }
    }
}
