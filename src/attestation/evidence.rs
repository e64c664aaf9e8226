//! Evidence of format `software` (docs/protocol.md §6): what the application saw of itself.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::attestation::challenge::{ExpiredChallenge, Purpose, VerifiedChallenge};
use crate::attestation::claim::{Claim, ClaimSet, PatchLevel};
use crate::attestation::level::LevelName;
use crate::wire::{Object, ParseError, b64url};

/// How evidence is given. Formats with a hardware root come beside this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The application's own findings.
    Software,
}

/// The `evidence` member as it came: an object, its content unread until the challenge says what has to be in it.
#[derive(Clone)]
pub struct RawEvidence(Object);

impl RawEvidence {
    pub(crate) fn take(body: &mut Object) -> Result<Self, ParseError> {
        body.object("evidence").map(Self)
    }
}

impl fmt::Debug for RawEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawEvidence").finish_non_exhaustive()
    }
}

/// Why evidence does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Something is not of its type.
    #[error("malformed evidence: {0}")]
    Malformed(ParseError),
    /// A demanded claim is missing, or one that was not demanded is there.
    #[error("the evidence does not hold exactly the demanded claims")]
    Incomplete,
}

/// SHA-256 over the RFC 8785 form of the evidence: D.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceDigest([u8; 32]);

impl EvidenceDigest {
    fn of(canonical: &[u8]) -> Self {
        Self(Sha256::digest(canonical).into())
    }

    /// That of evidence which answered a challenge that has expired since: to recognise a request, not to appraise it.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub(crate) fn of_retry(raw: &RawEvidence, challenge: &ExpiredChallenge) -> Result<Self, EvidenceError> {
        parse_claims(raw, challenge.claims()).map(|(_, canonical)| Self::of(&canonical))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The claims, each there exactly if it was demanded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SoftwareClaims {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "digest_text")]
    pub(crate) app_digest: Option<[u8; 32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) os_version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) patch_level: Option<PatchLevel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) debugger: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) emulator: Option<bool>,
}

#[expect(clippy::ref_option, reason = "serde gives the field by reference")]
fn digest_text<S: Serializer>(digest: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
    digest.map(|bytes| b64url::encode(&bytes)).serialize(serializer)
}

#[derive(Serialize)]
struct Whole<'a> {
    claims: &'a SoftwareClaims,
    format: Format,
}

/// Evidence that holds exactly what a challenge demanded. Nobody has vouched for it yet.
#[derive(Debug)]
pub struct Evidence {
    claims: SoftwareClaims,
    digest: EvidenceDigest,
    canonical: Vec<u8>,
    demanded: ClaimSet,
    level: LevelName,
    nonce: [u8; 32],
    purpose: Purpose,
    signature: bool,
}

impl Evidence {
    /// Parses against what `challenge` demands.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn parse(raw: &RawEvidence, challenge: &VerifiedChallenge) -> Result<Self, EvidenceError> {
        let (claims, canonical) = parse_claims(raw, challenge.claims())?;
        Ok(Self {
            digest: EvidenceDigest::of(&canonical),
            claims,
            canonical,
            demanded: challenge.claims().clone(),
            level: challenge.level().clone(),
            nonce: *challenge.nonce(),
            purpose: challenge.purpose(),
            signature: challenge.signature(),
        })
    }

    /// D.
    pub fn digest(&self) -> &EvidenceDigest {
        &self.digest
    }

    /// The RFC 8785 form, to be kept with the decision.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    pub(crate) fn claims(&self) -> &SoftwareClaims {
        &self.claims
    }

    pub(crate) fn demanded(&self) -> &ClaimSet {
        &self.demanded
    }

    /// The level that the challenge asked for.
    pub fn level(&self) -> &LevelName {
        &self.level
    }

    /// The challenge's nonce.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// What the challenge may be answered with.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whether the challenge asked for a signature with the merchant key.
    pub fn signature_demanded(&self) -> bool {
        self.signature
    }
}

/// The claims, and their evidence in RFC 8785 form.
fn parse_claims(raw: &RawEvidence, demanded: &ClaimSet) -> Result<(SoftwareClaims, Vec<u8>), EvidenceError> {
    let RawEvidence(mut evidence) = raw.clone();
    let format = evidence.text("format", 32).map_err(EvidenceError::Malformed)?;
    if format != "software" {
        return Err(EvidenceError::Malformed(ParseError::new("format", "the format that the challenge demands")));
    }
    let mut claims = evidence.object("claims").map_err(EvidenceError::Malformed)?;
    evidence.finish().map_err(EvidenceError::Malformed)?;
    if claims.remaining() != demanded.iter().count() || !demanded.iter().all(|claim| claims.has(claim.name())) {
        return Err(EvidenceError::Incomplete);
    }
    let mut parsed = SoftwareClaims { app_digest: None, os_version: None, patch_level: None, debugger: None, root: None, emulator: None };
    for claim in demanded.iter() {
        take_claim(claim, &mut claims, &mut parsed).map_err(EvidenceError::Malformed)?;
    }
    let canonical = serde_jcs::to_vec(&Whole { claims: &parsed, format: Format::Software }).expect("text keys and plain values");
    Ok((parsed, canonical))
}

