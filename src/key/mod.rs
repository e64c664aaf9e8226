//! Managed keys: the states of a version, what each allows, and how long. Pure; of the HSM's crate it names the words alone
//! ([`tillward_hsm::managed`], itself pure), because a label on the token and a row in the database have to mean the same key.

pub mod jwk;
mod period;
mod state;

pub use period::{Periods, Validity, default_limit};
pub use state::{KeyState, Life, Move, NoMove, Use};

use tillward_hsm::managed::{KekForm, KeyAlgorithm, Purpose};

/// Which keys of the token a logical key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyClass {
    /// Back ends use it.
    Kms,
    /// A partner's key encryption key: keys travel under it.
    Kek(KekForm),
    /// The service itself works with it.
    Design,
}

impl KeyClass {
    /// The name used on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::Kek(_) => "kek",
            Self::Design => "design",
        }
    }

    /// The form of a KEK.
    pub fn form(self) -> Option<KekForm> {
        if let Self::Kek(form) = self { Some(form) } else { None }
    }

    /// Reads [`Self::name`] and [`Self::form`]; a KEK has a form, and nothing else does.
    pub fn parse(name: &str, form: Option<&str>) -> Option<Self> {
        match (name, form) {
            ("kms", None) => Some(Self::Kms),
            ("design", None) => Some(Self::Design),
            ("kek", Some(form)) => KekForm::named(form).map(Self::Kek),
            _ => None,
        }
    }
}

/// Where a version comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The token made it.
    Generated,
    /// A partner wrapped it.
    Imported,
    /// The ceremony that set the service up.
    Design,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 3] = [Self::Generated, Self::Imported, Self::Design];

    /// The name used on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Imported => "imported",
            Self::Design => "design",
        }
    }

    /// Reads [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.name() == name)
    }
}

/// What a row says that is not finished: the intent of a version whose key may not be on the token yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Make it.
    Make,
    /// Make it, and take it into use as the primary version.
    MakeActive,
}

impl Intent {
    /// The name used in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::MakeActive => "make-active",
        }
    }

    /// Reads [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Make, Self::MakeActive].into_iter().find(|intent| intent.name() == name)
    }
}

/// The number of a version, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionNumber(pub u32);

/// Why a text is not the number of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the number of a version: decimal, from 1, without a leading zero")]
pub struct VersionNumberError;

impl std::str::FromStr for VersionNumber {
    type Err = VersionNumberError;
    fn from_str(text: &str) -> Result<Self, VersionNumberError> {
        let number: u32 = text.parse().map_err(|_| VersionNumberError)?;
        if number > 0 && number.to_string() == text { Ok(Self(number)) } else { Err(VersionNumberError) }
    }
}

/// How a person compares a key: the CMAC check value of an AES key (X9.24-1:2017), the fingerprint of a public key. `None` of a key that has neither.
pub fn check_text(kcv: Option<&str>, fingerprint: Option<&[u8; 32]>) -> Option<String> {
    match (kcv, fingerprint) {
        (Some(kcv), _) => Some(format!("KCV {kcv}")),
        (None, Some(digest)) => Some(format!("SHA-256 {}", data_encoding::HEXLOWER.encode(digest))),
        (None, None) => None,
    }
}

/// Names that the service's own keys have: nobody else makes a key of such a name.
pub fn is_of_the_design(name: &str) -> bool {
    const FIXED: [&str; 12] = [
        "activation-mac",
        "enrollment-transport",
        "enrollment-transport-ec",
        "storage-kek",
        "storage-mac",
        "export-kek",
        "export-mac",
        "attestation-signing",
        "personalization-signing",
        "root-ca",
        "issuing-ca",
        "audit-signing",
    ];
    FIXED.contains(&name) || name.starts_with("bdk-pin.") || name.starts_with("bdk-data.") || name.starts_with("derivation-mark")
}

/// Purpose and algorithm of a key of the design, by its name and by the kind that the token says it has.
pub fn design_purpose(name: &str) -> Option<Purpose> {
    match name {
        "activation-mac" | "storage-mac" | "export-mac" => Some(Purpose::Mac),
        "storage-kek" | "export-kek" | "enrollment-transport" => Some(Purpose::Wrap),
        "enrollment-transport-ec" => Some(Purpose::Derive),
        "attestation-signing" | "personalization-signing" | "audit-signing" => Some(Purpose::Sign),
        "root-ca" | "issuing-ca" => Some(Purpose::Ca),
        _ if name.starts_with("bdk-pin.") || name.starts_with("bdk-data.") => Some(Purpose::Derive),
        _ => None,
    }
}

/// The properties of a logical key that decide what its versions are. Asked for again, they must be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Which keys it stands for.
    pub class: KeyClass,
    /// What it is for.
    pub purpose: Purpose,
    /// What it is.
    pub algorithm: KeyAlgorithm,
    /// Whether it may leave under a partner's KEK.
    pub exportable: bool,
}
