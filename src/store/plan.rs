//! Plans, their approvals, and what is pinned.

use super::StoreError;
use super::db::{Db, Link, Tx};
use super::row::{Row, to_hex};
use crate::clock::UnixTime;
use crate::id::AcquirerId;
use std::fmt;
use std::str::FromStr;

/// The id of a plan: 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct PlanId(pub [u8; 16]);

/// Why a text is not the id of a plan. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a plan's id: 32 lower-case hexadecimal digits")]
pub struct PlanIdError;

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl TryFrom<String> for PlanId {
    type Error = PlanIdError;
    fn try_from(text: String) -> Result<Self, PlanIdError> {
        text.parse()
    }
}

impl FromStr for PlanId {
    type Err = PlanIdError;
    fn from_str(text: &str) -> Result<Self, PlanIdError> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(PlanIdError)
    }
}

/// Where a plan stands. Once it is not open it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanState {
    /// It takes approvals.
    Open,
    /// It was done.
    Executed,
    /// It was withdrawn.
    Cancelled,
}

impl PlanState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Executed, Self::Cancelled];

    /// Its name in the database and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Executed => "executed",
            Self::Cancelled => "cancelled",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A plan as it is kept. What stands beside the bytes is there to find and to show it; what counts is the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRow {
    /// Its id.
    pub id: PlanId,
    /// The canonical bytes.
    pub bytes: Vec<u8>,
    /// Their SHA-256.
    pub hash: [u8; 32],
    /// URI of the principal who asked.
    pub requester: String,
    /// Name of the deed.
    pub deed: String,
    /// What it is done to: kind and id.
    pub resource: String,
    /// Whose that is; `None`: the service's.
    pub acquirer: Option<AcquirerId>,
    /// Since when.
    pub created: UnixTime,
    /// Until when.
    pub expires: UnixTime,
    /// Where it stands.
    pub state: PlanState,
    /// Who executed or cancelled it, and when.
    pub closed: Option<(String, UnixTime)>,
}

/// An approval as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// URI of the officer.
    pub officer: String,
    /// `r` | `s`.
    pub signature: [u8; 64],
    /// When it came.
    pub at: UnixTime,
}

/// What is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinKind {
    /// The policy set.
    Policy,
    /// The officers' file.
    Officers,
}

impl PinKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Officers => "officers",
        }
    }
}

const COLUMNS: &str = "id, bytes, hash, requester, deed, resource, acquirer, created, expires, state, closed_by, closed_at";

fn plan(row: &Row) -> Result<PlanRow, StoreError> {
    let closed = match (row.optional_text("closed_by")?, row.optional_time("closed_at")?) {
        (Some(by), Some(at)) => Some((by, at)),
        (None, None) => None,
        _ => return Err(row.corrupt("closed_at")),
    };
    Ok(PlanRow {
        id: row.parsed("id")?,
        bytes: row.bytes("bytes")?,
        hash: row.hex_array("hash")?,
        requester: row.text("requester")?,
        deed: row.text("deed")?,
        resource: row.text("resource")?,
        acquirer: row.optional_parsed("acquirer")?,
        created: row.time("created")?,
        expires: row.time("expires")?,
        state: row.named("state", PlanState::named)?,
        closed,
    })
}

