//! Security levels and their appraisal policy: `policies/appraisal.toml`, parsed whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::attestation::claim::{Claim, ClaimSet, PatchLevel};
use crate::clock::UnixTime;
use crate::wire::b64url;

/// The name of a level: 1 to 32 of `a-z 0-9 -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LevelName(String);

/// Not a [`LevelName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a level name is 1 to 32 of a-z 0-9 -")]
pub struct NotALevelName;

impl LevelName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LevelName {
    type Error = NotALevelName;
    fn try_from(text: String) -> Result<Self, NotALevelName> {
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(text)) } else { Err(NotALevelName) }
    }
}

impl FromStr for LevelName {
    type Err = NotALevelName;
    fn from_str(text: &str) -> Result<Self, NotALevelName> {
        Self::try_from(text.to_owned())
    }
}

impl From<LevelName> for String {
    fn from(name: LevelName) -> Self {
        name.0
    }
}

impl fmt::Display for LevelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a finding means at a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The phone goes on; the back end sees it in the result.
    Warning,
    /// The phone is refused at enrolment and suspended afterwards.
    Contraindicated,
}

/// One level, its parts fitting each other.
#[derive(Debug)]
pub struct LevelPolicy {
    name: LevelName,
    claims: ClaimSet,
    signature: bool,
    period: u32,
    threshold: u32,
    result_validity: u32,
    challenge_validity: u32,
    reference: ReferenceValues,
    findings: BTreeMap<Claim, Severity>,
    policy_id: String,
}

/// Reference values (RFC 9334), there exactly for the demanded claims that need one.
#[derive(Debug)]
pub(crate) struct ReferenceValues {
    pub(crate) app_digests: BTreeSet<[u8; 32]>,
    pub(crate) minimum_os_version: Option<u32>,
    pub(crate) minimum_patch_level: Option<PatchLevel>,
}

impl LevelPolicy {
    /// Its name.
    pub fn name(&self) -> &LevelName {
        &self.name
    }

    /// The claims it demands.
    pub fn claims(&self) -> &ClaimSet {
        &self.claims
    }

    /// Whether a response is signed with the merchant key.
    pub fn signature(&self) -> bool {
        self.signature
    }

    /// Seconds after which the phone attests again of its own accord.
    pub fn period(&self) -> u32 {
        self.period
    }

    /// Seconds: the oldest affirming result that a clearance accepts.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// Seconds from `iat` to `exp` of a result.
    pub fn result_validity(&self) -> u32 {
        self.result_validity
    }

    /// Seconds from `iat` to `exp` of a challenge.
    pub fn challenge_validity(&self) -> u32 {
        self.challenge_validity
    }

    /// `<level>@<SHA-256 of the file, base64url>`.
    pub fn policy_id(&self) -> &str {
        &self.policy_id
    }

    /// Whether an affirming result of the time `last` still carries a clearance at `now`. A result from the future does
    /// not: a clock was set back, and nobody knows how old it is.
    pub fn is_fresh(&self, last: UnixTime, now: UnixTime) -> bool {
        (0..i64::from(self.threshold)).contains(&now.since(last))
    }

    pub(crate) fn reference(&self) -> &ReferenceValues {
        &self.reference
    }

    /// What it means if `claim` does not hold.
    pub(crate) fn severity(&self, claim: Claim) -> Severity {
        // Every demanded claim has its row; for one that is not, the strict reading.
        self.findings.get(&claim).copied().unwrap_or(Severity::Contraindicated)
    }
}

/// The policy file.
#[derive(Debug)]
pub struct AppraisalPolicy {
    levels: BTreeMap<LevelName, LevelPolicy>,
    sha256: [u8; 32],
}

/// Why a policy file is refused. It is the operator's own text, so that it may be shown.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not TOML, or not of this shape.
    #[error("the appraisal policy does not parse")]
    Syntax(#[source] Box<toml::de::Error>),
    /// No level.
    #[error("the appraisal policy has no level")]
    Empty,
    /// The parts of a level do not fit each other.
    #[error("level {level}: {rule}")]
    Level {
        /// Which.
        level: LevelName,
        /// What has to hold.
        rule: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    level: BTreeMap<LevelName, Level>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    claims: ClaimSet,
    signature: bool,
    period: u32,
    threshold: u32,
    result_validity: u32,
    challenge_validity: u32,
    #[serde(default)]
    reference: Reference,
    finding: BTreeMap<Claim, Severity>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    #[serde(default)]
    app_digest: Vec<String>,
    minimum_os_version: Option<u32>,
    minimum_patch_level: Option<PatchLevel>,
}

impl AppraisalPolicy {
    /// Parses the file.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let file: File = toml::from_str(text).map_err(|error| PolicyError::Syntax(Box::new(error)))?;
        let sha256: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let mut levels = BTreeMap::new();
        for (name, level) in file.level {
            let policy_id = format!("{name}@{}", b64url::encode(&sha256));
            let policy = level.check(name.clone(), policy_id).map_err(|rule| PolicyError::Level { level: name.clone(), rule })?;
            levels.insert(name, policy);
        }
        if levels.is_empty() { Err(PolicyError::Empty) } else { Ok(Self { levels, sha256 }) }
    }

    /// The level of that name.
    pub fn level(&self, name: &LevelName) -> Option<&LevelPolicy> {
        self.levels.get(name)
    }

    /// Every level, by name.
    pub fn levels(&self) -> impl Iterator<Item = &LevelPolicy> + '_ {
        self.levels.values()
    }

    /// SHA-256 of the file.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

