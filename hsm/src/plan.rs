//! A plan: what several officers approve, in bytes that are the same for everybody. Pure; used by the service, by the command line, by the
//! offline verifier, and by the host, which does not take the service's word for an approval.
//!
//! The bytes are lines of text, `name value` and a line feed, in one order; what an officer reads is what is hashed:
//!
//! ```text
//! tillward-plan 1
//! id 5f0c6d1be0a94c3f8e7a2b1c0d9e8f70
//! requester urn:tillward:principal:operator
//! created 1795381200
//! expires 1795467600
//! quorum 2
//! deed destroy-key
//! key acme-receipts
//! version 3
//! purpose sign
//! algorithm ec-p256
//! ```
//!
//! Hash: SHA-256 over these bytes. The first line keeps the hash apart from everything else that an officer's key may sign.

use sha2::{Digest as _, Sha256};

use crate::managed::{KekForm, KekRef, KeyAlgorithm, KeyRef, Purpose, number};

/// The first line.
const HEAD: &str = "tillward-plan 1";
/// Fewer is not a quorum.
pub const LEAST_QUORUM: u32 = 2;
/// A plan carries no more approvals ([`crate::approval::MOST`]).
pub const MOST_QUORUM: u32 = 8;
/// A plan stands open this long at most, seconds.
pub const LONGEST: i64 = 14 * 86_400;
/// No plan is longer.
pub const LARGEST: usize = 4096;

/// SHA-256 of a file or blob that a plan is about.
pub type ContentHash = [u8; 32];

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Destroy a version of a key: the waiting period begins with the execution.
    DestroyKey(KeyRef),
    /// Report a version as compromised.
    ReportCompromise(KeyRef),
    /// Give a version out, wrapped under a partner's KEK.
    ExportKey(KeyRef, KekRef),
    /// Take a version in that a partner wrapped: SHA-256 of the block or blob.
    ImportKey(KeyRef, KekRef, ContentHash),
    /// Put these policies in force: the digest of the policy set.
    ChangePolicy(ContentHash),
    /// Put this roster of officers in force: SHA-256 of the file.
    ChangeOfficers(ContentHash),
    /// Hold the ceremony of this file, which uses the root CA.
    UseRootCa(ContentHash),
}

impl Deed {
    /// Every name.
    pub const NAMES: [&str; 7] =
        ["destroy-key", "report-compromise", "export-key", "import-key", "change-policy", "change-officers", "use-root-ca"];

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DestroyKey(_) => "destroy-key",
            Self::ReportCompromise(_) => "report-compromise",
            Self::ExportKey(..) => "export-key",
            Self::ImportKey(..) => "import-key",
            Self::ChangePolicy(_) => "change-policy",
            Self::ChangeOfficers(_) => "change-officers",
            Self::UseRootCa(_) => "use-root-ca",
        }
    }
}

/// What is to be done, who asked for it, until when, and how many have to approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// 16 random bytes.
    pub id: [u8; 16],
    /// Who asks: the URI of the principal. It cannot approve.
    pub requester: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Seconds since 1970; not approved and not executed afterwards.
    pub expires: i64,
    /// Approvals that are needed.
    pub quorum: u32,
    /// What is to be done.
    pub deed: Deed,
}

/// Why bytes are not a plan. Never repeats them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a plan: {0}")]
pub struct PlanError(pub &'static str);

impl Plan {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut lines = vec![
            HEAD.to_owned(),
            format!("id {}", data_encoding::HEXLOWER.encode(&self.id)),
            format!("requester {}", self.requester),
            format!("created {}", self.created),
            format!("expires {}", self.expires),
            format!("quorum {}", self.quorum),
            format!("deed {}", self.deed.name()),
        ];
        let key = |key: &KeyRef| {
            let (purpose, algorithm) = (key.purpose.name(), key.algorithm.name());
            [
                format!("key {}", key.name),
                format!("version {}", key.version),
                format!("purpose {purpose}"),
                format!("algorithm {algorithm}"),
            ]
        };
        let kek = |kek: &KekRef| [format!("kek {}", kek.name), format!("kek-version {}", kek.version), format!("form {}", kek.form.name())];
        let content = |hash: &ContentHash| format!("content {}", data_encoding::HEXLOWER.encode(hash));
        match &self.deed {
            Deed::DestroyKey(of) | Deed::ReportCompromise(of) => lines.extend(key(of)),
            Deed::ExportKey(of, under) => {
                lines.extend(key(of));
                lines.extend(kek(under));
            }
            Deed::ImportKey(of, under, hash) => {
                lines.extend(key(of));
                lines.extend(kek(under));
                lines.push(content(hash));
            }
            Deed::ChangePolicy(hash) | Deed::ChangeOfficers(hash) | Deed::UseRootCa(hash) => lines.push(content(hash)),
        }
        let mut text = lines.join("\n");
        text.push('\n');
        text.into_bytes()
    }

    /// Reads a plan; only the canonical bytes are one.
    ///
    /// # Errors
    /// [`PlanError`] says what is wrong, a quorum below two included.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        if bytes.len() > LARGEST {
            return Err(PlanError("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PlanError("it is not text"))?;
        let mut lines = Lines(text.strip_suffix('\n').ok_or(PlanError("its last line does not end"))?.split('\n'));
        if lines.0.next() != Some(HEAD) {
            return Err(PlanError("its first line is another"));
        }
        let id = data_encoding::HEXLOWER.decode(lines.value("id")?.as_bytes()).ok().and_then(|id| id.try_into().ok());
        let id = id.ok_or(PlanError("id: 32 lower-case hexadecimal digits"))?;
        let requester = lines.value("requester")?.to_owned();
        if requester.is_empty() || requester.len() > 255 || !requester.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(PlanError("requester: a URI"));
        }
        let (created, expires) = (lines.time("created")?, lines.time("expires")?);
        if expires <= created || expires - created > LONGEST {
            return Err(PlanError("expires: after created, and within 14 days"));
        }
        let quorum = lines.count("quorum")?;
        if !(LEAST_QUORUM..=MOST_QUORUM).contains(&quorum) {
            return Err(PlanError("quorum: 2 to 8"));
        }
        let deed = match lines.value("deed")? {
            "destroy-key" => Deed::DestroyKey(lines.key()?),
            "report-compromise" => Deed::ReportCompromise(lines.key_as_it_is()?),
            "export-key" => Deed::ExportKey(lines.key()?, lines.kek()?),
            "import-key" => Deed::ImportKey(lines.key()?, lines.kek()?, lines.content()?),
            "change-policy" => Deed::ChangePolicy(lines.content()?),
            "change-officers" => Deed::ChangeOfficers(lines.content()?),
            "use-root-ca" => Deed::UseRootCa(lines.content()?),
            _ => return Err(PlanError("deed: unknown")),
        };
        let plan = Self { id, requester, created, expires, quorum, deed };
        if lines.0.next().is_some() || plan.to_bytes() != bytes {
            return Err(PlanError("it is not in the one form"));
        }
        Ok(plan)
    }

    /// What officers sign.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }
}

