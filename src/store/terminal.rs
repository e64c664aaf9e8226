//! Terminals.

use super::StoreError;
use super::db::{Db, Link, Tx};
use crate::clock::UnixTime;
use crate::id::{AcquirerId, MerchantId, TerminalId};

/// A terminal of a merchant: what a phone becomes when it is enrolled.
#[derive(Debug, Clone, PartialEq)]
pub struct Terminal {
    /// Its id, chosen by the back end.
    pub id: TerminalId,
    /// Its merchant.
    pub merchant: MerchantId,
    /// Its merchant's acquirer; a foreign key holds the two together.
    pub acquirer: AcquirerId,
    /// The name of its security level.
    pub level: String,
    /// What the personalization package carries to the phone as it is.
    pub configuration: serde_json::Map<String, serde_json::Value>,
    /// When it was registered.
    pub created: UnixTime,
}

impl Tx {
    /// Registers a terminal.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the id is taken; [`StoreError::NoParent`] when that acquirer has no such merchant.
    pub async fn insert_terminal(&mut self, terminal: &Terminal) -> Result<(), StoreError> {
        let statement =
            sqlx::query("INSERT INTO terminal (id, merchant, acquirer, level, configuration, created) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(terminal.id.as_str())
                .bind(terminal.merchant.as_str())
                .bind(terminal.acquirer.as_str())
                .bind(&terminal.level)
                .bind(serde_json::Value::from(terminal.configuration.clone()).to_string())
                .bind(terminal.created.0);
        self.run("terminal", statement).await.map(drop)
    }
}

impl<C: Link> Db<C> {
    /// The terminal with this id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_terminal(&mut self, id: &TerminalId) -> Result<Option<Terminal>, StoreError> {
        let query =
            sqlx::query("SELECT id, merchant, acquirer, level, configuration, created FROM terminal WHERE id = $1").bind(id.as_str());
        let Some(row) = self.row("terminal", query).await? else { return Ok(None) };
        Ok(Some(Terminal {
            id: row.parsed("id")?,
            merchant: row.parsed("merchant")?,
            acquirer: row.parsed("acquirer")?,
            level: row.text("level")?,
            configuration: row.json("configuration")?,
            created: row.time("created")?,
        }))
    }
}
