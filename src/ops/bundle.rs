//! A plan and its approvals as a file, and the look at them without the service: pure, the officers' keys decide.

use std::collections::BTreeMap;

use crate::authz::Action;
use crate::schema;
use serde::{Deserialize, Serialize};
use tillward_hsm::{Approval, ApprovalError, Approved, Deed, Plan, Roster, RosterError, approval};

/// Plan and approvals in one file. What it proves, it proves with the officers' keys: the verifier brings its own roster, or compares the keys
/// of this one.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// `tillward-approval-bundle-1`.
    pub kind: String,
    /// The plan: what is hashed.
    pub plan: String,
    /// SHA-256 of the plan, lower-case hexadecimal.
    #[schema(schema_with = schema::fingerprint)]
    pub hash: String,
    /// open, executed, cancelled or expired: the service's word, not proven by a signature.
    pub state: String,
    /// The approvals.
    #[schema(inline)]
    pub approvals: Vec<BundledApproval>,
}

/// One approval in a bundle.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BundledApproval {
    /// URI of the officer.
    pub officer: String,
    /// ECDSA P-256 over the hash, `r` | `s`, base64url.
    #[schema(schema_with = schema::base64url::<64, 64>)]
    pub signature: String,
    /// When it came, RFC 3339: the service's word.
    #[schema(schema_with = schema::time)]
    pub at: String,
    /// The officer's public key as the service knows it (`SubjectPublicKeyInfo`, DER, base64); missing where the officer is none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// Why a bundle or an entry of the audit log proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is not of the documented form.
    #[error("not of the documented form: {0}")]
    Form(&'static str),
    /// The hash beside the plan is not its own.
    #[error("the hash is not that of the plan")]
    Hash,
    /// The keys in the bundle are no roster.
    #[error("the officers' keys cannot be used")]
    Keys(#[from] RosterError),
    /// What takes a quorum was done, and the entry has no plan.
    #[error("it takes a plan, and there is none")]
    Unplanned,
    /// The plan is about something else.
    #[error("the plan is not about what was done")]
    Other,
    /// The approvals do not verify.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
}

impl Bundle {
    /// The first member of every bundle.
    pub const KIND: &str = "tillward-approval-bundle-1";

    /// Reads a bundle.
    ///
    /// # Errors
    /// [`BundleError::Form`].
    pub fn parse(json: &[u8]) -> Result<Self, BundleError> {
        let bundle: Self = serde_json::from_slice(json).map_err(|_| BundleError::Form("a bundle of plan and approvals"))?;
        if bundle.kind == Self::KIND { Ok(bundle) } else { Err(BundleError::Form("its kind is another")) }
    }

    /// Verifies it with the keys of this roster, or with those that it brings: then only as far as those are the officers'. At `now` (seconds since
    /// 1970) it must not have expired; without, only plan, quorum and signatures are looked at, as for a plan that was executed long ago.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn verify(&self, roster: Option<&Roster>, now: Option<i64>) -> Result<Plan, BundleError> {
        if data_encoding::HEXLOWER.encode(&super::sha256(self.plan.as_bytes())) != self.hash {
            return Err(BundleError::Hash);
        }
        let own = if roster.is_some() { Roster::default() } else { self.roster()? };
        verify(&self.approved()?, roster.unwrap_or(&own), now)
    }

    /// Plan and signatures, as the host takes them. Nothing is verified by this.
    ///
    /// # Errors
    /// [`BundleError::Form`].
    pub fn approved(&self) -> Result<Approved, BundleError> {
        let approvals: Result<Vec<_>, _> =
            self.approvals.iter().map(|approval| to_approval(&approval.officer, &approval.signature)).collect();
        Ok(Approved { plan: self.plan.as_bytes().to_vec(), approvals: approvals? })
    }

    /// The keys that it brings, as an officers' file.
    ///
    /// # Errors
    /// [`BundleError::Keys`]: the same key under two names, for one.
    pub fn roster(&self) -> Result<Roster, BundleError> {
        let lines = self.approvals.iter().filter_map(|approval| {
            let key = approval.public_key.as_ref()?;
            // A line end would be another line of the file.
            let one_line = approval.officer.bytes().chain(key.bytes()).all(|b| b.is_ascii_graphic());
            one_line.then(|| format!("{} {key}\n", approval.officer))
        });
        Ok(Roster::parse(&lines.collect::<String>())?)
    }
}

/// Verifies an effect in the audit log, with the keys of this roster: what needs a plan has it, approved, and about what was done. `None`: it needs none.
///
/// # Errors
/// [`BundleError`].
pub fn verify_entry(action: &str, resource: &str, detail: &BTreeMap<String, String>, roster: &Roster) -> Result<Option<Plan>, BundleError> {
    let action = Action::named(action).ok_or(BundleError::Form("an action that is known"))?;
    if !action.needs_a_plan() {
        return Ok(None);
    }
    let (Some(plan), Some(hash)) = (detail.get("plan"), detail.get("plan_hash")) else {
        return Err(BundleError::Unplanned);
    };
    if data_encoding::HEXUPPER.encode(&super::sha256(plan.as_bytes())) != *hash {
        return Err(BundleError::Hash);
    }
    let facts = detail.iter().filter(|(name, _)| name.starts_with("approval_"));
    let approvals: Result<Vec<_>, _> = facts
        .map(|(_, fact)| {
            let (officer, signature) = fact.split_once(' ').ok_or(BundleError::Form("an officer and a signature"))?;
            to_approval(officer, signature)
        })
        .collect();
    let plan = verify(&Approved { plan: plan.as_bytes().to_vec(), approvals: approvals? }, roster, None)?;
    if super::deed::action(&plan.deed) == action && is_about(&plan.deed, resource, detail) {
        Ok(Some(plan))
    } else {
        Err(BundleError::Other)
    }
}

