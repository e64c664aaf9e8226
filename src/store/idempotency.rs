//! Answers that are kept for those who ask the same again: reserved before the work, answered after it.

use super::db::{Db, Tx};
use super::{Store, StoreError};
use crate::clock::UnixTime;

/// A request that is to have its effect once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Who asks.
    pub principal: String,
    /// The key that the caller gave the request.
    pub key: String,
    /// What is asked.
    pub fingerprint: [u8; 32],
    /// The request that does the work.
    pub request: String,
    /// Since when.
    pub reserved: UnixTime,
    /// Until when the key means this request.
    pub expires: UnixTime,
}

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It is this request's: it does the work.
    Now,
    /// The key means another request.
    ForAnother,
    /// Another request does the work.
    InProgress,
    /// The work is done.
    Answered {
        /// HTTP status.
        status: u16,
        /// JSON.
        body: Vec<u8>,
    },
}

impl Store {
    /// Reserves a key. One that has expired is free, and one without an answer that was reserved before `lost` is taken over by the same request.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn reserve(&self, wanted: &Reservation, lost: UnixTime) -> Result<Reserved, StoreError> {
        let statement = sqlx::query(
            "INSERT INTO idempotency (principal, key, fingerprint, request, reserved, expires) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (principal, key) DO UPDATE SET fingerprint = excluded.fingerprint, request = excluded.request, \
             reserved = excluded.reserved, expires = excluded.expires, status = NULL, body = NULL \
             WHERE idempotency.expires <= $5 \
             OR (idempotency.status IS NULL AND idempotency.reserved < $7 AND idempotency.fingerprint = excluded.fingerprint)",
        )
        .bind(wanted.principal.as_str())
        .bind(wanted.key.as_str())
        .bind(wanted.fingerprint.as_slice())
        .bind(wanted.request.as_str())
        .bind(wanted.reserved.0)
        .bind(wanted.expires.0)
        .bind(lost.0);
        if self.write(statement).await? == 1 {
            return Ok(Reserved::Now);
        }
        let query = sqlx::query("SELECT key, fingerprint, status, body FROM idempotency WHERE principal = $1 AND key = $2")
            .bind(wanted.principal.as_str())
            .bind(wanted.key.as_str());
        // Gone since the line above: released, and whoever asks again reserves it.
        let Some(row) = self.read().await?.row("idempotency", query).await? else { return Ok(Reserved::InProgress) };
        if row.array::<32>("fingerprint")? != wanted.fingerprint {
            return Ok(Reserved::ForAnother);
        }
        match (row.optional_number("status")?, row.optional_bytes("body")?) {
            (Some(status), Some(body)) => Ok(Reserved::Answered { status, body }),
            _ => Ok(Reserved::InProgress),
        }
    }

    /// Keeps the answer. Where another request has taken the reservation over, that one's answer counts.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn keep_answer(&self, of: &Reservation, status: u16, body: &[u8]) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "UPDATE idempotency SET status = $4, body = $5 WHERE principal = $1 AND key = $2 AND request = $3 AND status IS NULL",
        );
        let statement = statement.bind(of.principal.as_str()).bind(of.key.as_str()).bind(of.request.as_str());
        self.write(statement.bind(i64::from(status)).bind(body)).await.map(drop)
    }

    /// Takes a reservation back.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn release(&self, reservation: &Reservation) -> Result<(), StoreError> {
        let statement = sqlx::query("DELETE FROM idempotency WHERE principal = $1 AND key = $2 AND request = $3 AND status IS NULL")
            .bind(reservation.principal.as_str())
            .bind(reservation.key.as_str())
            .bind(reservation.request.as_str());
        self.write(statement).await.map(drop)
    }

    /// One statement by itself: it says nothing about the world that an audit log would keep.
    async fn write(&self, statement: super::db::Statement<'_>) -> Result<u64, StoreError> {
        let connection = self.pools.writer.acquire().await.map_err(|error| StoreError::of("idempotency", &error))?;
        Db::new(connection).run("idempotency", statement).await
    }
}

impl Tx {
    /// Forgets the answers that have expired; how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn purge_idempotency(&mut self, now: UnixTime) -> Result<u64, StoreError> {
        self.run("idempotency", sqlx::query("DELETE FROM idempotency WHERE expires <= $1").bind(now.0)).await
    }
}
