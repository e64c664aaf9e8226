//! The audit log's table: entries are added and read, nothing else.

use super::db::{Db, Link, Tx};
use super::{Cause, StoreError};
use crate::audit::{Entry, Outcome};
use crate::clock::UnixTime;
use std::collections::BTreeMap;

/// One entry as it was written. Words, not types: an entry outlives the version that knew its action.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps, in the order of the commits.
    pub seq: u64,
    /// When.
    pub at: UnixTime,
    /// In answer to which request.
    pub request: String,
    /// Who.
    pub caller: String,
    /// Did what.
    pub action: String,
    /// To what kind of thing.
    pub resource_kind: String,
    /// To which.
    pub resource_id: String,
    /// Whose it is.
    pub acquirers: Vec<String>,
    /// By which policies.
    pub policies: Vec<String>,
    /// Why it was refused; `None` where it was done.
    pub reason: Option<String>,
    /// What else is to be known.
    pub detail: BTreeMap<String, String>,
}

/// Entries in one statement: 11 arguments each stay far below the limit of both databases (32 766 in SQLite).
const ENTRIES: usize = 256;
const COLUMNS: usize = 11;

impl Tx {
    pub(super) async fn insert_entries(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        for chunk in entries.chunks(ENTRIES) {
            self.insert_chunk(chunk).await?;
        }
        Ok(())
    }

    async fn insert_chunk(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let rows: Vec<String> = (0..entries.len()).map(|n| format!("({})", placeholders(n * COLUMNS + 1, COLUMNS))).collect();
        let sql = format!(
            "INSERT INTO audit (at, request, caller, action, resource_kind, resource_id, acquirers, policies, outcome, reason, detail) \
             VALUES {}",
            rows.join(", ")
        );
        // Only placeholders were put together. A batch has any size, so only the common size of one stays prepared.
        let mut statement = sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(entries.len() == 1);
        for entry in entries {
            let (outcome, reason) = match entry.outcome() {
                Outcome::Effect => ("effect", None),
                Outcome::Refused(reason) => ("refused", Some(reason)),
            };
            let acquirers: Vec<&str> = entry.resource().acquirers().iter().map(crate::id::AcquirerId::as_str).collect();
            let detail: BTreeMap<&str, &str> = entry.detail().iter().map(|(name, fact)| (*name, fact.as_str())).collect();
            let detail = serde_json::to_string(&detail).map_err(|error| StoreError::Refused(Cause::new(error)))?;
            statement = statement
                .bind(entry.occasion().at.0)
                .bind(entry.occasion().request.as_str().to_owned())
                .bind(entry.caller().to_string())
                .bind(entry.action().name())
                .bind(entry.resource().kind().name())
                .bind(entry.resource().id().to_owned())
                .bind(acquirers.join(" "))
                .bind(entry.policies().join(" "))
                .bind(outcome)
                .bind(reason)
                .bind(detail);
        }
        self.run("audit", statement).await.map(drop)
    }
}

impl<C: Link> Db<C> {
    /// Up to `limit` entries after number `after`, in order.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn audit_page(&mut self, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, request, caller, action, resource_kind, resource_id, acquirers, policies, reason, detail \
             FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(i64::from(limit));
        let rows = self.rows("audit", rows).await?;
        rows.iter()
            .map(|row| {
                Ok(AuditEntry {
                    seq: row.number("seq")?,
                    at: row.time("at")?,
                    request: row.text("request")?,
                    caller: row.text("caller")?,
                    action: row.text("action")?,
                    resource_kind: row.text("resource_kind")?,
                    resource_id: row.text("resource_id")?,
                    acquirers: words(&row.text("acquirers")?),
                    policies: words(&row.text("policies")?),
                    reason: row.optional_text("reason")?,
                    detail: row.json("detail")?,
                })
            })
            .collect()
    }
}

impl<C: Link> Db<C> {
    /// The latest time that the log has seen.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_audit_time(&mut self) -> Result<Option<UnixTime>, StoreError> {
        let row = self.row("audit", sqlx::query("SELECT at FROM audit ORDER BY seq DESC LIMIT 1")).await?;
        row.map(|row| row.time("at")).transpose()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `$first, $first+1, ...`
pub(super) fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}
