//! The ceremony file: what is made, on which token, who is there. TOML, at most 64 KiB, and everything in it is meant to be read aloud: no PIN, no
//! path, no module. The token is named by its label; which module and PIN file lead to it is the installation's configuration.

use std::collections::BTreeSet;

use p256::ecdsa::VerifyingKey;
use p256::pkcs8::DecodePublicKey as _;
use serde::{Deserialize, Serialize};
use tillward_hsm::ksn::BdkId;
use tillward_hsm::{KekForm, KekRef, KeyName};

use crate::id::AcquirerId;

/// Longest file.
const LONGEST: usize = 64 * 1024;

/// A ceremony.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeremonyFile {
    /// What it is, in a line.
    pub title: String,
    /// Label of the token.
    pub token: String,
    /// Who is there: at least two, each with a key of their own.
    pub present: Vec<Person>,
    /// What is made, in this order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// Somebody who is there, and signs the transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Name, as it stands in the transcript.
    pub name: String,
    /// What for.
    pub part: Part,
    /// Public key, EC P-256: `SubjectPublicKeyInfo`, DER, base64.
    pub key: String,
}

/// What somebody is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Leads.
    Leader,
    /// Holds a PIN, a smart card or the key to the room.
    Custodian,
    /// Watches.
    Witness,
}

impl Part {
    /// The word of the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Custodian => "custodian",
            Self::Witness => "witness",
        }
    }
}

/// What is made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "make", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// The fixed keys of the design, and the certificates of root, issuing CA and signing keys. Uses the root CA, so it takes approvals.
    RootCa {
        /// Organisation in the subject names.
        organisation: String,
        /// Validity of the root certificate, days.
        root_days: u32,
        /// Validity of the others, days.
        issuing_days: u32,
    },
    /// The pair of base derivation keys of an acquirer, made so that they can be exported under a partner's KEK.
    BdkPair {
        /// The acquirer.
        acquirer: AcquirerId,
        /// BDK id of the PIN key.
        bdk_pin: BdkId,
        /// BDK id of the data key.
        bdk_data: BdkId,
        /// 128 or 256.
        bits: u16,
    },
    /// A key encryption key for a partner, wrapped for the partner's RSA key.
    PartnerKek {
        /// Its name.
        name: KeyName,
        /// From 1.
        version: u32,
        /// What travels under it.
        form: KekForm,
        /// The partner's public key, PEM (`PUBLIC KEY`).
        partner_key: String,
        /// SHA-256 of its DER, hexadecimal, as the partner read it out on another way.
        partner_key_sha256: String,
    },
}

impl Step {
    /// The word of the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RootCa { .. } => "root-ca",
            Self::BdkPair { .. } => "bdk-pair",
            Self::PartnerKek { .. } => "partner-kek",
        }
    }

    /// Labels of the keys that it makes; of a root CA those that may not be missing beside others.
    pub fn labels(&self) -> Vec<String> {
        match self {
            Self::RootCa { .. } => vec!["root-ca".to_owned(), "issuing-ca".to_owned()],
            Self::BdkPair { acquirer, bdk_pin, bdk_data, .. } => {
                vec![format!("bdk-pin:{acquirer}:{bdk_pin}"), format!("bdk-data:{acquirer}:{bdk_data}")]
            }
            Self::PartnerKek { name, version, form, .. } => vec![KekRef { name: name.clone(), version: *version, form: *form }.label()],
        }
    }

    /// What it makes, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::RootCa { organisation, root_days, issuing_days } => {
                format!(
                    "the keys of the design; root ({root_days} days) and issuing and signing certificates ({issuing_days} days) of {organisation}"
                )
            }
            Self::BdkPair { acquirer, bdk_pin, bdk_data, bits } => {
                format!("the base derivation keys of {acquirer}: PIN {bdk_pin}, data {bdk_data}, AES-{bits}, exportable")
            }
            Self::PartnerKek { name, version, form, partner_key_sha256, .. } => {
                format!("the partner KEK {name} version {version} for {}, wrapped for the key {partner_key_sha256}", form.name())
            }
        }
    }
}

/// Why a ceremony is not held by this file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeremonyError {
    /// Not TOML of the right shape; with line and column.
    #[error("the ceremony file is not acceptable: {0}")]
    Shape(String),
    /// A value does not fit.
    #[error("the ceremony file: {0}")]
    Check(String),
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), CeremonyError> {
    if holds { Ok(()) } else { Err(CeremonyError::Check(what())) }
}

/// 1 to 100 printable characters.
fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= 100 && !text.chars().any(char::is_control)
}

impl Person {
    /// The key, parsed.
    ///
    /// # Errors
    /// It is not a P-256 key.
    pub fn verifying_key(&self) -> Result<VerifyingKey, CeremonyError> {
        let der = data_encoding::BASE64.decode(self.key.as_bytes()).ok();
        der.and_then(|der| VerifyingKey::from_public_key_der(&der).ok())
            .ok_or_else(|| CeremonyError::Check(format!("the key of {}: an EC P-256 SubjectPublicKeyInfo, base64", self.name)))
    }
}

