//! Reads the audit log in its own order.

use serde::{Deserialize, Serialize};

use super::authorize;
use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use crate::app::App;
use crate::authz::{Action, Resource};
use crate::store::AuditEntry;

/// Most entries on a page.
const MAX_PAGE: u32 = 500;

/// Query of the log.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Entries after this number.
    pub after: Option<u64>,
    /// At most this many, up to 500.
    pub limit: Option<u32>,
}

/// One page.
#[derive(Debug, Serialize)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
}

/// Reads the audit log.
#[tracing::instrument(skip_all)]
pub async fn read_audit(app: &App, context: &Context, query: &AuditQuery) -> Result<AuditPage, OpError> {
    let _permit = authorize(app, context, context.caller()?, Action::ReadAudit, &Resource::audit()).await?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Reason::Malformed.with("limit: 1 to 500").into());
    }
    Ok(AuditPage { entries: app.store.read().await?.audit_page(query.after.unwrap_or(0), limit).await? })
}
