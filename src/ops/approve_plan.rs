//! An officer approves a plan: with a signature over its hash by the key that the roster has for the officer. The caller is the signer.

use serde::{Deserialize, Serialize};
use tillward_hsm::{Approval, approval};

use super::context::Context;
use super::error::OpError;
use super::plan::{PlanView, find, refusal, resource, resource_of_none};
use super::reason::Reason;
use super::{authorize, pins, refuse, turn_away};
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::Action;
use crate::schema;
use crate::store::{ApprovalRow, PlanId, PlanState, StoreError};

/// The signature.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalBody {
    /// ECDSA P-256 over the plan's hash, `r` | `s`, base64url without padding.
    #[schema(schema_with = schema::base64url::<64, 64>)]
    pub signature: String,
}

/// Approves a plan. Nothing is kept that does not verify.
#[tracing::instrument(skip_all)]
pub async fn approve_plan(app: &App, context: &Context, id: PlanId, body: &ApprovalBody) -> Result<PlanView, OpError> {
    let caller = context.caller()?;
    let Some((row, stored)) = find(app, id).await? else {
        return Err(turn_away(app, context, caller, Action::ApprovePlan, &resource_of_none(id), Reason::PlanUnknown).await);
    };
    let officer = caller.principal().ok_or(Reason::NotPermitted)?.uri().clone();
    // The policies forbid it too; this reason says why.
    if officer.to_string() == row.requester {
        return Err(turn_away(app, context, caller, Action::ApprovePlan, &resource(&row), Reason::ApprovalOwn).await);
    }
    let permit = authorize(app, context, caller, Action::ApprovePlan, &resource(&row)).await?;
    let stored = match stored {
        Ok(stored) => stored,
        Err(refusal) => return Err(refuse(app, context, permit, refusal).await),
    };
    let now = app.clock.now();
    if row.state != PlanState::Open {
        return Err(refuse(app, context, permit, Reason::PlanClosed).await);
    }
    if now >= row.expires {
        return Err(refuse(app, context, permit, Reason::PlanExpired).await);
    }
    if let Some(refusal) = pins::behind(app).await? {
        return Err(refuse(app, context, permit, refusal).await);
    }
    let signature: Option<[u8; 64]> =
        data_encoding::BASE64URL_NOPAD.decode(body.signature.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let Some(signature) = signature else {
        return Err(refuse(app, context, permit, Reason::Malformed.with("signature: 64 bytes in base64url without padding")).await);
    };
    let one = Approval { officer: officer.to_string(), signature: signature.to_vec() };
    if let Err(error) = approval::verify_one(&stored.plan, &one, &app.officers.now().roster) {
        return Err(refuse(app, context, permit, refusal(&error)).await);
    }
    let approval = ApprovalRow { officer: one.officer, signature, at: now };
    let mut tx = app.store.begin().await?;
    if tx.approvals_of(id).await?.len() >= approval::MOST {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::StateConflict.with("8 officers have approved")).await);
    }
    match tx.insert_approval(id, &approval).await {
        Ok(()) => {}
        Err(StoreError::Conflict(_)) => {
            drop(tx);
            return Err(refuse(app, context, permit, Reason::ApprovalTwice).await);
        }
        // It was executed or cancelled since it was read.
        Err(StoreError::Refused(_)) => {
            drop(tx);
            return Err(refuse(app, context, permit, Reason::PlanClosed).await);
        }
        Err(error) => return Err(error.into()),
    }
    let approvals = tx.approvals_of(id).await?;
    let event = AuditEvent::effect(permit, &context.occasion(app))
        .with("plan_hash", Fact::hex(&row.hash))
        .with("approval_1", Fact::approval(&officer, &signature));
    tx.commit(event).await?;
    Ok(PlanView::of(&stored.row, &stored.plan, &approvals, now))
}
