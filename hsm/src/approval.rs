//! Approvals that prove themselves: signatures of officers over the hash of a plan. Pure; the same function decides in the service, in the host
//! and in the offline verifier.

use std::collections::{BTreeMap, BTreeSet};

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, PlanError};

/// The officers whose approvals count, with their public keys (EC P-256).
///
/// A text file, a line an officer: `<URI of the principal> <SubjectPublicKeyInfo, DER, base64>`. Empty lines and lines that begin with `#` say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster(BTreeMap<String, VerifyingKey>);

/// Why a roster cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the officers' file: {problem}")]
pub struct RosterError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

impl Roster {
    /// Reads the file.
    ///
    /// # Errors
    /// [`RosterError`] names the line: two names, two fields, one key a person.
    pub fn parse(text: &str) -> Result<Self, RosterError> {
        let mut officers = BTreeMap::new();
        let mut keys: Vec<VerifyingKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let refused = |problem| RosterError { line: index + 1, problem };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (uri, key) = line.split_once(' ').ok_or_else(|| refused("a URI, a blank, a public key"))?;
            let der = data_encoding::BASE64.decode(key.trim().as_bytes()).map_err(|_| refused("the key is not base64"))?;
            let key = VerifyingKey::from_public_key_der(&der).map_err(|_| refused("the key is not EC P-256"))?;
            if uri.len() > 255 || !uri.contains(':') || !uri.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(refused("the URI is not one"));
            }
            // One person with two names would be a quorum. Points are compared, not encodings: one key has several.
            if keys.contains(&key) {
                return Err(refused("the key is another officer's"));
            }
            keys.push(key);
            if keys.len() > LARGEST_ROSTER {
                return Err(refused("there are more than 64 officers"));
            }
            if officers.insert(uri.to_owned(), key).is_some() {
                return Err(refused("the officer stands in the file already"));
            }
        }
        Ok(Self(officers))
    }

    /// The officers' URIs.
    pub fn officers(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The key of an officer.
    pub fn key(&self, officer: &str) -> Option<&VerifyingKey> {
        self.0.get(officer)
    }

    /// The key of an officer as a file carries it: `SubjectPublicKeyInfo`, DER.
    pub fn spki(&self, officer: &str) -> Option<Vec<u8>> {
        self.key(officer)?.to_public_key_der().ok().map(|der| der.as_bytes().to_vec())
    }

    /// How many of them can approve what `requester` asks for.
    pub fn who_can_approve(&self, requester: &str) -> usize {
        self.officers().filter(|officer| *officer != requester).count()
    }
}

/// A roster is a page that people read.
const LARGEST_ROSTER: usize = 64;

/// An officer's signature over a plan's hash: ECDSA P-256, `r` | `s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// URI of the officer.
    pub officer: String,
    /// 64 bytes.
    pub signature: Vec<u8>,
}

/// A plan as it was signed, and the signatures: what is sent to the host with what only a quorum may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// The canonical bytes.
    pub plan: Vec<u8>,
    /// Each by another officer.
    pub approvals: Vec<Approval>,
}

/// Why a plan is not approved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// The bytes are not a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It was not executed in time.
    #[error("the plan has expired")]
    Expired,
    /// Fewer than the quorum.
    #[error("{have} of {need} approvals")]
    TooFew {
        /// Good ones.
        have: u32,
        /// The quorum.
        need: u32,
    },
    /// More than [`MOST`].
    #[error("more than {MOST} approvals")]
    TooMany,
    /// The requester approved it.
    #[error("the requester cannot approve")]
    OwnRequest,
    /// An officer approved it twice.
    #[error("{0} approved twice")]
    Twice(String),
    /// Not an officer.
    #[error("{0} is not an officer of the roster")]
    Foreign(String),
    /// The signature is over something else, or by another key.
    #[error("the signature of {0} does not verify")]
    Signature(String),
}

/// Verifies one approval.
///
/// # Errors
/// [`ApprovalError`].
pub fn verify_one(plan: &Plan, approval: &Approval, roster: &Roster) -> Result<(), ApprovalError> {
    let officer = || approval.officer.clone();
    if approval.officer == plan.requester {
        return Err(ApprovalError::OwnRequest);
    }
    let key = roster.key(&approval.officer).ok_or_else(|| ApprovalError::Foreign(officer()))?;
    let signature = Signature::from_slice(&approval.signature).map_err(|_| ApprovalError::Signature(officer()))?;
    key.verify_prehash(&plan.hash(), &signature).map_err(|_| ApprovalError::Signature(officer()))
}

/// Verifies a plan with all its approvals at the time `now` (seconds since 1970). One bad approval spoils it.
///
/// # Errors
/// [`ApprovalError`].
pub fn verify(approved: &Approved, roster: &Roster, now: i64) -> Result<Plan, ApprovalError> {
    verify_until(approved, roster, now, false, |plan| plan.expires)
}

/// The same of a plan that was executed in time, and whose effect on the token comes later: a destruction, after its waiting period. The plan's own
/// end is then long past, so another one holds: [`LONGEST_WAIT`] after the plan was made. Approvals still have to be good, by the roster of now: who has
/// left it meanwhile is passed over, and the others have to be a quorum.
///
/// # Errors
/// [`ApprovalError`].
pub fn verify_after_waiting(approved: &Approved, roster: &Roster, now: i64) -> Result<Plan, ApprovalError> {
    verify_until(approved, roster, now, true, |plan| plan.created.saturating_add(LONGEST_WAIT))
}

fn verify_until(
    approved: &Approved,
    roster: &Roster,
    now: i64,
    some_may_have_left: bool,
    end: impl FnOnce(&Plan) -> i64,
) -> Result<Plan, ApprovalError> {
    let plan = Plan::parse(&approved.plan)?;
    if now >= end(&plan) || now < plan.created.saturating_sub(CLOCKS) {
        return Err(ApprovalError::Expired);
    }
    let mut seen = BTreeSet::new();
    if approved.approvals.len() > MOST {
        return Err(ApprovalError::TooMany);
    }
    for approval in &approved.approvals {
        if !seen.insert(&approval.officer) {
            return Err(ApprovalError::Twice(approval.officer.clone()));
        }
        match verify_one(&plan, approval, roster) {
            Err(ApprovalError::Foreign(_)) if some_may_have_left => {
                seen.remove(&approval.officer);
            }
            verified => verified?,
        }
    }
    let have = u32::try_from(seen.len()).unwrap_or(u32::MAX);
    if have < plan.quorum { Err(ApprovalError::TooFew { have, need: plan.quorum }) } else { Ok(plan) }
}

/// A plan carries so many approvals at most: they all stand in one entry of the audit log.
pub const MOST: usize = 8;

/// The longest that a plan stands open, the longest waiting period (a year), and a month for an HSM that is away.
pub const LONGEST_WAIT: i64 = crate::plan::LONGEST + 396 * 86_400;

/// Two machines' clocks differ by less, seconds.
const CLOCKS: i64 = 300;

#[cfg(test)]
#[path = "approval/tests.rs"]
mod tests;
