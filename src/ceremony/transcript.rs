//! The transcript: what was done, as the token told it, signed in the HSM and by those who were there.
//!
//! Signed is `SHA-256("tillward-ceremony 1\n" | body)`, the body as canonical JSON (RFC 8785): by the token's `audit-signing` key (Ed25519 over
//! the digest as its message, or ECDSA P-256 with the digest), and by each person with ECDSA P-256. The body holds the ceremony file itself.

use std::collections::{BTreeMap, BTreeSet};

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature as Ecdsa, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spki::SubjectPublicKeyInfoRef;
use spki::der::{DateTime, Decode as _};
use tillward_hsm::{Approval, ApprovalError, Approved, Deed, Plan, Roster, approval};

use super::file::{CeremonyError, CeremonyFile};

const DOMAIN: &[u8] = b"tillward-ceremony 1\n";

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The ceremony file, byte for byte.
    pub file: String,
    /// Whether it was a rehearsal on a throw-away token.
    pub rehearsal: bool,
    /// Version of Tillward.
    pub software: String,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub ended: String,
    /// The token, as it says itself.
    pub token: TokenSeen,
    /// `SubjectPublicKeyInfo` of `audit-signing`, DER, base64.
    pub token_key: String,
    /// The plan and its approvals, where the file uses the root CA.
    pub approved: Option<Proof>,
    /// Each step of the file, in its order.
    pub steps: Vec<Did>,
}

/// The token as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSeen {
    /// Label.
    pub label: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Firmware version.
    pub firmware: String,
    /// Description and version of the PKCS#11 library.
    pub library: String,
}

/// A plan with its approvals, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The plan.
    pub plan: String,
    /// Officer and signature (base64).
    pub approvals: BTreeMap<String, String>,
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Did {
    /// What was made, in words.
    pub what: String,
    /// RFC 3339.
    pub at: String,
    /// Keys as read back from the token.
    pub keys: Vec<MadeKey>,
    /// What leaves the room.
    pub outputs: Vec<Output>,
}

/// A key as read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeKey {
    /// Label on the token.
    pub label: String,
    /// Type and length.
    pub kind: String,
    /// Whether this ceremony made it.
    pub made: bool,
    /// CMAC check value, or the token's own where the key's use allows no CMAC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_value: Option<String>,
    /// SHA-256 of the public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Attributes.
    pub attributes: BTreeMap<String, bool>,
}

/// Something that leaves the room: a certificate, a wrapped KEK. Nothing secret is in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Name of the file that it is written to.
    pub name: String,
    /// What it is.
    pub what: String,
    /// Its bytes, base64.
    pub content: String,
}

/// A signature under the transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Name of the person, as in the file.
    pub name: String,
    /// 64 bytes, base64.
    pub signature: String,
}

/// Who signed.
pub type Signed = BTreeSet<String>;

/// The transcript with its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcript {
    /// What was done.
    pub body: Body,
    /// By the token's `audit-signing` key, base64.
    pub token_signature: String,
    /// By those who were there.
    pub signatures: Vec<Signature>,
}

/// What a good transcript shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The file.
    pub file: CeremonyFile,
    /// SHA-256 of the token's key: to be compared with the installation's `audit-signing`.
    pub token_key: [u8; 32],
    /// Those who signed.
    pub signed: Signed,
    /// Those who were there and have not signed.
    pub unsigned: Signed,
}

