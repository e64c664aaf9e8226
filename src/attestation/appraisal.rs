//! Appraisal: verified evidence against the level's policy gives a trustworthiness vector (AR4SI, draft-ietf-rats-ar4si).

use serde::Serialize;

use crate::attestation::claim::{Claim, PatchLevel};
use crate::attestation::evidence::{Evidence, SoftwareClaims};
use crate::attestation::level::{LevelName, LevelPolicy, Severity};
use crate::attestation::proof::VerifiedEvidence;
use crate::clock::UnixTime;

/// AR4SI tier, worse to the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Nothing is claimed.
    None,
    /// As it should be.
    Affirming,
    /// Something to know.
    Warning,
    /// Not to be trusted.
    Contraindicated,
}

impl Tier {
    /// The tier of a trustworthiness claim's value (AR4SI §2.3.2). Values outside 0..=127 are not made here; they get
    /// the worst tier.
    pub fn of(value: i8) -> Self {
        match value {
            // -1 verifier malfunction, 0 no claim, 1 unexpected evidence: nothing is asserted.
            -1..=1 => Self::None,
            2..=31 => Self::Affirming,
            32..=95 => Self::Warning,
            _ => Self::Contraindicated,
        }
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }
}

/// The trustworthiness claims that this verifier makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrustVector {
    /// 2: the instance is recognised (it holds the second secret).
    instance_identity: i8,
    /// 2 approved, 32 known vulnerabilities, 96 unacceptable.
    configuration: i8,
    /// 3 approved at start, 33 something unrecognised, 96 unacceptable.
    executables: i8,
    /// 0: software evidence has no hardware root. 32 or 97 where the phone says that it is an emulator.
    hardware: i8,
}

impl TrustVector {
    /// The worst tier of the claims: what `ear.status` may at best be.
    pub fn status(&self) -> Tier {
        [self.instance_identity, self.configuration, self.executables, self.hardware].map(Tier::of).into_iter().max().unwrap_or(Tier::None)
    }
}

/// A check that did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The claim in the evidence.
    pub check: Claim,
    /// What the policy makes of it.
    pub tier: Tier,
    /// Stable code.
    pub reason: &'static str,
}

/// The verdict.
#[derive(Debug)]
pub struct Appraisal {
    evidence: Evidence,
    policy_id: String,
    result_validity: u32,
    at: UnixTime,
    vector: TrustVector,
    findings: Vec<Finding>,
}

/// The policy is not the one that the challenge was made from: it was changed in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the challenge was made under another policy")]
pub struct PolicyChanged;

/// Appraises.
///
/// # Errors
/// [`PolicyChanged`] if the level or its demanded claims are not those of the challenge.
pub fn appraise(evidence: VerifiedEvidence, policy: &LevelPolicy, now: UnixTime) -> Result<Appraisal, PolicyChanged> {
    let evidence = evidence.into_evidence();
    if evidence.level() != policy.name() || evidence.demanded() != policy.claims() {
        return Err(PolicyChanged);
    }
    let mut findings = Vec::new();
    for claim in policy.claims().iter() {
        if let Some(reason) = failed(claim, evidence.claims(), policy, now) {
            let tier = match policy.severity(claim) {
                Severity::Warning => Tier::Warning,
                Severity::Contraindicated => Tier::Contraindicated,
            };
            findings.push(Finding { check: claim, tier, reason });
        }
    }
    Ok(Appraisal {
        evidence,
        policy_id: policy.policy_id().to_owned(),
        result_validity: policy.result_validity(),
        at: now,
        vector: vector(policy, &findings),
        findings,
    })
}

/// Why `claim` does not hold. A demanded claim that is not there does not hold.
fn failed(claim: Claim, claims: &SoftwareClaims, policy: &LevelPolicy, now: UnixTime) -> Option<&'static str> {
    let reference = policy.reference();
    match claim {
        Claim::AppDigest => {
            let known = claims.app_digest.is_some_and(|digest| reference.app_digests.contains(&digest));
            (!known).then_some("app-digest-unknown")
        }
        Claim::OsVersion => {
            let recent = claims.os_version.zip(reference.minimum_os_version).is_some_and(|(is, floor)| is >= floor);
            (!recent).then_some("os-version-too-old")
        }
        Claim::PatchLevel => match claims.patch_level.zip(reference.minimum_patch_level) {
            Some((is, floor)) if is >= floor => (!plausible(is, now)).then_some("patch-level-in-the-future"),
            _ => Some("patch-level-too-old"),
        },
        Claim::Debugger => (claims.debugger != Some(false)).then_some("debugger-found"),
        Claim::Root => (claims.root != Some(false)).then_some("root-found"),
        Claim::Emulator => (claims.emulator != Some(false)).then_some("emulator-found"),
    }
}