struct Lines<'a>(std::str::Split<'a, char>);

impl<'a> Lines<'a> {
    fn value(&mut self, name: &'static str) -> Result<&'a str, PlanError> {
        self.0
            .next()
            .and_then(|line| line.split_once(' '))
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value)
            .ok_or(PlanError(name))
    }

    fn time(&mut self, name: &'static str) -> Result<i64, PlanError> {
        self.value(name)?.parse().ok().filter(|time| (0..=253_402_300_799).contains(time)).ok_or(PlanError(name))
    }

    fn count(&mut self, name: &'static str) -> Result<u32, PlanError> {
        number(self.value(name)?).ok_or(PlanError(name))
    }

    fn key(&mut self) -> Result<KeyRef, PlanError> {
        let key = self.key_as_it_is()?;
        if key.purpose.takes(key.algorithm) { Ok(key) } else { Err(PlanError("algorithm: not one for this purpose")) }
    }

    /// Also a key of the design that no caller could make: the transport keys of enrolment.
    fn key_as_it_is(&mut self) -> Result<KeyRef, PlanError> {
        Ok(KeyRef {
            name: self.value("key")?.parse().map_err(|_| PlanError("key"))?,
            version: self.count("version")?,
            purpose: Purpose::named(self.value("purpose")?).ok_or(PlanError("purpose"))?,
            algorithm: KeyAlgorithm::named(self.value("algorithm")?).ok_or(PlanError("algorithm"))?,
        })
    }

    fn kek(&mut self) -> Result<KekRef, PlanError> {
        Ok(KekRef {
            name: self.value("kek")?.parse().map_err(|_| PlanError("kek"))?,
            version: self.count("kek-version")?,
            form: KekForm::named(self.value("form")?).ok_or(PlanError("form"))?,
        })
    }

    fn content(&mut self) -> Result<ContentHash, PlanError> {
        let hash = data_encoding::HEXLOWER.decode(self.value("content")?.as_bytes()).ok();
        hash.and_then(|hash| hash.try_into().ok()).ok_or(PlanError("content: 64 lower-case hexadecimal digits"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A plan for tests.
    pub(crate) fn plan(deed: Deed) -> Plan {
        let requester = "urn:tillward:principal:operator".to_owned();
        Plan { id: [7; 16], requester, created: 1_795_381_200, expires: 1_795_467_600, quorum: 2, deed }
    }

    fn deeds() -> Vec<Deed> {
        let key = KeyRef { name: "acme".parse().expect("parses"), version: 3, purpose: Purpose::Mac, algorithm: KeyAlgorithm::Aes256 };
        let kek = KekRef { name: "partner".parse().expect("parses"), version: 1, form: KekForm::KeyBlock };
        vec![
            Deed::DestroyKey(key.clone()),
            Deed::ReportCompromise(key.clone()),
            Deed::ExportKey(key.clone(), kek.clone()),
            Deed::ImportKey(key, kek, [9; 32]),
            Deed::ChangePolicy([1; 32]),
            Deed::ChangeOfficers([2; 32]),
            Deed::UseRootCa([3; 32]),
        ]
    }

    #[test]
    fn every_deed_is_read_back_and_has_its_name() {
        for (deed, name) in deeds().into_iter().zip(Deed::NAMES) {
            assert_eq!(deed.name(), name);
            let plan = plan(deed);
            assert_eq!(Plan::parse(&plan.to_bytes()), Ok(plan));
        }
    }

    #[test]
    fn a_quorum_of_one_or_none_is_no_plan() {
        for quorum in [0, 1] {
            let plan = Plan { quorum, ..plan(Deed::ChangePolicy([1; 32])) };
            assert!(Plan::parse(&plan.to_bytes()).is_err(), "{quorum}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_parses_is_canonical(at in 0_usize..300, byte: u8) {
            for deed in deeds() {
                let mut bytes = plan(deed).to_bytes();
                let length = bytes.len();
                bytes[at % length] = byte;
                if let Ok(plan) = Plan::parse(&bytes) { prop_assert_eq!(plan.to_bytes(), bytes); }
            }
        }
    }
}
