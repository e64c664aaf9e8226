//! What only a quorum may ask for, by the deed of its plan: what can be said about it before, and doing it. A deed is done as the plan says it,
//! with nothing from the request that executes it.

use serde_json::Value;
use tillward_hsm::{Approved, Deed};

use super::context::Context;
use super::error::OpError;
use super::{destroy_key, export_key, import_key, report_compromise};
use crate::app::App;
use crate::authz::{Action, Permit, Resource};
use crate::ops::reason::Reason;

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
        Deed::DestroyKey(key) | Deed::ReportCompromise(key) | Deed::ExportKey(key, _) | Deed::ImportKey(key, ..) => {
            super::usable_key::resource_of(app, &key.name).await
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

/// Does it. The permit is for [`action`] on [`resource`]; the approvals are verified. `content` is what an import brings: its hash is the plan's.
/// Commits the plan as executed in the same transaction (`tx.execute_plan`), with the approvals in the audit event.
pub(super) async fn perform(
    app: &App,
    context: &Context,
    permit: Permit,
    deed: &Deed,
    approved: &Approved,
    content: Option<Vec<u8>>,
) -> Result<Value, OpError> {
    match deed {
        Deed::DestroyKey(key) => destroy_key::perform(app, context, permit, key, approved).await,
        Deed::ReportCompromise(key) => report_compromise::perform(app, context, permit, key, approved).await,
        Deed::ExportKey(key, kek) => export_key::perform(app, context, permit, key, kek, approved).await,
        Deed::ImportKey(key, kek, _) => {
            let content = content.ok_or_else(|| OpError::from(Reason::Malformed.with("content: missing")))?;
            import_key::perform(app, context, permit, key, kek, approved, content).await
        }
        Deed::ChangePolicy(_) | Deed::ChangeOfficers(_) | Deed::UseRootCa(_) => {
            Err(OpError::internal("executing a plan", "not a deed yet"))
        }
    }
}
