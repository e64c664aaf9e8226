//! The keys that the security team manages, as service and host name them. Pure.
//!
//! A managed key is a logical key with versions; a version is one token object (or pair) whose label says everything that its template
//! follows from: `key:<name>:<version>:<purpose>:<algorithm>`. So the host holds a key to its purpose without asking the service. A partner's key
//! encryption key is of another class, `kek:<name>:<version>:<form>`, because a key that wraps keys of the token must not wrap or unwrap what a
//! caller brings (Clulow 2003, wrap and decrypt).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a key is for: one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Signs messages of callers.
    Sign,
    /// Makes and verifies MACs.
    Mac,
    /// Encrypts and decrypts with associated data.
    Encrypt,
    /// Wraps key material that a caller brings; as a partner's KEK, keys of the token.
    Wrap,
    /// Derives: base derivation keys.
    Derive,
    /// Signs certificates, and nothing that a caller brings.
    Ca,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 6] = [Self::Sign, Self::Mac, Self::Encrypt, Self::Wrap, Self::Derive, Self::Ca];

    /// Its name in labels, API and database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Mac => "mac",
            Self::Encrypt => "encrypt",
            Self::Wrap => "wrap",
            Self::Derive => "derive",
            Self::Ca => "ca",
        }
    }

    /// The purpose of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    /// Whether a key of that algorithm can serve it. Wrapping takes AES-256 only: a key must not leave under a weaker one.
    pub fn takes(self, algorithm: KeyAlgorithm) -> bool {
        use KeyAlgorithm as K;
        match self {
            Self::Sign => matches!(algorithm, K::EcP256 | K::EcP384 | K::Ed25519 | K::Rsa3072 | K::Rsa4096),
            Self::Mac => matches!(algorithm, K::Aes128 | K::Aes256 | K::HmacSha256),
            Self::Encrypt | Self::Derive => matches!(algorithm, K::Aes128 | K::Aes256),
            Self::Wrap => matches!(algorithm, K::Aes256),
            Self::Ca => matches!(algorithm, K::EcP256 | K::EcP384),
        }
    }
}

/// Type and length of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// EC P-256 (FIPS 186-5).
    #[serde(rename = "ec-p256")]
    EcP256,
    /// EC P-384.
    #[serde(rename = "ec-p384")]
    EcP384,
    /// Ed25519 (RFC 8032).
    #[serde(rename = "ed25519")]
    Ed25519,
    /// RSA, 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    /// AES-128.
    #[serde(rename = "aes-128")]
    Aes128,
    /// AES-256.
    #[serde(rename = "aes-256")]
    Aes256,
    /// A generic secret of 256 bits for HMAC-SHA-256.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

impl KeyAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 8] =
        [Self::EcP256, Self::EcP384, Self::Ed25519, Self::Rsa3072, Self::Rsa4096, Self::Aes128, Self::Aes256, Self::HmacSha256];

    /// Its name in labels, API and database.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::Aes128 => "aes-128",
            Self::Aes256 => "aes-256",
            Self::HmacSha256 => "hmac-sha256",
        }
    }

    /// The algorithm of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether it is a key pair.
    pub fn is_pair(self) -> bool {
        !matches!(self, Self::Aes128 | Self::Aes256 | Self::HmacSha256)
    }
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignatureScheme {
    /// ECDSA with P-256 and SHA-256, `r` | `s` (RFC 7518 §3.4: ES256).
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA with P-384 and SHA-384 (ES384).
    #[serde(rename = "ES384")]
    Es384,
    /// Ed25519 over the message itself (RFC 8037: `EdDSA`).
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSASSA-PSS with SHA-256, MGF1-SHA-256 and 32 bytes of salt (PS256).
    #[serde(rename = "PS256")]
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RS256).
    #[serde(rename = "RS256")]
    Rs256,
}

impl SignatureScheme {
    /// Every scheme.
    pub const ALL: [Self; 5] = [Self::Es256, Self::Es384, Self::EdDsa, Self::Ps256, Self::Rs256];

    /// Its name (RFC 7518 §3.1, RFC 8037).
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// The schemes of a key, the one that is meant where none is named first.
    pub fn of(algorithm: KeyAlgorithm) -> &'static [Self] {
        match algorithm {
            KeyAlgorithm::EcP256 => &[Self::Es256],
            KeyAlgorithm::EcP384 => &[Self::Es384],
            KeyAlgorithm::Ed25519 => &[Self::EdDsa],
            KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => &[Self::Ps256, Self::Rs256],
            KeyAlgorithm::Aes128 | KeyAlgorithm::Aes256 | KeyAlgorithm::HmacSha256 => &[],
        }
    }
}

/// Name of a logical key: 1 to 64 of `A-Z a-z 0-9 . _ -`, first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

