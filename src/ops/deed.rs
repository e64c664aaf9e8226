//! What only a quorum may ask for, by the deed of its plan: what can be said about it before, and doing it. A deed is done as the plan says it,
//! with nothing from the request that executes it.

use serde_json::{Value, json};
use tillward_hsm::{Approved, Deed, Plan};

use super::context::Context;
use super::error::OpError;
use super::{destroy_key, export_key, import_key, report_compromise};
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::{Action, Permit, Resource};
use crate::ops::reason::Reason;
use crate::store::{PinKind, PlanId, Tx};

/// The action that a deed is to the policies.
pub(super) fn action(deed: &Deed) -> Action {
    match deed {
        Deed::DestroyKey(_) => Action::DestroyKey,
        Deed::ReportCompromise(_) => Action::ReportCompromise,
        Deed::ExportKey(..) => Action::ExportKey,
        Deed::ImportKey(..) => Action::ImportKey,
        Deed::ChangePolicy(_) => Action::ChangePolicy,
        Deed::ChangeOfficers(_) => Action::ChangeOfficers,
        Deed::UseRootCa(_) => Action::UseRootCa,
    }
}

/// What the deed is done to.
pub(super) async fn resource(app: &App, deed: &Deed) -> Result<Resource, OpError> {
    match deed {
        Deed::DestroyKey(key) | Deed::ReportCompromise(key) => super::usable_key::resource_of(app, &key.name).await,
        Deed::ExportKey(key, kek) | Deed::ImportKey(key, kek, _) => {
            Ok(super::usable_key::resource_of(app, &key.name).await?.with("form", kek.form.name()))
        }
        Deed::ChangePolicy(_) | Deed::ChangeOfficers(_) => Ok(Resource::policy()),
        Deed::UseRootCa(_) => Ok(Resource::service()),
    }
}

/// A dry run: whether it could be done now, and what it would stop or strand. Changes nothing.
pub(super) async fn check(app: &App, context: &Context, deed: &Deed) -> Result<Value, OpError> {
    match deed {
        Deed::DestroyKey(key) => destroy_key::check(app, context, key).await,
        Deed::ReportCompromise(key) => report_compromise::check(app, context, key).await,
        Deed::ExportKey(key, kek) => export_key::check(app, context, key, kek).await,
        Deed::ImportKey(key, kek, _) => import_key::check(app, context, key, kek).await,
        Deed::ChangePolicy(_) | Deed::ChangeOfficers(_) | Deed::UseRootCa(_) => Ok(Value::Null),
    }
}

/// Does it. The permit is for [`action`] on [`resource`]; the approvals are verified. `brought` is what an import brings: its hash is the plan's.
/// Commits the plan as executed in the same transaction (`tx.execute_plan`), with the approvals in the audit event.
pub(super) async fn perform(
    app: &App,
    context: &Context,
    permit: Permit,
    deed: &Deed,
    approved: &Approved,
    brought: Option<Vec<u8>>,
) -> Result<Value, OpError> {
    match deed {
        Deed::DestroyKey(key) => destroy_key::perform(app, context, permit, key, approved).await,
        Deed::ReportCompromise(key) => report_compromise::perform(app, context, permit, key, approved).await,
        Deed::ExportKey(key, kek) => export_key::perform(app, context, permit, key, kek, approved).await,
        Deed::ImportKey(key, kek, _) => {
            let brought = brought.ok_or_else(|| OpError::from(Reason::Malformed.with("content: missing")))?;
            import_key::perform(app, context, permit, key, kek, approved, brought).await
        }
        Deed::ChangePolicy(digest) => pin(app, context, permit, PinKind::Policy, digest, approved).await,
        Deed::ChangeOfficers(digest) => pin(app, context, permit, PinKind::Officers, digest, approved).await,
        // The ceremony verifies the bundle itself, where the root is; here it is on record, and cannot be executed again.
        Deed::UseRootCa(digest) => {
            let event = AuditEvent::effect(permit, &context.occasion(app)).with("content", Fact::hex(digest));
            commit(app, context, app.store.begin().await?, event, approved).await?;
            Ok(json!({"ceremony": data_encoding::HEXLOWER.encode(digest)}))
        }
    }
}

/// Commits what a deed changed: in the same transaction its plan is executed, once, and the entry of the audit log carries the plan and every
/// signature, so that it can be verified from the log alone.
pub(super) async fn commit(app: &App, context: &Context, mut tx: Tx, event: AuditEvent, approved: &Approved) -> Result<(), OpError> {
    let plan = close(app, context, &mut tx, approved).await?;
    tx.commit(proven(event, approved, &plan)?).await?;
    Ok(())
}

/// The plan is executed, once.
async fn close(app: &App, context: &Context, tx: &mut Tx, approved: &Approved) -> Result<Plan, OpError> {
    let plan = Plan::parse(&approved.plan).map_err(|error| OpError::internal("committing a plan", error))?;
    let by = context.caller()?.principal().ok_or(Reason::NotPermitted)?.uri().to_string();
    if tx.execute_plan(PlanId(plan.id), &by, app.clock.now()).await? { Ok(plan) } else { Err(Reason::PlanClosed.into()) }
}

/// The event with the plan and the signatures.
fn proven(event: AuditEvent, approved: &Approved, plan: &Plan) -> Result<AuditEvent, OpError> {
    let mut event = event.with("plan", Fact::plan(&approved.plan)).with("plan_hash", Fact::hex(&plan.hash()));
    for (name, approval) in SIGNATURES.into_iter().zip(&approved.approvals) {
        let officer =
            approval.officer.parse().map_err(|error: crate::authz::PrincipalUriError| OpError::internal("naming an officer", error))?;
        let signature = approval.signature.as_slice().try_into().map_err(|error| OpError::internal("reading a signature", error))?;
        event = event.with(name, Fact::approval(&officer, signature));
    }
    Ok(event)
}

/// Names of the facts; as many as a plan takes approvals.
const SIGNATURES: [&str; tillward_hsm::approval::MOST] =
    ["approval_1", "approval_2", "approval_3", "approval_4", "approval_5", "approval_6", "approval_7", "approval_8"];

/// Puts a digest in force. The file itself is taken when it is that one.
async fn pin(
    app: &App,
    context: &Context,
    permit: Permit,
    kind: PinKind,
    digest: &[u8; 32],
    approved: &Approved,
) -> Result<Value, OpError> {
    let mut tx = app.store.begin().await?;
    // In this order: the database takes a pin for an executed plan alone.
    let plan = close(app, context, &mut tx, approved).await?;
    tx.pin(kind, digest, Some(PlanId(plan.id)), app.clock.now()).await?;
    let event = AuditEvent::effect(permit, &context.occasion(app)).with("pinned", Fact::hex(digest));
    tx.commit(proven(event, approved, &plan)?).await?;
    app.officers.look(&app.store).await;
    Ok(json!({"pinned": data_encoding::HEXLOWER.encode(digest), "kind": kind.name()}))
}