impl Level {
    fn check(self, name: LevelName, policy_id: String) -> Result<LevelPolicy, &'static str> {
        // A day: what is older says nothing about a phone.
        if ![self.period, self.threshold, self.result_validity].iter().all(|seconds| (1..=86_400).contains(seconds)) {
            return Err("period, threshold and result_validity are 1 to 86400 seconds");
        }
        if !(30..=3600).contains(&self.challenge_validity) {
            return Err("challenge_validity is 30 to 3600 seconds");
        }
        if self.threshold < self.period {
            return Err("threshold is not shorter than period, or every clearance between two attestations is refused");
        }
        if !self.finding.keys().copied().eq(self.claims.iter()) {
            return Err("[finding] has one row for each of claims, and no other");
        }
        let reference = self.reference.check(&self.claims)?;
        Ok(LevelPolicy {
            name,
            claims: self.claims,
            signature: self.signature,
            period: self.period,
            threshold: self.threshold,
            result_validity: self.result_validity,
            challenge_validity: self.challenge_validity,
            reference,
            findings: self.finding,
            policy_id,
        })
    }
}

impl Reference {
    fn check(self, claims: &ClaimSet) -> Result<ReferenceValues, &'static str> {
        let mut app_digests = BTreeSet::new();
        for text in &self.app_digest {
            let digest = b64url::decode_array(text).ok_or("reference.app_digest holds SHA-256 digests, base64url")?;
            if !app_digests.insert(digest) {
                return Err("reference.app_digest holds a digest twice");
            }
        }
        if claims.contains(Claim::AppDigest) == app_digests.is_empty() {
            return Err("reference.app_digest is there exactly if app_digest is demanded");
        }
        if claims.contains(Claim::OsVersion) != self.minimum_os_version.is_some() {
            return Err("reference.minimum_os_version is there exactly if os_version is demanded");
        }
        if claims.contains(Claim::PatchLevel) != self.minimum_patch_level.is_some() {
            return Err("reference.minimum_patch_level is there exactly if patch_level is demanded");
        }
        Ok(ReferenceValues { app_digests, minimum_os_version: self.minimum_os_version, minimum_patch_level: self.minimum_patch_level })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = include_str!("../../policies/appraisal.toml");

    /// The policy of the repository.
    pub(crate) fn example() -> AppraisalPolicy {
        AppraisalPolicy::parse(EXAMPLE).expect("the example parses")
    }

    const LEVEL: &str = r#"
        [level.a]
        claims = ["os_version", "root"]
        signature = false
        period = 300
        threshold = 600
        result_validity = 600
        challenge_validity = 300
        [level.a.reference]
        minimum_os_version = 10
        [level.a.finding]
        os_version = "warning"
        root = "contraindicated"
    "#;

    #[test]
    fn the_example_has_three_levels_that_demand_more_and_more() {
        let policy = example();
        let names: Vec<_> = policy.levels().map(|level| level.name().as_str()).collect();
        assert_eq!(names, ["basic", "full", "standard"]);
        let count = |name: &str| policy.level(&name.parse().expect("a name")).expect("there").claims().iter().count();
        assert!(count("basic") < count("standard") && count("standard") <= count("full"));
    }

    #[test]
    fn the_policy_id_is_level_and_digest_of_the_file() {
        let policy = AppraisalPolicy::parse(LEVEL).expect("parses");
        let id = format!("a@{}", b64url::encode(&Sha256::digest(LEVEL)));
        assert_eq!(policy.levels().next().map(LevelPolicy::policy_id), Some(id.as_str()));
        assert_ne!(AppraisalPolicy::parse(&format!("{LEVEL}\n")).expect("parses").sha256(), policy.sha256());
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (from, to) in [
            ("signature = false", "signature = false\nextra = 1"),
            ("[level.a.finding]", "[level.a.finding]\nother = \"warning\""),
            ("[level.a.finding]", "[level.a.finding]\nemulator = \"warning\""),
            ("root = \"contraindicated\"", ""),
            ("root = \"contraindicated\"", "root = \"affirming\""),
            ("minimum_os_version = 10", ""),
            ("minimum_os_version = 10", "minimum_os_version = 10\nminimum_patch_level = \"2024-01\""),
            ("minimum_os_version = 10", "minimum_os_version = 10\napp_digest = [\"AA\"]"),
            ("[\"os_version\", \"root\"]", "[\"os_version\", \"root\", \"root\"]"),
            ("[\"os_version\", \"root\"]", "[]"),
            ("threshold = 600", "threshold = 299"),
            ("period = 300", "period = 0"),
            ("result_validity = 600", "result_validity = 86401"),
            ("challenge_validity = 300", "challenge_validity = 29"),
            ("level.a", "level.\"A b\""),
            ("signature = false", "signature = false\nsignature = true"),
        ] {
            let text = LEVEL.replace(from, to);
            assert_ne!(text, LEVEL, "{from}");
            assert!(AppraisalPolicy::parse(&text).is_err(), "{to}");
        }
        assert!(matches!(AppraisalPolicy::parse("[level]"), Err(PolicyError::Empty)));
        assert!(AppraisalPolicy::parse(LEVEL).is_ok());
    }

    #[test]
    fn an_affirming_result_is_fresh_until_the_threshold_and_never_from_the_future() {
        let policy = AppraisalPolicy::parse(LEVEL).expect("parses");
        let level = policy.levels().next().expect("one");
        let fresh = |age: i64| level.is_fresh(UnixTime(1_000_000), UnixTime(1_000_000 + age));
        assert_eq!([fresh(-1), fresh(0), fresh(599), fresh(600)], [false, true, true, false]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = AppraisalPolicy::parse(&text);
        }

        #[test]
        fn no_changed_line_panics(at in any::<prop::sample::Index>(), with in "[ -~]") {
            let mut text = LEVEL.to_owned();
            let at = at.index(text.len());
            text.replace_range(at..=at, &with);
            let _ = AppraisalPolicy::parse(&text);
        }
    }
}
