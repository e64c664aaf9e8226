//! Merchants.

use super::StoreError;
use super::db::{Db, Link, Tx};
use crate::clock::UnixTime;
use crate::id::{AcquirerId, MerchantId};

/// A merchant of an acquirer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// Its id, chosen by the back end.
    pub id: MerchantId,
    /// The acquirer that it belongs to, for good.
    pub acquirer: AcquirerId,
    /// What people call it, 1 to 200 characters.
    pub name: String,
    /// When it was registered.
    pub created: UnixTime,
}

impl Tx {
    /// Registers a merchant.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the id is taken.
    pub async fn insert_merchant(&mut self, merchant: &Merchant) -> Result<(), StoreError> {
        let statement = sqlx::query("INSERT INTO merchant (id, acquirer, name, created) VALUES ($1, $2, $3, $4)")
            .bind(merchant.id.as_str())
            .bind(merchant.acquirer.as_str())
            .bind(&merchant.name)
            .bind(merchant.created.0);
        self.run("merchant", statement).await.map(drop)
    }
}

impl<C: Link> Db<C> {
    /// The merchant with this id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_merchant(&mut self, id: &MerchantId) -> Result<Option<Merchant>, StoreError> {
        let query = sqlx::query("SELECT id, acquirer, name, created FROM merchant WHERE id = $1").bind(id.as_str());
        let Some(row) = self.row("merchant", query).await? else { return Ok(None) };
        Ok(Some(Merchant {
            id: row.parsed("id")?,
            acquirer: row.parsed("acquirer")?,
            name: row.text("name")?,
            created: row.time("created")?,
        }))
    }
}