/// Why a text is not the name or label of a key. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key's name: 1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit")]
pub struct KeyNameError;

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyName {
    type Error = KeyNameError;
    fn try_from(text: String) -> Result<Self, KeyNameError> {
        let bytes = text.as_bytes();
        let fits = bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.len() <= 64
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits { Ok(Self(text)) } else { Err(KeyNameError) }
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;
    fn from_str(text: &str) -> Result<Self, KeyNameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One version of a managed key, as its label says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRef {
    /// The logical key.
    pub name: KeyName,
    /// From 1.
    pub version: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// What it is.
    pub algorithm: KeyAlgorithm,
}

impl KeyRef {
    /// The label on the token.
    pub fn label(&self) -> String {
        format!("key:{}:{}:{}:{}", self.name, self.version, self.purpose.name(), self.algorithm.name())
    }

    /// Reads a label. `None` for a label of another class, for a purpose that does not take the algorithm, and for the names that plans give
    /// to base derivation keys ([`crate::escrow::owner`]).
    pub fn parse(label: &str) -> Option<Self> {
        let [class, name, version, purpose, algorithm] = parts(label)?;
        let key = Self {
            name: name.parse().ok()?,
            version: number(version)?,
            purpose: Purpose::named(purpose)?,
            algorithm: KeyAlgorithm::named(algorithm)?,
        };
        (class == "key" && key.purpose.takes(key.algorithm) && !key.is_bdk()).then_some(key)
    }

    /// Whether it is how a plan names a base derivation key: such a key is made in a ceremony only, and has a label of another class.
    pub fn is_bdk(&self) -> bool {
        ["bdk-pin.", "bdk-data."].into_iter().any(|class| self.name.as_str().starts_with(class))
    }
}

/// In what form keys travel under a partner's KEK. A KEK has one: each is another use of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KekForm {
    /// Key block: header, wrapped key, CMAC over both. The KEK derives the keys for wrapping and for the MAC, and does nothing else.
    KeyBlock,
    /// AES-KWP (RFC 5649) without a header: nothing binds the usage but the agreement with the partner.
    Kwp,
}

impl KekForm {
    /// Its name in labels, API and database.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyBlock => "key-block",
            Self::Kwp => "kwp",
        }
    }

    /// The form of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::KeyBlock, Self::Kwp].into_iter().find(|form| form.name() == name)
    }
}

/// One version of a partner's key encryption key (AES-256), as its label says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KekRef {
    /// The logical key.
    pub name: KeyName,
    /// From 1.
    pub version: u32,
    /// What travels under it.
    pub form: KekForm,
}

impl KekRef {
    /// The label on the token.
    pub fn label(&self) -> String {
        format!("kek:{}:{}:{}", self.name, self.version, self.form.name())
    }

    /// Reads a label.
    pub fn parse(label: &str) -> Option<Self> {
        let [class, name, version, form] = parts(label)?;
        let kek = Self { name: name.parse().ok()?, version: number(version)?, form: KekForm::named(form)? };
        (class == "kek").then_some(kek)
    }
}

/// Whether keys of that label come and go while hosts run: they are not among the keys that a token must have.
pub(crate) fn is_managed(label: &str) -> bool {
    label.starts_with("key:") || label.starts_with("kek:")
}

fn parts<const N: usize>(label: &str) -> Option<[&str; N]> {
    label.split(':').collect::<Vec<_>>().try_into().ok()
}

/// A version: decimal without sign or leading zero.
pub(crate) fn number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_parses_is_the_label_again(label in "(key|kek):[a-z.-]{1,8}:[0-9]{1,3}:(sign|mac|key-block|kwp|wrap)(:(aes-256|aes-128|ec-p256))?") {
            if let Some(key) = KeyRef::parse(&label) { prop_assert_eq!(key.label(), label.clone()); }
            if let Some(kek) = KekRef::parse(&label) { prop_assert_eq!(kek.label(), label); }
        }
    }

    #[test]
    fn a_label_says_one_thing() {
        for purpose in Purpose::ALL {
            for algorithm in KeyAlgorithm::ALL {
                let key = KeyRef { name: "a.b".parse().expect("parses"), version: 7, purpose, algorithm };
                assert_eq!(KeyRef::parse(&key.label()).is_some(), purpose.takes(algorithm), "{}", key.label());
                assert!(KekRef::parse(&key.label()).is_none());
            }
        }
        for bad in [
            "key:a:0:sign:ec-p256",
            "key:a:01:sign:ec-p256",
            "key:a:1:sign:aes-256",
            "key:a:1:wrap:aes-128",
            "key::1:sign:ec-p256",
            "key:a:1:sign",
        ] {
            assert!(KeyRef::parse(bad).is_none(), "{bad}");
        }
    }
}
