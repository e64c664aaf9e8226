//! Opening: the pools, the settings of each connection, the migrations.

use super::{Cause, StoreError};
use sqlx::any::{Any, AnyPoolOptions};
use sqlx::pool::{Pool, PoolConnectionMetadata};
use sqlx::{AnyConnection, Connection as _, Executor, Row as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where reads and changes go. On PostgreSQL both are one pool.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    pub(super) writer: Pool<Any>,
    pub(super) reader: Pool<Any>,
    pub(super) begin: &'static str,
}

/// A caller waits this long for a connection, then it is told that the database is busy.
const ACQUIRE: Duration = Duration::from_secs(5);

pub(super) async fn open(url: &str, connections: u32) -> Result<Pools, StoreError> {
    sqlx::any::install_default_drivers();
    if let Some(path) = url.strip_prefix("sqlite:") {
        open_sqlite(Path::new(path.strip_prefix("//").unwrap_or(path)), connections).await
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        open_postgres(url, connections).await
    } else {
        Err(cannot("the URL begins neither with sqlite: nor with postgres://"))
    }
}

/// One connection writes, so that SQLite's one write lock is waited for here, in order, and not by polling.
async fn open_sqlite(path: &Path, readers: u32) -> Result<Pools, StoreError> {
    let path = prepare_file(path)?;
    let url = sqlite_url(&path);
    let options = || AnyPoolOptions::new().acquire_timeout(ACQUIRE).idle_timeout(None).max_lifetime(None).test_before_acquire(false);
    let writer = options()
        .max_connections(1)
        .after_connect(|connection, _: PoolConnectionMetadata| Box::pin(set_up_sqlite_writer(connection)))
        .before_acquire(|connection, _: PoolConnectionMetadata| Box::pin(is_fit_to_begin(connection)))
        .connect(&url)
        .await
        .map_err(|error| cannot(&error))?;
    sqlx::migrate!("src/store/migrations/sqlite").run(&writer).await.map_err(|error| cannot(&error))?;
    let reader = options()
        .max_connections(readers.max(1))
        .after_connect(|connection, _: PoolConnectionMetadata| Box::pin(set_up_sqlite_reader(connection)))
        .connect(&url)
        .await
        .map_err(|error| cannot(&error))?;
    Ok(Pools { writer, reader, begin: "BEGIN IMMEDIATE" })
}

async fn set_up_sqlite_writer(connection: &mut AnyConnection) -> sqlx::Result<()> {
    let mode: String = sqlx::query("PRAGMA journal_mode = WAL").fetch_one(&mut *connection).await?.try_get(0)?;
    if mode != "wal" {
        return Err(sqlx::Error::Configuration("the file system does not let SQLite use a write-ahead log".into()));
    }
    // FULL: an acknowledged commit survives a power cut. The others keep the schema's own promises on every connection.
    connection.execute("PRAGMA synchronous = FULL").await?;
    connection.execute("PRAGMA foreign_keys = ON").await?;
    connection.execute("PRAGMA recursive_triggers = ON").await?;
    connection.execute("PRAGMA trusted_schema = OFF").await?;
    connection.execute("PRAGMA busy_timeout = 5000").await?;
    Ok(())
}

