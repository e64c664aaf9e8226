//! Reads a plan: how it stands; and as a bundle that can be verified without the service.

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::error::OpError;
use super::plan::{PlanView, StoredPlan, find, resource, resource_of_none};
use super::reason::Reason;
use super::{authorize, refuse, turn_away};
use crate::app::App;
use crate::authz::Action;
use crate::store::{ApprovalRow, PlanId};

/// Plan and approvals in one file. What it proves, it proves with the officers' keys: the verifier brings its own roster, or compares the keys
/// of this one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// `tillward-approval-bundle-1`.
    pub kind: String,
    /// The plan: what is hashed.
    pub plan: String,
    /// SHA-256 of the plan, lower-case hexadecimal.
    pub hash: String,
    /// open, executed, cancelled or expired: the service's word, not proven by a signature.
    pub state: String,
    /// The approvals.
    pub approvals: Vec<BundledApproval>,
}

/// One approval in a bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundledApproval {
    /// URI of the officer.
    pub officer: String,
    /// ECDSA P-256 over the hash, `r` | `s`, base64url.
    pub signature: String,
    /// When it came, RFC 3339: the service's word.
    pub at: String,
    /// The officer's public key as the service knows it (`SubjectPublicKeyInfo`, DER, base64); missing where the officer is none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

impl Bundle {
    /// The first member of every bundle.
    pub const KIND: &str = "tillward-approval-bundle-1";
}

/// Reads a plan.
#[tracing::instrument(skip_all)]
pub async fn read_plan(app: &App, context: &Context, id: PlanId) -> Result<PlanView, OpError> {
    let (stored, approvals) = load(app, context, id).await?;
    Ok(PlanView::of(&stored.row, &stored.plan, &approvals, app.clock.now()))
}

/// Reads a plan and its approvals as a bundle.
#[tracing::instrument(skip_all)]
pub async fn read_plan_bundle(app: &App, context: &Context, id: PlanId) -> Result<Bundle, OpError> {
    let (stored, approvals) = load(app, context, id).await?;
    let view = PlanView::of(&stored.row, &stored.plan, &approvals, app.clock.now());
    let officers = app.officers.now();
    let approvals = approvals.into_iter().map(|approval| BundledApproval {
        signature: data_encoding::BASE64URL_NOPAD.encode(&approval.signature),
        at: approval.at.rfc3339(),
        public_key: officers.roster.spki(&approval.officer).map(|der| data_encoding::BASE64.encode(&der)),
        officer: approval.officer,
    });
    Ok(Bundle { kind: Bundle::KIND.to_owned(), plan: view.plan, hash: view.hash, state: view.state, approvals: approvals.collect() })
}

async fn load(app: &App, context: &Context, id: PlanId) -> Result<(StoredPlan, Vec<ApprovalRow>), OpError> {
    let caller = context.caller()?;
    let Some((row, stored)) = find(app, id).await? else {
        return Err(turn_away(app, context, caller, Action::ReadPlan, &resource_of_none(id), Reason::PlanUnknown).await);
    };
    let permit = authorize(app, context, caller, Action::ReadPlan, &resource(&row)).await?;
    match stored {
        Ok(stored) => Ok((stored, app.store.read().await?.approvals_of(id).await?)),
        Err(refusal) => Err(refuse(app, context, permit, refusal).await),
    }
}