/// Why a transcript proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failing {
    /// Its file is none.
    #[error(transparent)]
    File(#[from] CeremonyError),
    /// The token's key is not one.
    #[error("the token's key is not Ed25519 or EC P-256")]
    TokenKey,
    /// Something was changed, or another token signed.
    #[error("the token's signature does not verify")]
    TokenSignature,
    /// Something was changed, or somebody else signed.
    #[error("the signature of {0} does not verify")]
    Signature(String),
    /// Signed, and not in the file.
    #[error("{0} signed and does not stand in the file")]
    Stranger(String),
    /// Signed twice.
    #[error("{0} signed twice")]
    Twice(String),
    /// The steps done are not those of the file.
    #[error("the steps are not those of the file")]
    Steps,
    /// A key that the file names is missing, or another is there.
    #[error("the keys are not those of the step: {0}")]
    Keys(String),
    /// The root CA was used, and nothing says that it was allowed.
    #[error("the file uses the root CA, and there is no approved plan")]
    Unapproved,
    /// The plan is for something else.
    #[error("the approved plan is not for this file")]
    OtherPlan,
    /// The approvals are not good.
    #[error("the approvals of the ceremony are not good: {0}")]
    Approval(#[from] ApprovalError),
    /// Not a time.
    #[error("the time of the end is not one")]
    Time,
    /// The token is not the file's.
    #[error("the token is {0}, and the file names another")]
    Token(String),
    /// An attribute of a key that may never be.
    #[error("the key {0} is not as a key has to be: it could leave the token or be read")]
    Attributes(String),
}

impl Body {
    /// What is signed.
    #[expect(clippy::missing_panics_doc, reason = "it does not")]
    pub fn digest(&self) -> [u8; 32] {
        let json = serde_jcs::to_vec(self).expect("text, numbers and maps with text keys are JSON");
        Sha256::new_with_prefix(DOMAIN).chain_update(json).finalize().into()
    }
}

impl Transcript {
    /// Verifies everything that can be verified without the token: signatures, file against steps, attributes.
    ///
    /// # Errors
    /// [`Failing`]: the first thing that is wrong.
    pub fn verify(&self) -> Result<Verdict, Failing> {
        let body = &self.body;
        let file = CeremonyFile::parse(&body.file)?;
        let digest = body.digest();
        let der = data_encoding::BASE64.decode(body.token_key.as_bytes()).map_err(|_| Failing::TokenKey)?;
        let signature = data_encoding::BASE64.decode(self.token_signature.as_bytes()).map_err(|_| Failing::TokenSignature)?;
        verify_token(&der, &digest, &signature)?;
        if body.token.label != file.token {
            return Err(Failing::Token(body.token.label.clone()));
        }
        if !body.steps.iter().map(|did| did.what.clone()).eq(file.steps.iter().map(super::Step::describe)) {
            return Err(Failing::Steps);
        }
        for key in body.steps.iter().flat_map(|did| &did.keys) {
            let is = |name: &str| key.attributes.get(name).copied();
            if is("SENSITIVE") != Some(true) || is("EXTRACTABLE") != Some(false) || is("MODIFIABLE") != Some(false) {
                return Err(Failing::Attributes(key.label.clone()));
            }
        }
        for (step, did) in file.steps.iter().zip(&body.steps) {
            let (wanted, found) = (step.labels(), did.keys.iter().map(|key| key.label.clone()).collect::<BTreeSet<_>>());
            let more = found.len() > wanted.len() || did.keys.len() > found.len();
            if !wanted.iter().all(|label| found.contains(label)) || (more && !matches!(step, super::Step::RootCa { .. })) {
                return Err(Failing::Keys(step.describe()));
            }
        }
        if file.uses_root_ca() && !body.rehearsal {
            let proof = body.approved.as_ref().ok_or(Failing::Unapproved)?;
            let plan = Plan::parse(proof.plan.as_bytes()).map_err(ApprovalError::from)?;
            if plan.deed != Deed::UseRootCa(Sha256::digest(body.file.as_bytes()).into()) {
                return Err(Failing::OtherPlan);
            }
        }
        let mut signed = Signed::new();
        for Signature { name, signature } in &self.signatures {
            let person = file.present.iter().find(|person| person.name == *name).ok_or_else(|| Failing::Stranger(name.clone()))?;
            let bytes = data_encoding::BASE64.decode(signature.as_bytes()).ok();
            let signature = bytes.and_then(|bytes| Ecdsa::from_slice(&bytes).ok()).ok_or_else(|| Failing::Signature(name.clone()))?;
            person.verifying_key()?.verify_prehash(&digest, &signature).map_err(|_| Failing::Signature(name.clone()))?;
            if !signed.insert(name.clone()) {
                return Err(Failing::Twice(name.clone()));
            }
        }
        let unsigned = file.present.iter().map(|person| person.name.clone()).filter(|name| !signed.contains(name)).collect();
        Ok(Verdict { file, token_key: Sha256::digest(&der).into(), signed, unsigned })
    }

    /// Verifies the approvals with the officers' keys, at the time of the ceremony's end. `None`: the ceremony took none.
    ///
    /// # Errors
    /// [`Failing`].
    pub fn verify_approvals(&self, roster: &Roster) -> Result<Option<Plan>, Failing> {
        let file = self.verify()?.file;
        if !file.uses_root_ca() || self.body.rehearsal {
            return Ok(None);
        }
        let proof = self.body.approved.as_ref().ok_or(Failing::Unapproved)?;
        let approvals = proof.approvals.iter().map(|(officer, signature)| {
            let bytes = data_encoding::BASE64.decode(signature.as_bytes());
            let signature = bytes.map_err(|_| ApprovalError::Signature(officer.clone()))?;
            Ok(Approval { officer: officer.clone(), signature })
        });
        let approvals = approvals.collect::<Result<Vec<_>, ApprovalError>>()?;
        let ended: DateTime = self.body.ended.parse().map_err(|_| Failing::Time)?;
        let ended = i64::try_from(ended.unix_duration().as_secs()).map_err(|_| Failing::Time)?;
        let approved = Approved { plan: proof.plan.as_bytes().to_vec(), approvals };
        Ok(Some(approval::verify(&approved, roster, ended)?))
    }
}

fn verify_token(der: &[u8], digest: &[u8; 32], signature: &[u8]) -> Result<(), Failing> {
    if let Ok(key) = VerifyingKey::from_public_key_der(der) {
        let signature = Ecdsa::from_slice(signature).map_err(|_| Failing::TokenSignature)?;
        return key.verify_prehash(digest, &signature).map_err(|_| Failing::TokenSignature);
    }
    let key = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| Failing::TokenKey)?;
    // RFC 8410 §3: id-Ed25519.
    if key.algorithm.oid != const_oid::db::rfc8410::ID_ED_25519 {
        return Err(Failing::TokenKey);
    }
    let point = key.subject_public_key.as_bytes().ok_or(Failing::TokenKey)?;
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, point).verify(digest, signature).map_err(|_| Failing::TokenSignature)
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::{example, signing_key};
    use super::*;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use p256::pkcs8::EncodePublicKey as _;

    fn body() -> Body {
        let key = |name: &str| MadeKey {
            label: name.to_owned(),
            kind: "AES-256".to_owned(),
            made: true,
            check_value: Some("0102030405".to_owned()),
            fingerprint: None,
            attributes: [("SENSITIVE", true), ("EXTRACTABLE", false), ("MODIFIABLE", false)].map(|(n, v)| (n.to_owned(), v)).into(),
        };
        let text = |text: &str| text.to_owned();
        Body {
            file: example(),
            rehearsal: false,
            software: text("0.1.0"),
            started: text("2026-11-22T10:00:00Z"),
            ended: text("2026-11-22T10:01:00Z"),
            token: TokenSeen {
                label: text("production"),
                manufacturer: text("m"),
                model: text("m"),
                serial: text("s"),
                firmware: text("2.6"),
                library: text("l"),
            },
            token_key: data_encoding::BASE64.encode(signing_key(9).verifying_key().to_public_key_der().expect("a key").as_bytes()),
            approved: None,
            steps: vec![Did {
                what: CeremonyFile::parse(&example()).expect("parses").steps[0].describe(),
                at: text("2026-11-22T10:00:30Z"),
                keys: vec![key("bdk-pin:acme:E1000001"), key("bdk-data:acme:E1000002")],
                outputs: Vec::new(),
            }],
        }
    }

    fn sign(seed: u8, body: &Body) -> String {
        let signature: Ecdsa = signing_key(seed).sign_prehash(&body.digest()).expect("signs");
        data_encoding::BASE64.encode(&signature.to_bytes())
    }

    fn transcript(body: Body) -> Transcript {
        let by = |name: &str, seed| Signature { name: name.to_owned(), signature: sign(seed, &body) };
        Transcript { token_signature: sign(9, &body), signatures: vec![by("Ada", 1), by("Bob", 2)], body }
    }

    #[test]
    fn a_transcript_says_who_signed_and_who_did_not() {
        let mut good = transcript(body());
        let verdict = good.verify().expect("verifies");
        assert_eq!((verdict.signed.len(), verdict.unsigned.len()), (2, 0));
        good.signatures.pop();
        assert_eq!(good.verify().expect("verifies").unsigned.into_iter().collect::<Vec<_>>(), ["Bob"]);
    }

    #[test]
    fn whatever_is_changed_afterwards_is_found() {
        let good = transcript(body());
        let changes: [fn(&mut Body); 6] = [
            |body| body.rehearsal = true,
            |body| body.token.serial = "other".to_owned(),
            |body| body.ended = "2026-11-23T10:01:00Z".to_owned(),
            |body| body.steps[0].keys[0].check_value = Some("FF02030405".to_owned()),
            |body| body.steps[0].keys.truncate(1),
            |body| body.file = body.file.replace("acme", "else"),
        ];
        for change in changes {
            let mut bad = good.clone();
            change(&mut bad.body);
            assert_eq!(bad.verify(), Err(Failing::TokenSignature));
        }
    }

    #[test]
    fn what_the_token_signed_and_the_file_does_not_say_is_found() {
        let mut other = body();
        other.token.label = "another".to_owned();
        assert_eq!(transcript(other).verify(), Err(Failing::Token("another".to_owned())));
        let mut other = body();
        other.steps.clear();
        assert_eq!(transcript(other).verify(), Err(Failing::Steps));
        let mut other = body();
        other.steps[0].keys[1].attributes.insert("EXTRACTABLE".to_owned(), true);
        assert_eq!(transcript(other).verify(), Err(Failing::Attributes("bdk-data:acme:E1000002".to_owned())));
    }

    #[test]
    fn keys_of_another_name_and_missing_keys_are_found() {
        let changes: [fn(&mut Vec<MadeKey>); 3] =
            [|keys| keys.truncate(1), |keys| keys[1].label = "bdk-data:else:E1000002".to_owned(), |keys| keys.push(keys[0].clone())];
        for change in changes {
            let mut other = body();
            change(&mut other.steps[0].keys);
            assert!(matches!(transcript(other).verify(), Err(Failing::Keys(_))));
        }
    }

    #[test]
    fn a_root_ca_without_a_plan_for_this_file_approved_by_the_officers_is_found() {
        let mut other = body();
        let (head, _) = other.file.split_once("[[step]]").expect("a step");
        other.file = format!("{head}[[step]]\nmake = \"root-ca\"\norganisation = \"Example\"\nroot_days = 3650\nissuing_days = 1095\n");
        other.steps[0].what = CeremonyFile::parse(&other.file).expect("parses").steps[0].describe();
        (other.steps[0].keys[0].label, other.steps[0].keys[1].label) = ("root-ca".to_owned(), "issuing-ca".to_owned());
        assert_eq!(transcript(other.clone()).verify(), Err(Failing::Unapproved));
        let ended: DateTime = other.ended.parse().expect("a time");
        let created = i64::try_from(ended.unix_duration().as_secs()).expect("fits") - 60;
        let approve = |file: &str| {
            let deed = Deed::UseRootCa(Sha256::digest(file.as_bytes()).into());
            let plan = Plan { id: [7; 16], requester: "urn:x:op".to_owned(), created, expires: created + 3600, quorum: 2, deed };
            let approvals = [5, 6].map(|seed| {
                let signature: Ecdsa = signing_key(seed).sign_prehash(&plan.hash()).expect("signs");
                (format!("urn:x:{seed}"), data_encoding::BASE64.encode(&signature.to_bytes()))
            });
            Some(Proof { plan: String::from_utf8(plan.to_bytes()).expect("text"), approvals: approvals.into() })
        };
        let roster = |seeds: [u8; 2]| {
            Roster::parse(&seeds.map(|seed| format!("urn:x:{seed} {}\n", super::super::file::tests::public_key(seed))).concat())
                .expect("a roster")
        };
        other.approved = approve("another file");
        assert_eq!(transcript(other.clone()).verify(), Err(Failing::OtherPlan));
        other.approved = approve(&other.file);
        let good = transcript(other.clone());
        assert!(good.verify_approvals(&roster([5, 6])).expect("approved").is_some());
        assert!(matches!(good.verify_approvals(&roster([5, 8])), Err(Failing::Approval(ApprovalError::Foreign(_)))));
        other.ended = "2026-11-25T10:01:00Z".to_owned();
        assert_eq!(transcript(other).verify_approvals(&roster([5, 6])), Err(Failing::Approval(ApprovalError::Expired)));
    }

    #[test]
    fn a_stranger_a_forger_and_somebody_twice_are_found() {
        let good = transcript(body());
        let mut bad = good.clone();
        bad.signatures[1].name = "Eve".to_owned();
        assert_eq!(bad.verify(), Err(Failing::Stranger("Eve".to_owned())));
        let mut bad = good.clone();
        bad.signatures[1].signature = sign(3, &bad.body);
        assert_eq!(bad.verify(), Err(Failing::Signature("Bob".to_owned())));
        let mut bad = good;
        bad.signatures[1] = bad.signatures[0].clone();
        assert_eq!(bad.verify(), Err(Failing::Twice("Ada".to_owned())));
    }
}
