//! Reads the audit log in its own order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::authorize;
use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use crate::app::App;
use crate::authz::{Action, Resource};
use crate::schema;
use crate::store::AuditEntry;

/// Most entries on a page.
const MAX_PAGE: u32 = 500;

/// Query of the log.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Entries after this number.
    #[param(format = "uint64")]
    pub after: Option<u64>,
    /// At most this many, up to 500.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// One page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditView>,
}

/// One entry, as people and machines outside see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditView {
    /// Its number.
    pub seq: u64,
    /// When, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub time: String,
    /// In answer to which request.
    pub request_id: String,
    /// Who.
    pub caller: String,
    /// Did what.
    pub action: String,
    /// To what: kind and id.
    pub resource: String,
    /// Whose it is.
    pub acquirers: Vec<String>,
    /// effect or refused.
    pub outcome: &'static str,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// By which policies it was allowed.
    pub policies: Vec<String>,
    /// What else is to be known.
    pub detail: BTreeMap<String, String>,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            seq: entry.seq,
            time: entry.at.rfc3339(),
            request_id: entry.request,
            caller: entry.caller,
            action: entry.action,
            resource: format!("{} {}", entry.resource_kind, entry.resource_id),
            acquirers: entry.acquirers,
            outcome: if entry.reason.is_some() { "refused" } else { "effect" },
            reason: entry.reason,
            policies: entry.policies,
            detail: entry.detail,
        }
    }
}

/// Reads the audit log.
#[tracing::instrument(skip_all)]
pub async fn read_audit(app: &App, context: &Context, query: &AuditQuery) -> Result<AuditPage, OpError> {
    let _permit = authorize(app, context, context.caller()?, Action::ReadAudit, &Resource::audit()).await?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Reason::Malformed.with("limit: 1 to 500").into());
    }
    let entries = app.store.read().await?.audit_page(query.after.unwrap_or(0), limit).await?;
    Ok(AuditPage { entries: entries.into_iter().map(AuditView::from).collect() })
}