/// A disk that is full, or does not answer, makes SQLite end a transaction by itself (<https://www.sqlite.org/lang_transaction.html> §3);
/// sqlx goes on to count it, and begins none on this connection any more. `false`: another connection takes its place.
async fn is_fit_to_begin(connection: &mut AnyConnection) -> sqlx::Result<bool> {
    // A transaction that was dropped is rolled back by now: the answer comes after that.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

async fn set_up_sqlite_reader(connection: &mut AnyConnection) -> sqlx::Result<()> {
    connection.execute("PRAGMA query_only = ON").await?;
    connection.execute("PRAGMA trusted_schema = OFF").await?;
    connection.execute("PRAGMA busy_timeout = 5000").await?;
    Ok(())
}

async fn open_postgres(url: &str, connections: u32) -> Result<Pools, StoreError> {
    let pool = AnyPoolOptions::new()
        .acquire_timeout(ACQUIRE)
        .max_connections(connections.max(1))
        .after_connect(|connection, _: PoolConnectionMetadata| Box::pin(set_up_postgres(connection)))
        .connect(url)
        .await
        .map_err(|error| cannot(&error))?;
    sqlx::migrate!("src/store/migrations/postgres").run(&pool).await.map_err(|error| cannot(&error))?;
    Ok(Pools { writer: pool.clone(), reader: pool, begin: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE" })
}

async fn set_up_postgres(connection: &mut AnyConnection) -> sqlx::Result<()> {
    // A server that acknowledges a commit before it is on the disk is not taken at its word.
    connection.execute("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'").await?;
    // Nothing here is slow by right: what takes this long waits for a lock or for a lost peer.
    connection.execute("SET lock_timeout = '5s'").await?;
    connection.execute("SET statement_timeout = '15s'").await?;
    connection.execute("SET idle_in_transaction_session_timeout = '30s'").await?;
    Ok(())
}

/// Makes the file, readable by its owner only: SQLite gives its log files the same mode. A file that is there is left as it is.
fn prepare_file(path: &Path) -> Result<PathBuf, StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    if path.as_os_str().is_empty() || path.as_os_str().as_encoded_bytes().starts_with(b":") {
        return Err(cannot("a database in memory would forget which codes are used; give the path of a file"));
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(cannot(&error)),
    }
    std::path::absolute(path).map_err(|error| cannot(&error))
}

/// The URL of a file, whatever characters are in its name.
fn sqlite_url(path: &Path) -> String {
    use std::fmt::Write;
    let mut url = String::from("sqlite://");
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            url.push(char::from(*byte));
        } else {
            write!(url, "%{byte:02X}").expect("a string takes it");
        }
    }
    url
}

fn cannot(reason: impl std::fmt::Display) -> StoreError {
    StoreError::Open(Cause::new(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_odd_characters_is_escaped() {
        assert_eq!(sqlite_url(Path::new("/a b/c?d#e%.db")), "sqlite:///a%20b/c%3Fd%23e%25.db");
    }

    #[tokio::test]
    async fn every_sqlite_connection_has_the_settings_that_durability_rests_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let pools = open(&format!("sqlite:{}", directory.path().join("a b?.db").display()), 2).await.expect("opens");
        let read = async |pool: &Pool<Any>, pragma: &'static str| -> String {
            let row = sqlx::query(pragma).fetch_one(pool).await.expect("answers");
            row.try_get::<String, _>(0).or_else(|_| row.try_get::<i64, _>(0).map(|number| number.to_string())).expect("a word or a number")
        };
        assert_eq!(read(&pools.writer, "PRAGMA journal_mode").await, "wal");
        assert_eq!(read(&pools.writer, "PRAGMA synchronous").await, "2");
        assert_eq!(read(&pools.writer, "PRAGMA foreign_keys").await, "1");
        assert_eq!(read(&pools.writer, "PRAGMA recursive_triggers").await, "1");
        assert_eq!(read(&pools.reader, "PRAGMA journal_mode").await, "wal");
        assert_eq!(read(&pools.reader, "PRAGMA query_only").await, "1");
    }

    #[tokio::test]
    async fn a_full_disk_costs_what_was_under_way_and_not_the_connection_for_ever() {
        let directory = tempfile::tempdir().expect("a directory");
        let pools = open(&format!("sqlite:{}", directory.path().join("full.db").display()), 1).await.expect("opens");
        let write = async |bytes: u32| {
            let mut tx = pools.writer.begin_with(pools.begin).await?;
            sqlx::query("INSERT INTO filler (content) VALUES (zeroblob($1))").bind(i64::from(bytes)).execute(&mut *tx).await?;
            tx.commit().await
        };
        sqlx::query("CREATE TABLE filler (content BLOB)").execute(&pools.writer).await.expect("a table");
        // As on a full disk: SQLITE_FULL, of this connection only.
        sqlx::query("PRAGMA max_page_count = 1").execute(&pools.writer).await.expect("the least that is possible");
        let full = write(1 << 20).await.expect_err("there is no place");
        assert!(matches!(StoreError::of("filler", &full), StoreError::Unavailable(_)), "{full}");
        write(1).await.expect("there is place again");
    }

    #[test]
    fn a_database_in_memory_is_refused() {
        for path in ["", ":memory:"] {
            assert!(prepare_file(Path::new(path)).is_err());
        }
    }
}
