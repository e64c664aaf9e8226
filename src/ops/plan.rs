//! What the operations on plans share: the plan as people and machines see it, and the stored plan with everything about it verified.

use serde::{Deserialize, Serialize};
use tillward_hsm::{Approval, ApprovalError, Approved, Plan};

use super::error::{OpError, Refusal};
use super::reason::Reason;
use super::{deed, sha256};
use crate::app::App;
use crate::authz::Resource;
use crate::clock::UnixTime;
use crate::schema;
use crate::store::{ApprovalRow, PlanId, PlanRow, PlanState};

/// A plan, as people and machines outside see it.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanView {
    /// Its id.
    #[schema(schema_with = schema::plan_id)]
    pub id: String,
    /// open, executed, cancelled, or expired.
    pub state: String,
    /// Name of the deed.
    pub deed: String,
    /// What it is done to.
    pub resource: String,
    /// Who asked.
    pub requester: String,
    /// Since when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub created: String,
    /// Until when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub expires: String,
    /// Approvals that it needs.
    pub quorum: u32,
    /// Who has approved.
    #[schema(inline)]
    pub approvals: Vec<ApprovalView>,
    /// Who executed or cancelled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::time, required = false)]
    pub closed: Option<String>,
    /// The plan itself: what is hashed, and what officers sign.
    pub plan: String,
    /// SHA-256 of the plan, lower-case hexadecimal.
    #[schema(schema_with = schema::fingerprint)]
    pub hash: String,
}

/// An approval, as people see it.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ApprovalView {
    /// Who.
    pub officer: String,
    /// When it came, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub at: String,
}

impl PlanView {
    pub(super) fn of(row: &PlanRow, plan: &Plan, approvals: &[ApprovalRow], now: UnixTime) -> Self {
        let state = if row.state == PlanState::Open && now >= row.expires { "expired" } else { row.state.name() };
        Self {
            id: row.id.to_string(),
            state: state.to_owned(),
            deed: row.deed.clone(),
            resource: row.resource.clone(),
            requester: row.requester.clone(),
            created: row.created.rfc3339(),
            expires: row.expires.rfc3339(),
            quorum: plan.quorum,
            approvals: approvals
                .iter()
                .map(|approval| ApprovalView { officer: approval.officer.clone(), at: approval.at.rfc3339() })
                .collect(),
            closed_by: row.closed.as_ref().map(|(by, _)| by.clone()),
            closed: row.closed.as_ref().map(|(_, at)| at.rfc3339()),
            plan: String::from_utf8_lossy(&row.bytes).into_owned(),
            hash: data_encoding::HEXLOWER.encode(&sha256(&row.bytes)),
        }
    }
}

/// A stored plan whose bytes are those that were hashed, and whose columns say what the bytes say.
#[derive(Debug)]
pub(super) struct StoredPlan {
    pub(super) row: PlanRow,
    pub(super) plan: Plan,
}

/// Finds a plan. `plan-changed` where somebody has been at the row: then nothing is done with it.
pub(super) async fn find(app: &App, id: PlanId) -> Result<Option<(PlanRow, Result<StoredPlan, Refusal>)>, OpError> {
    let row = app.store.read().await?.find_plan(id).await?;
    Ok(row.map(|row| (row.clone(), StoredPlan::of(row))))
}

impl StoredPlan {
    fn of(row: PlanRow) -> Result<Self, Refusal> {
        let changed = |what: &'static str| Reason::PlanChanged.with(what);
        let plan = Plan::parse(&row.bytes).map_err(|_| changed("the stored bytes are not a plan"))?;
        if sha256(&row.bytes) != row.hash {
            return Err(changed("the stored bytes have another hash"));
        }
        let same = PlanId(plan.id) == row.id
            && plan.requester == row.requester
            && plan.deed.name() == row.deed
            && (plan.created, plan.expires) == (row.created.0, row.expires.0);
        if same { Ok(Self { row, plan }) } else { Err(changed("the row says something else than the plan")) }
    }
}

/// What a plan is to the policies.
pub(super) fn resource(row: &PlanRow) -> Resource {
    Resource::plan(&row.id.to_string(), row.acquirer.as_ref()).with("requester", row.requester.clone()).with("deed", row.deed.clone())
}

/// What a plan that does not exist is to them.
pub(super) fn resource_of_none(id: PlanId) -> Resource {
    Resource::plan(&id.to_string(), None)
}

/// The plan with its approvals, as the host and the offline verifier take it.
pub(super) fn approved(row: &PlanRow, approvals: &[ApprovalRow]) -> Approved {
    let approvals = approvals.iter().map(|row| Approval { officer: row.officer.clone(), signature: row.signature.to_vec() }).collect();
    Approved { plan: row.bytes.clone(), approvals }
}

/// Why it is refused.
pub(super) fn refusal(error: &ApprovalError) -> Refusal {
    match error {
        ApprovalError::Plan(_) => Reason::PlanChanged.into(),
        ApprovalError::Expired => Reason::PlanExpired.into(),
        ApprovalError::TooFew { .. } | ApprovalError::TooMany => Reason::ApprovalsMissing.with(error.to_string()),
        ApprovalError::OwnRequest => Reason::ApprovalOwn.into(),
        ApprovalError::Twice(_) => Reason::ApprovalTwice.with(error.to_string()),
        ApprovalError::Foreign(_) => Reason::ApprovalForeign.with(error.to_string()),
        ApprovalError::Signature(_) => Reason::ApprovalInvalid.with(error.to_string()),
    }
}

/// How many have to approve, by the policies that are in force now; never fewer than two.
pub(super) fn quorum(app: &App, plan: &tillward_hsm::Deed) -> Result<u32, Refusal> {
    let quorum = app.authz.quorum(deed::action(plan)).ok_or(Reason::QuorumMissing)?;
    if (tillward_hsm::plan::LEAST_QUORUM..=tillward_hsm::plan::MOST_QUORUM).contains(&quorum) {
        Ok(quorum)
    } else {
        Err(Reason::QuorumMissing.with("the policy's quorum is not 2 to 8"))
    }
}