fn take_claim(claim: Claim, claims: &mut Object, parsed: &mut SoftwareClaims) -> Result<(), ParseError> {
    let name = claim.name();
    match claim {
        Claim::AppDigest => parsed.app_digest = Some(claims.array(name)?),
        Claim::OsVersion => parsed.os_version = Some(claims.integer(name)?),
        Claim::PatchLevel => {
            parsed.patch_level = Some(claims.text(name, 7)?.parse().map_err(|_| ParseError::new(name, "YYYY-MM"))?);
        }
        Claim::Debugger => parsed.debugger = Some(claims.boolean(name)?),
        Claim::Root => parsed.root = Some(claims.boolean(name)?),
        Claim::Emulator => parsed.emulator = Some(claims.boolean(name)?),
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::attestation::challenge::tests::verified;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    pub(crate) fn raw(evidence: &Value) -> RawEvidence {
        let body = serde_json::to_vec(&json!({ "evidence": evidence })).expect("JSON");
        Object::parse(&body).and_then(|mut body| RawEvidence::take(&mut body)).expect("an object")
    }

    pub(crate) fn good() -> Value {
        json!({"format": "software", "claims": {
            "app_digest": b64url::encode(&[7; 32]), "os_version": 15, "patch_level": "2025-11",
            "debugger": false, "root": false, "emulator": false}})
    }

    fn parse(evidence: &Value, demanded: &[Claim]) -> Result<Evidence, EvidenceError> {
        Evidence::parse(&raw(evidence), &verified("standard", demanded, false))
    }

    #[test]
    fn the_digest_is_that_of_the_jcs_text() {
        let evidence = parse(&good(), &Claim::ALL).expect("parses");
        let text = r#"{"claims":{"app_digest":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc","debugger":false,"emulator":false,"os_version":15,"patch_level":"2025-11","root":false},"format":"software"}"#;
        assert_eq!(std::str::from_utf8(evidence.canonical()), Ok(text));
        assert_eq!(evidence.digest().as_bytes(), &<[u8; 32]>::from(Sha256::digest(text)));
    }

    #[test]
    fn exactly_the_demanded_claims_are_taken() {
        let all = good();
        assert_eq!(parse(&all, &Claim::ALL[..5]).expect_err("one too many"), EvidenceError::Incomplete);
        for claim in Claim::ALL {
            let mut less = good();
            less["claims"].as_object_mut().expect("object").remove(claim.name());
            assert_eq!(parse(&less, &Claim::ALL).expect_err("one missing"), EvidenceError::Incomplete);
            less["claims"]["other"] = json!(true);
            assert_eq!(parse(&less, &Claim::ALL).expect_err("another one"), EvidenceError::Incomplete);
        }
        assert!(parse(&json!({"format": "software", "claims": {"root": true}}), &[Claim::Root]).is_ok());
    }

    #[test]
    fn wrong_types_are_named() {
        for (name, bad) in [
            ("app_digest", json!(b64url::encode(&[7; 31]))),
            ("app_digest", json!(format!("{}x", &b64url::encode(&[7; 32])[..42]))),
            ("os_version", json!(15.0)),
            ("os_version", json!("15")),
            ("os_version", json!(-1)),
            ("patch_level", json!("2025-13")),
            ("patch_level", json!("2025-1")),
            ("patch_level", json!("+025-11")),
            ("debugger", json!(0)),
            ("root", Value::Null),
            ("emulator", json!("false")),
        ] {
            let mut evidence = good();
            evidence["claims"][name] = bad.clone();
            match parse(&evidence, &Claim::ALL) {
                Err(EvidenceError::Malformed(error)) => assert_eq!(error.member, name, "{bad}"),
                other => panic!("{name} {bad}: {other:?}"),
            }
        }
    }

    #[test]
    fn another_format_or_member_is_refused() {
        let mut evidence = good();
        evidence["format"] = json!("android");
        assert!(matches!(parse(&evidence, &Claim::ALL), Err(EvidenceError::Malformed(_))));
        let mut evidence = good();
        evidence["more"] = json!(1);
        assert!(matches!(parse(&evidence, &Claim::ALL), Err(EvidenceError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn what_parses_has_the_canonical_form_of_what_was_sent(
            app: [u8; 32], os: u32, year in 0_u16..=9999, month in 1_u8..=12, debugger: bool, root: bool, emulator: bool,
            take in proptest::sample::subsequence(Claim::ALL.to_vec(), 1..=6),
        ) {
            let mut sent = json!({"format": "software", "claims": {
                "app_digest": b64url::encode(&app), "os_version": os, "patch_level": format!("{year:04}-{month:02}"),
                "debugger": debugger, "root": root, "emulator": emulator}});
            let claims = sent["claims"].as_object_mut().expect("object");
            for claim in Claim::ALL {
                if !take.contains(&claim) { claims.remove(claim.name()); }
            }
            let evidence = parse(&sent, &take).expect("parses");
            prop_assert_eq!(evidence.canonical(), serde_jcs::to_vec(&sent).expect("JSON"));
        }
    }
}
