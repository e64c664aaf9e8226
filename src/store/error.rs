//! What can go wrong with the database, named by what the caller can do about it.

use crate::audit::WouldBe;
use std::fmt;

/// A failure of the store. It names constraints, tables and columns, never a value that was to be stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The key is taken, or the row is not in the state that the change needs.
    #[error("the database holds something else under this key")]
    Conflict(#[source] Cause),
    /// The row that this one belongs to is not there.
    #[error("the row that this one belongs to does not exist")]
    NoParent(#[source] Cause),
    /// The database did not answer, or was too busy: nothing was done, asking again is safe.
    #[error("the database is not available")]
    Unavailable(#[source] Cause),
    /// A cell holds what the service would never have written. Nothing is guessed.
    #[error("corrupt cell: column {column} of table {table}, row {row}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: String,
        /// The row's key.
        row: String,
    },
    /// The database refused a change by a check or a trigger: a defect of the service.
    #[error("the database refused the change")]
    Refused(#[source] Cause),
    /// A dry run ends here: nothing was written.
    #[error("a dry run: nothing was written")]
    DryRun(Box<WouldBe>),
    /// The database cannot be opened or brought up to date.
    #[error("the database cannot be opened")]
    Open(#[source] Cause),
}

/// What the database said. Only its message: a PostgreSQL error's detail, which may quote the row, is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(String);

impl Cause {
    pub(super) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

impl StoreError {
    /// The failure of a statement over `table`.
    pub(super) fn of(table: &'static str, error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => Self::of_database(database.as_ref()),
            sqlx::Error::ColumnDecode { index, .. } => Self::Corrupt { table, column: index.clone(), row: "unknown".to_owned() },
            // A text that is not UTF-8, found before the row has a shape.
            sqlx::Error::Decode(_) => Self::Corrupt { table, column: "unknown".to_owned(), row: "unknown".to_owned() },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(Cause::new(error)),
            _ => Self::Refused(Cause::new(error)),
        }
    }

    fn of_database(error: &dyn sqlx::error::DatabaseError) -> Self {
        let cause = Cause::new(error.message());
        let code = error.code().unwrap_or_default();
        match error.kind() {
            sqlx::error::ErrorKind::UniqueViolation => Self::Conflict(cause),
            sqlx::error::ErrorKind::ForeignKeyViolation => Self::NoParent(cause),
            _ if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() => {
                if postgres_may_be_asked_again(&code) {
                    Self::Unavailable(cause)
                } else {
                    Self::Refused(cause)
                }
            }
            // What the triggers against REPLACE say: SQLite asks them before its own unique indices.
            _ if error.message().starts_with("there is this ") => Self::Conflict(cause),
            _ if sqlite_may_be_asked_again(&code) => Self::Unavailable(cause),
            _ => Self::Refused(cause),
        }
    }
}

/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>
fn postgres_may_be_asked_again(code: &str) -> bool {
    // 08 connection, 40 rolled back (serialization, deadlock), 53 resources, 57 operator (shut-down, time-out), 58 system;
    // lock not available; read-only transaction (a standby after a failover).
    ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || matches!(code, "55P03" | "25006")
}

/// <https://www.sqlite.org/rescode.html>: the low byte is the primary result code.
fn sqlite_may_be_asked_again(code: &str) -> bool {
    // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 8 | 9 | 10 | 13 | 14 | 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_pass_are_told_from_codes_that_stay() {
        for code in ["08006", "40001", "40P01", "53300", "57P01", "57014", "55P03", "25006"] {
            assert!(postgres_may_be_asked_again(code), "{code}");
        }
        for code in ["23514", "23000", "42P01", "25P02", "22001", ""] {
            assert!(!postgres_may_be_asked_again(code), "{code}");
        }
        for code in ["5", "261", "517", "6", "10", "778", "13", "14"] {
            assert!(sqlite_may_be_asked_again(code), "{code}");
        }
        for code in ["1", "11", "19", "275", "1811", "3091", "26", "", "x"] {
            assert!(!sqlite_may_be_asked_again(code), "{code}");
        }
    }
}