impl<C: Link> Db<C> {
    /// A plan.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_plan(&mut self, id: PlanId) -> Result<Option<PlanRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM plan WHERE id = $1");
        let row = self.row("plan", sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string())).await?;
        row.as_ref().map(plan).transpose()
    }

    /// Plans, the latest first: up to `limit` that were made before (`before`: time and id of the last one seen).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn plans(
        &mut self,
        state: Option<PlanState>,
        before: Option<(UnixTime, PlanId)>,
        limit: u32,
    ) -> Result<Vec<PlanRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM plan WHERE ($1 = '' OR state = $1) AND (created < $2 OR (created = $2 AND id < $3)) \
             ORDER BY created DESC, id DESC LIMIT $4"
        );
        let (time, id) = before.map_or((i64::MAX, String::new()), |(time, id)| (time.0, id.to_string()));
        let statement =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(state.map_or("", PlanState::name)).bind(time).bind(id).bind(i64::from(limit));
        self.rows("plan", statement).await?.iter().map(plan).collect()
    }

    /// The approvals of a plan, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn approvals_of(&mut self, id: PlanId) -> Result<Vec<ApprovalRow>, StoreError> {
        let statement = sqlx::query("SELECT plan, officer, signature, at FROM approval WHERE plan = $1 ORDER BY at, officer");
        let rows = self.rows("approval", statement.bind(id.to_string())).await?;
        rows.iter()
            .map(|row| Ok(ApprovalRow { officer: row.text("officer")?, signature: row.array("signature")?, at: row.time("at")? }))
            .collect()
    }

    /// The digest that is in force.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn pinned(&mut self, kind: PinKind) -> Result<Option<[u8; 32]>, StoreError> {
        let statement = sqlx::query("SELECT seq, digest FROM pinned WHERE kind = $1 ORDER BY seq DESC LIMIT 1").bind(kind.name());
        self.row("pinned", statement).await?.map(|row| row.hex_array("digest")).transpose()
    }
}

impl Tx {
    /// Writes a plan.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the id or the hash is taken.
    pub async fn insert_plan(&mut self, plan: &PlanRow) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "INSERT INTO plan (id, bytes, hash, requester, deed, resource, acquirer, created, expires, state) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open')",
        )
        .bind(plan.id.to_string())
        .bind(plan.bytes.clone())
        .bind(to_hex(&plan.hash))
        .bind(plan.requester.clone())
        .bind(plan.deed.clone())
        .bind(plan.resource.clone())
        .bind(plan.acquirer.as_ref().map(|acquirer| acquirer.as_str().to_owned()))
        .bind(plan.created.0)
        .bind(plan.expires.0);
        self.run("plan", statement).await.map(drop)
    }

    /// Writes an approval, whose signature was verified.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the officer has approved; [`StoreError::Refused`] where the plan is not open, or is the officer's own.
    pub async fn insert_approval(&mut self, id: PlanId, approval: &ApprovalRow) -> Result<(), StoreError> {
        let statement = sqlx::query("INSERT INTO approval (plan, officer, signature, at) VALUES ($1, $2, $3, $4)")
            .bind(id.to_string())
            .bind(approval.officer.clone())
            .bind(approval.signature.to_vec())
            .bind(approval.at.0);
        self.run("approval", statement).await.map(drop)
    }

    /// Marks a plan as executed: `false` where it is not open any more, or has expired. Once, whoever else tries.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where it has fewer than two approvals.
    pub async fn execute_plan(&mut self, id: PlanId, by: &str, at: UnixTime) -> Result<bool, StoreError> {
        self.close_plan(id, PlanState::Executed, by, at).await
    }

    /// Withdraws a plan: `false` where it is not open any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cancel_plan(&mut self, id: PlanId, by: &str, at: UnixTime) -> Result<bool, StoreError> {
        self.close_plan(id, PlanState::Cancelled, by, at).await
    }

    async fn close_plan(&mut self, id: PlanId, state: PlanState, by: &str, at: UnixTime) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "UPDATE plan SET state = $2, closed_by = $3, closed_at = $4 WHERE id = $1 AND state = 'open' AND ($2 = 'cancelled' OR expires > $4)",
        )
        .bind(id.to_string())
        .bind(state.name())
        .bind(by.to_owned())
        .bind(at.0);
        Ok(self.run("plan", statement).await? == 1)
    }

    /// Pins a digest: the first of its kind without a plan, every later one by the plan that approved it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where another node pinned the first one.
    pub async fn pin(&mut self, kind: PinKind, digest: &[u8; 32], plan: Option<PlanId>, at: UnixTime) -> Result<(), StoreError> {
        let statement = sqlx::query("INSERT INTO pinned (kind, digest, plan, at) VALUES ($1, $2, $3, $4)")
            .bind(kind.name())
            .bind(to_hex(digest))
            .bind(plan.map(|plan| plan.to_string()))
            .bind(at.0);
        self.run("pinned", statement).await.map(drop)
    }
}
