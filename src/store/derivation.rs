//! Derivation marks: how far each acquirer's derivation ids are given out. The mark here is written and committed before the
//! token's moves, so that after a crash the higher of the two says where to go on.

use super::StoreError;
use super::db::{Db, Link, Tx};
use crate::id::AcquirerId;

impl Tx {
    /// Raises an acquirer's mark. `false`: it is there already, or higher; it never falls.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a mark beyond the last derivation id.
    pub async fn raise_derivation_mark(&mut self, acquirer: &AcquirerId, mark: u64) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "INSERT INTO derivation_mark (acquirer, mark) VALUES ($1, $2) \
             ON CONFLICT (acquirer) DO UPDATE SET mark = excluded.mark WHERE derivation_mark.mark < excluded.mark",
        )
        .bind(acquirer.as_str())
        .bind(i64::try_from(mark).unwrap_or(i64::MAX));
        Ok(self.run("derivation_mark", statement).await? == 1)
    }
}

impl<C: Link> Db<C> {
    /// An acquirer's mark, if one was ever set.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_derivation_mark(&mut self, acquirer: &AcquirerId) -> Result<Option<u64>, StoreError> {
        let query = sqlx::query("SELECT acquirer, mark FROM derivation_mark WHERE acquirer = $1").bind(acquirer.as_str());
        self.row("derivation_mark", query).await?.map(|row| row.number("mark")).transpose()
    }
}
