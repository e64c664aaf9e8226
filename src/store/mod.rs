//! The database: SQLite by default, PostgreSQL for several nodes. The only place that names sqlx.
//!
//! One file an aggregate, the SQL in place. Every statement is the same text on both databases; what differs stands in the
//! two sets of migrations and in `open.rs`. What may happen once only (a code used, a nonce answered, a state left) is a
//! conditional statement whose changed rows are counted, so that it holds between nodes too.

mod activation;
mod attestation;
mod audit;
mod authority;
mod certificate;
mod challenge;
mod clearance;
mod crl;
mod db;
mod derivation;
mod device;
mod error;
mod idempotency;
mod key;
mod key_version;
mod merchant;
mod open;
mod plan;
mod recorder;
mod restore;
mod row;
mod terminal;

pub use activation::{Activation, Use, WrongTry};
pub use attestation::{AttestationResult, NewResult, ResultId};
pub use audit::AuditEntry;
pub use authority::Authority;
pub use certificate::{Certificate, Revocation, RevocationReason, Revocations};
pub use clearance::{Clearance, ClearanceId, Purpose};
pub use crl::Crl;
pub use db::{Db, Link, Reads, Tx};
pub use device::{Device, DeviceFilter, SealedSecret};
pub use error::{Cause, StoreError};
pub use idempotency::{Reservation, Reserved};
pub use key::{Key, KeyFilter};
pub use key_version::{Dependants, KeyVersion, Made, Times};
pub use merchant::Merchant;
pub use plan::{ApprovalRow, PinKind, PlanId, PlanIdError, PlanRow, PlanState};
pub use terminal::Terminal;

use crate::audit::Entry;

/// The database, shared by cloning.
#[derive(Debug, Clone)]
pub struct Store {
    pools: open::Pools,
    recorder: recorder::Recorder,
}

impl Store {
    /// Opens `sqlite:PATH` (made if it is missing, readable by its owner only) or `postgres://...`, and brings the tables up
    /// to date. `connections` is the most that are held for reading (SQLite) or at all (PostgreSQL).
    ///
    /// # Errors
    /// [`StoreError::Open`]: not reachable, not a database, or written by a newer version.
    pub async fn open(url: &str, connections: u32) -> Result<Self, StoreError> {
        let pools = open::open(url, connections).await?;
        let recorder = recorder::Recorder::start(pools.clone());
        Ok(Self { pools, recorder })
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection is free in time.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        self.pools.begin().await
    }

    /// A connection to read with, outside a transaction.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection is free in time.
    pub async fn read(&self) -> Result<Reads, StoreError> {
        self.pools.reader.acquire().await.map(Db::new).map_err(|error| StoreError::of("", &error))
    }

    /// Writes an entry that belongs to no change, and returns when it is on the disk. Entries that come while one commit is
    /// under way share the next. The caller lets go of its own [`Reads`] or [`Tx`] first: the entry needs a connection.
    ///
    /// # Errors
    /// The entry was not written, and the answer that it is about must not be given: [`StoreError::Unavailable`] when the
    /// database fails or too many entries wait.
    pub async fn record(&self, entry: impl Into<Entry>) -> Result<(), StoreError> {
        let entry = entry.into();
        match entry.would_be() {
            Some(would_be) => Err(StoreError::DryRun(Box::new(would_be))),
            None => self.recorder.record(entry).await,
        }
    }

    /// Whether the database answers, and begins a transaction.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read().await?.authorities().await?;
        self.begin().await.map(drop)
    }

    /// Closes every connection, after those in use have ended. Later calls are [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.pools.reader.close().await;
        self.pools.writer.close().await;
    }
}

impl open::Pools {
    async fn begin(&self) -> Result<Tx, StoreError> {
        self.writer.begin_with(self.begin).await.map(Db::new).map_err(|error| StoreError::of("", &error))
    }
}
