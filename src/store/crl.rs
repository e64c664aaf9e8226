//! Certificate revocation lists, each kept.

use super::StoreError;
use super::db::{Db, Link, Tx};
use crate::clock::UnixTime;

/// A signed certificate revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// Its CRL number (RFC 5280 §5.2.3).
    pub number: u64,
    /// The list.
    pub der: Vec<u8>,
    /// When it was made.
    pub this_update: UnixTime,
    /// When the next one is due.
    pub next_update: UnixTime,
    /// How many revocations it covers: fewer than there are means that a new list is due.
    pub covers: u64,
}

impl Tx {
    /// Writes the next list.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another node has written this number first.
    pub async fn insert_crl(&mut self, crl: &Crl) -> Result<(), StoreError> {
        let statement = sqlx::query("INSERT INTO crl (number, der, this_update, next_update, covers) VALUES ($1, $2, $3, $4, $5)")
            .bind(i64::try_from(crl.number).unwrap_or(i64::MAX))
            .bind(crl.der.as_slice())
            .bind(crl.this_update.0)
            .bind(crl.next_update.0)
            .bind(i64::try_from(crl.covers).unwrap_or(i64::MAX));
        self.run("crl", statement).await.map(drop)
    }
}

impl<C: Link> Db<C> {
    /// The list with the highest number.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_latest_crl(&mut self) -> Result<Option<Crl>, StoreError> {
        let query = sqlx::query("SELECT number, der, this_update, next_update, covers FROM crl ORDER BY number DESC LIMIT 1");
        let Some(row) = self.row("crl", query).await? else { return Ok(None) };
        Ok(Some(Crl {
            number: row.number("number")?,
            der: row.bytes("der")?,
            this_update: row.time("this_update")?,
            next_update: row.time("next_update")?,
            covers: row.number("covers")?,
        }))
    }
}