/// Patches are published about a month ahead at most; a later level is made up.
fn plausible(patch: PatchLevel, now: UnixTime) -> bool {
    let Ok(time) = jiff::Timestamp::from_second(now.0) else { return false };
    let date = time.to_zoned(jiff::tz::TimeZone::UTC);
    patch.months() <= i32::from(date.year()) * 12 + i32::from(date.month())
}

/// Which trustworthiness claim a claim of the evidence speaks for, and the values of AR4SI §2.3.4 for its two findings.
fn speaks_for(claim: Claim) -> (fn(&mut TrustVector) -> &mut i8, i8, i8) {
    match claim {
        Claim::AppDigest | Claim::Debugger => (|vector| &mut vector.executables, 33, 96),
        Claim::OsVersion | Claim::PatchLevel | Claim::Root => (|vector| &mut vector.configuration, 32, 96),
        Claim::Emulator => (|vector| &mut vector.hardware, 32, 97),
    }
}

fn vector(policy: &LevelPolicy, findings: &[Finding]) -> TrustVector {
    let demands = |claims: &[Claim]| claims.iter().any(|claim| policy.claims().contains(*claim));
    let mut vector = TrustVector {
        instance_identity: 2,
        configuration: if demands(&[Claim::OsVersion, Claim::PatchLevel, Claim::Root]) { 2 } else { 0 },
        executables: if demands(&[Claim::AppDigest]) { 3 } else { 0 },
        hardware: 0,
    };
    for finding in findings {
        let (place, warning, contraindicated) = speaks_for(finding.check);
        let value = if finding.tier == Tier::Warning { warning } else { contraindicated };
        let place = place(&mut vector);
        *place = value.max(*place);
    }
    vector
}

impl Appraisal {
    /// `ear.status`: the worst of the vector.
    pub fn status(&self) -> Tier {
        self.vector.status()
    }

    /// The vector.
    pub fn vector(&self) -> &TrustVector {
        &self.vector
    }

    /// What did not pass, in the order of the claims.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What was appraised: to be kept with the verdict.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The level.
    pub fn level(&self) -> &LevelName {
        self.evidence.level()
    }

    /// When.
    pub fn at(&self) -> UnixTime {
        self.at
    }

    /// The policy it was made under: `<level>@<SHA-256 of the file>`.
    pub fn policy_id(&self) -> &str {
        &self.policy_id
    }

    pub(crate) fn result_validity(&self) -> u32 {
        self.result_validity
    }

    pub(crate) fn nonce(&self) -> &[u8; 32] {
        self.evidence.nonce()
    }

    /// At enrolment and afterwards: the phone is not to be trusted.
    pub fn is_contraindicated(&self) -> bool {
        self.status() == Tier::Contraindicated
    }
}

/// At enrolment the phone is refused; the reasons go into the problem's detail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the appraisal refuses the phone: {}", .0.iter().map(|finding| finding.reason).collect::<Vec<_>>().join(", "))]
pub struct Refused(pub Vec<Finding>);

/// An appraisal that lets a phone be enrolled: at worst a warning.
#[derive(Debug)]
pub struct Accepted(Appraisal);

impl Accepted {
    /// # Errors
    /// [`Refused`] with what was found, if the appraisal is contraindicated.
    pub fn at_enrolment(appraisal: Appraisal) -> Result<Self, Refused> {
        if appraisal.is_contraindicated() { Err(Refused(appraisal.findings)) } else { Ok(Self(appraisal)) }
    }

