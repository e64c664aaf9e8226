//! The service's own certificates, made once by `tillward init`.

use super::StoreError;
use super::db::{Db, Link, Tx};
use crate::clock::UnixTime;

/// A certificate of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// root, issuing, attestation-signing or personalization-signing.
    pub name: String,
    /// DER.
    pub der: Vec<u8>,
    /// When it was made.
    pub made: UnixTime,
}

impl Tx {
    /// Adds a certificate.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is one of this name.
    pub async fn insert_authority(&mut self, authority: &Authority) -> Result<(), StoreError> {
        let statement = sqlx::query("INSERT INTO authority (name, der, made) VALUES ($1, $2, $3)")
            .bind(&authority.name)
            .bind(authority.der.as_slice())
            .bind(authority.made.0);
        self.run("authority", statement).await.map(drop)
    }
}

impl<C: Link> Db<C> {
    /// Every certificate of the service.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn authorities(&mut self) -> Result<Vec<Authority>, StoreError> {
        let rows = self.rows("authority", sqlx::query("SELECT name, der, made FROM authority ORDER BY name")).await?;
        rows.iter().map(|row| Ok(Authority { name: row.text("name")?, der: row.bytes("der")?, made: row.time("made")? })).collect()
    }
}