fn is_about(deed: &Deed, resource: &str, detail: &BTreeMap<String, String>) -> bool {
    match deed {
        Deed::DestroyKey(key) | Deed::ReportCompromise(key) | Deed::ExportKey(key, _) | Deed::ImportKey(key, _, _) => {
            resource.strip_prefix("key ") == Some(key.name.as_str()) && detail.get("version") == Some(&key.version.to_string())
        }
        Deed::ChangePolicy(digest) | Deed::ChangeOfficers(digest) => detail.get("pinned") == Some(&data_encoding::HEXUPPER.encode(digest)),
        Deed::UseRootCa(digest) => detail.get("content") == Some(&data_encoding::HEXUPPER.encode(digest)),
    }
}

fn verify(approved: &Approved, roster: &Roster, now: Option<i64>) -> Result<Plan, BundleError> {
    let created = Plan::parse(&approved.plan).map_err(ApprovalError::from)?.created;
    Ok(approval::verify(approved, roster, now.unwrap_or(created))?)
}

fn to_approval(officer: &str, signature: &str) -> Result<Approval, BundleError> {
    let signature =
        data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| BundleError::Form("a signature in base64url"))?;
    Ok(Approval { officer: officer.to_owned(), signature })
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use p256::ecdsa::{Signature, SigningKey};
    use p256::pkcs8::EncodePublicKey as _;
    use tillward_hsm::{KekForm, KekRef, KeyAlgorithm, KeyRef, Purpose};

    fn officer(seed: u8) -> (String, SigningKey) {
        (format!("urn:tillward:principal:officer-{seed}"), SigningKey::from_slice(&[seed; 32]).expect("a scalar"))
    }

    #[test]
    fn what_takes_a_quorum_is_not_proven_without_a_plan_about_just_that() {
        let lines = [1, 2].map(officer).map(|(uri, key)| {
            let spki = key.verifying_key().to_public_key_der().expect("a key");
            format!("{uri} {}\n", data_encoding::BASE64.encode(spki.as_bytes()))
        });
        let roster = Roster::parse(&lines.concat()).expect("a roster");
        let key = KeyRef { name: "acme".parse().expect("a name"), version: 3, purpose: Purpose::Mac, algorithm: KeyAlgorithm::Aes256 };
        let kek = KekRef { name: "partner".parse().expect("a name"), version: 1, form: KekForm::KeyBlock };
        let requester = "urn:tillward:principal:operator".to_owned();
        let (created, expires) = (1_795_381_200, 1_795_467_600);
        let plan = Plan { id: [7; 16], requester, created, expires, quorum: 2, deed: Deed::ExportKey(key, kek) };
        let mut detail = BTreeMap::from([
            ("version".to_owned(), "3".to_owned()),
            ("plan".to_owned(), String::from_utf8(plan.to_bytes()).expect("text")),
            ("plan_hash".to_owned(), data_encoding::HEXUPPER.encode(&plan.hash())),
        ]);
        for seed in [1, 2] {
            let (uri, key) = officer(seed);
            let signature: Signature = key.sign_prehash(&plan.hash()).expect("signs");
            let signature = data_encoding::BASE64URL_NOPAD.encode(&signature.to_bytes());
            detail.insert(format!("approval_{seed}"), format!("{uri} {signature}"));
        }
        let look = |action: &str, resource: &str, detail: &BTreeMap<String, String>| verify_entry(action, resource, detail, &roster);
        assert_eq!(look("export_key", "key acme", &detail).expect("proven"), Some(plan));
        assert!(matches!(look("export_key", "key other", &detail), Err(BundleError::Other)));
        assert!(matches!(look("destroy_key", "key acme", &detail), Err(BundleError::Other)));
        let without = |names: &[&str]| {
            let mut less = detail.clone();
            less.retain(|name, _| !names.contains(&name.as_str()));
            less
        };
        assert!(matches!(look("export_key", "key acme", &without(&["plan"])), Err(BundleError::Unplanned)));
        assert!(matches!(look("export_key", "key acme", &without(&["version"])), Err(BundleError::Other)));
        assert!(matches!(look("export_key", "key acme", &without(&["approval_1"])), Err(BundleError::Approval(_))));
        assert!(matches!(look("export_key", "key acme", &BTreeMap::new()), Err(BundleError::Unplanned)));
        assert!(look("finish_destruction", "key acme", &BTreeMap::new()).expect("needs no plan").is_none());
        assert!(matches!(look("nothing", "key acme", &detail), Err(BundleError::Form(_))));
    }
}