impl CeremonyFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`CeremonyError`] says where.
    pub fn parse(text: &str) -> Result<Self, CeremonyError> {
        check(text.len() <= LONGEST, || "longer than 64 KiB".to_owned())?;
        let file: Self = toml::from_str(text).map_err(|error| CeremonyError::Shape(error.to_string().trim_end().to_owned()))?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), CeremonyError> {
        check(is_text(&self.title), || "title: 1 to 100 printable characters".to_owned())?;
        check(is_text(&self.token) && self.token.len() <= 32, || "token: the label, 1 to 32 bytes".to_owned())?;
        check(self.present.len() >= 2, || "present: at least two people".to_owned())?;
        check(self.present.iter().any(|person| person.part == Part::Witness), || "present: at least one witness".to_owned())?;
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for person in &self.present {
            check(is_text(&person.name), || "present: a name of 1 to 100 printable characters".to_owned())?;
            person.verifying_key()?;
            check(names.insert(&person.name), || format!("present: {} stands there twice", person.name))?;
            check(keys.insert(&person.key), || format!("present: the key of {} is another person's", person.name))?;
        }
        check(!self.steps.is_empty() && self.steps.len() <= 32, || "step: 1 to 32".to_owned())?;
        for step in &self.steps {
            match step {
                Step::RootCa { organisation, root_days, issuing_days } => {
                    check(is_text(organisation) && organisation.len() <= 50, || "organisation: 1 to 50 bytes".to_owned())?;
                    check((1..=36_500).contains(root_days) && (1..=*root_days).contains(issuing_days), || {
                        "root_days: 1 to 36500; issuing_days: not more".to_owned()
                    })?;
                }
                Step::BdkPair { bdk_pin, bdk_data, bits, .. } => {
                    check(bdk_pin != bdk_data, || "bdk_pin and bdk_data: two ids".to_owned())?;
                    check(matches!(bits, 128 | 256), || "bits: 128 or 256".to_owned())?;
                }
                Step::PartnerKek { version, partner_key_sha256, .. } => {
                    check(*version > 0, || "version: from 1".to_owned())?;
                    check(
                        partner_key_sha256.len() == 64 && partner_key_sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
                        || "partner_key_sha256: 64 lower-case hexadecimal digits".to_owned(),
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Whether it signs with the root CA.
    pub fn uses_root_ca(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::RootCa { .. }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use p256::ecdsa::SigningKey;
    use p256::pkcs8::EncodePublicKey as _;
    use proptest::prelude::*;

    /// The key of somebody in the tests.
    pub(crate) fn signing_key(seed: u8) -> SigningKey {
        SigningKey::from_slice(&[seed; 32]).expect("a scalar")
    }

    /// Their public key as the file has it.
    pub(crate) fn public_key(seed: u8) -> String {
        data_encoding::BASE64.encode(signing_key(seed).verifying_key().to_public_key_der().expect("a key").as_bytes())
    }

    /// A file for tests.
    pub(crate) fn example() -> String {
        format!(
            "title = \"KEK\"\ntoken = \"production\"\n\n[[present]]\nname = \"Ada\"\npart = \"leader\"\nkey = \"{}\"\n\n[[present]]\nname = \
             \"Bob\"\npart = \"witness\"\nkey = \"{}\"\n\n[[step]]\nmake = \"bdk-pair\"\nacquirer = \"acme\"\nbdk_pin = \"E1000001\"\nbdk_data = \
             \"E1000002\"\nbits = 256\n",
            public_key(1),
            public_key(2)
        )
    }

    #[test]
    fn the_example_is_a_ceremony() {
        let file = CeremonyFile::parse(&example()).expect("parses");
        assert_eq!((file.present.len(), file.steps.len(), file.uses_root_ca()), (2, 1, false));
    }

    #[test]
    fn what_does_not_belong_into_the_file_is_refused() {
        let good = example();
        for (from, to) in [
            ("title", "pin = \"1234\"\ntitle"),
            ("title", "module = \"/lib.so\"\ntitle"),
            ("part = \"witness\"", "part = \"leader\""),
            ("name = \"Bob\"", "name = \"Ada\""),
            ("bits = 256", "bits = 192"),
            ("E1000002", "E1000001"),
            ("make = \"bdk-pair\"", "make = \"secret\""),
            ("token = \"production\"", "token = \"\""),
            ("bits = 256", "bits = 256\npin = \"1234\""),
        ] {
            assert!(good.contains(from));
            assert!(CeremonyFile::parse(&good.replacen(from, to, 1)).is_err(), "{to}");
        }
        let same_key = good.replace(&public_key(2), &public_key(1));
        assert!(matches!(CeremonyFile::parse(&same_key), Err(CeremonyError::Check(why)) if why.contains("another person's")));
    }

    proptest! {
        #[test]
        fn no_text_panics(at in 0_usize..400, byte in 0_u8..127) {
            let mut text = example().into_bytes();
            let length = text.len();
            text[at % length] = byte;
            let _ = CeremonyFile::parse(std::str::from_utf8(&text).expect("ASCII"));
        }
    }
}
