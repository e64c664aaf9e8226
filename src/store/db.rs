//! A hold on the database: a connection to read with, or a transaction to change with. The aggregates' methods are written
//! over both.

use super::row::Row;
use super::{Cause, StoreError};
use crate::audit::{AuditEvent, Entry};
use sqlx::AnyConnection;
use sqlx::any::{Any, AnyArguments};
use std::ops::DerefMut;

/// A connection out of the pool, or a transaction on one.
pub trait Link: DerefMut<Target = AnyConnection> + Send {}
impl<T: DerefMut<Target = AnyConnection> + Send> Link for T {}

/// A hold on the database.
#[derive(Debug)]
pub struct Db<C> {
    link: C,
    failed: bool,
}

/// A connection to read with.
pub type Reads = Db<sqlx::pool::PoolConnection<Any>>;

/// A transaction. Dropped, it is rolled back; only an [`AuditEvent`] commits it.
///
/// On SQLite it is the only writer while it lives: nothing slow belongs between its begin and its commit.
pub type Tx = Db<sqlx::Transaction<'static, Any>>;

/// A statement with its arguments.
pub(super) type Statement<'q> = sqlx::query::Query<'q, Any, AnyArguments>;

impl<C: Link> Db<C> {
    pub(super) fn new(link: C) -> Self {
        Self { link, failed: false }
    }

    /// Runs a statement; how many rows it changed.
    pub(super) async fn run(&mut self, table: &'static str, statement: Statement<'_>) -> Result<u64, StoreError> {
        let done = statement.execute(&mut *self.link).await;
        done.map(|done| done.rows_affected()).map_err(|error| self.fail(table, &error))
    }

    /// The only row, if there is one. The row's first column is its key.
    pub(super) async fn row(&mut self, table: &'static str, statement: Statement<'_>) -> Result<Option<Row>, StoreError> {
        let row = statement.fetch_optional(&mut *self.link).await;
        row.map(|row| row.map(|row| Row::new(table, row))).map_err(|error| self.fail(table, &error))
    }

    /// All rows.
    pub(super) async fn rows(&mut self, table: &'static str, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let rows = statement.fetch_all(&mut *self.link).await;
        rows.map(|rows| rows.into_iter().map(|row| Row::new(table, row)).collect()).map_err(|error| self.fail(table, &error))
    }

    /// A number that a statement over all rows gives.
    pub(super) async fn number(&mut self, table: &'static str, statement: Statement<'_>) -> Result<u64, StoreError> {
        match self.row(table, statement).await? {
            Some(row) => row.number(0),
            None => Ok(0),
        }
    }

    fn fail(&mut self, table: &'static str, error: &sqlx::Error) -> StoreError {
        self.failed = true;
        StoreError::of(table, error)
    }
}

impl Tx {
    /// Writes the event and commits, both or neither.
    ///
    /// # Errors
    /// Nothing was done. After [`StoreError::Unavailable`] from the commit itself, whether it was done is unknown, as with
    /// every database: the operation is asked again and finds out. A transaction of which a statement failed is not committed.
    pub async fn commit(self, event: AuditEvent) -> Result<(), StoreError> {
        self.commit_entries(&[event.into()]).await
    }

    /// Writes the events in this order and commits, all or nothing.
    ///
    /// # Errors
    /// As [`Tx::commit`].
    pub async fn commit_with(self, first: AuditEvent, more: Vec<AuditEvent>) -> Result<(), StoreError> {
        let entries: Vec<Entry> = std::iter::once(first).chain(more).map(Entry::from).collect();
        self.commit_entries(&entries).await
    }

    pub(super) async fn commit_entries(mut self, entries: &[Entry]) -> Result<(), StoreError> {
        // SQLite goes on after a failed statement, or may have rolled back by itself; PostgreSQL answers COMMIT with a silent
        // rollback. Neither is to look like a commit.
        if self.failed {
            return Err(StoreError::Refused(Cause::new("a statement of this transaction failed")));
        }
        if let Some(would_be) = entries.iter().find_map(Entry::would_be) {
            return Err(StoreError::DryRun(Box::new(would_be)));
        }
        // Last, because on PostgreSQL it is where one transaction waits for another.
        self.insert_entries(entries).await?;
        self.link.commit().await.map_err(|error| StoreError::of("audit", &error))
    }
}