    /// The appraisal.
    pub fn appraisal(&self) -> &Appraisal {
        &self.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::attestation::level::AppraisalPolicy;
    use crate::attestation::proof::tests::verified_evidence;
    use crate::wire::b64url;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// 2025-11-22.
    pub(crate) const NOW: UnixTime = UnixTime(1_763_823_600);

    fn policy(findings: [&str; 6]) -> AppraisalPolicy {
        let [app, os, patch, debugger, root, emulator] = findings;
        AppraisalPolicy::parse(&format!(
            r#"
            [level.all]
            claims = ["app_digest", "os_version", "patch_level", "debugger", "root", "emulator"]
            signature = false
            period = 300
            threshold = 600
            result_validity = 600
            challenge_validity = 300
            [level.all.reference]
            app_digest = ["{}"]
            minimum_os_version = 12
            minimum_patch_level = "2025-01"
            [level.all.finding]
            app_digest = "{app}"
            os_version = "{os}"
            patch_level = "{patch}"
            debugger = "{debugger}"
            root = "{root}"
            emulator = "{emulator}"
            "#,
            b64url::encode(&[7; 32])
        ))
        .expect("parses")
    }

    fn good() -> Value {
        json!({"format": "software", "claims": {
            "app_digest": b64url::encode(&[7; 32]), "os_version": 12, "patch_level": "2025-01",
            "debugger": false, "root": false, "emulator": false}})
    }

    pub(crate) fn appraisal(change: &[(&str, Value)], severity: &str) -> Appraisal {
        let policy = policy([severity; 6]);
        let mut evidence = good();
        for (name, value) in change {
            evidence["claims"][*name] = value.clone();
        }
        appraise(verified_evidence("all", &evidence), policy.levels().next().expect("one"), NOW).expect("one policy")
    }

    fn bad() -> [(&'static str, Value, &'static str); 7] {
        [
            ("app_digest", json!(b64url::encode(&[8; 32])), "app-digest-unknown"),
            ("os_version", json!(11), "os-version-too-old"),
            ("patch_level", json!("2024-12"), "patch-level-too-old"),
            ("patch_level", json!("2026-01"), "patch-level-in-the-future"),
            ("debugger", json!(true), "debugger-found"),
            ("root", json!(true), "root-found"),
            ("emulator", json!(true), "emulator-found"),
        ]
    }

    #[test]
    fn a_phone_as_it_should_be_is_affirmed_with_the_vector_of_the_protocol() {
        let appraisal = appraisal(&[], "contraindicated");
        assert_eq!(appraisal.status(), Tier::Affirming);
        assert!(appraisal.findings().is_empty());
        let vector = json!({"instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 0});
        assert_eq!(serde_json::to_value(appraisal.vector()).expect("JSON"), vector);
        assert!(Accepted::at_enrolment(appraisal).is_ok());
    }

    #[test]
    fn every_check_can_fail_and_means_what_the_policy_says() {
        for (name, value, reason) in bad() {
            for (severity, tier) in [("warning", Tier::Warning), ("contraindicated", Tier::Contraindicated)] {
                let appraisal = appraisal(&[(name, value.clone())], severity);
                let found: Vec<_> = appraisal.findings().iter().map(|f| (f.check.name(), f.tier, f.reason)).collect();
                assert_eq!(found, [(name, tier, reason)]);
                assert_eq!(appraisal.status(), tier, "{name}");
                assert_eq!(Accepted::at_enrolment(appraisal).is_err(), tier == Tier::Contraindicated);
            }
        }
    }

    #[test]
    fn the_refusal_names_the_checks() {
        let appraisal = appraisal(&[("root", json!(true)), ("debugger", json!(true))], "contraindicated");
        let refused = Accepted::at_enrolment(appraisal).expect_err("refused");
        assert_eq!(refused.to_string(), "the appraisal refuses the phone: debugger-found, root-found");
    }

    #[test]
    fn next_months_patch_is_plausible() {
        assert_eq!(appraisal(&[("patch_level", json!("2025-12"))], "contraindicated").status(), Tier::Affirming);
    }

    #[test]
    fn another_level_or_other_claims_than_the_challenges_are_not_appraised() {
        let policy = policy(["warning"; 6]);
        let level = policy.levels().next().expect("one");
        assert_eq!(appraise(verified_evidence("other", &good()), level, NOW).err(), Some(PolicyChanged));
        let mut less = good();
        less["claims"].as_object_mut().expect("object").remove("root");
        assert_eq!(appraise(verified_evidence("all", &less), level, NOW).err(), Some(PolicyChanged));
    }

    proptest! {
        #[test]
        fn the_status_is_the_worst_finding(which in proptest::sample::subsequence((0..7).collect::<Vec<usize>>(), 0..=7), severe: [bool; 6]) {
            let names = severe.map(|severe| if severe { "contraindicated" } else { "warning" });
            let policy = policy(names);
            let mut evidence = good();
            let mut worst = Tier::Affirming;
            for index in which {
                let (name, value, _) = &bad()[index];
                evidence["claims"][*name] = value.clone();
                let row = Claim::ALL.iter().position(|claim| claim.name() == *name).expect("a claim");
                worst = worst.max(if severe[row] { Tier::Contraindicated } else { Tier::Warning });
            }
            let appraisal = appraise(verified_evidence("all", &evidence), policy.levels().next().expect("one"), NOW).expect("one policy");
            prop_assert_eq!(appraisal.status(), worst);
        }
    }
}
