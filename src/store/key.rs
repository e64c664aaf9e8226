//! Logical keys and their aliases.

use std::collections::BTreeSet;

use tillward_hsm::managed::{KekForm, KeyAlgorithm, KeyName, Purpose};

use super::StoreError;
use super::audit::placeholders;
use super::db::{Db, Link, Tx};
use super::row::Row;
use crate::clock::UnixTime;
use crate::id::AcquirerId;
use crate::key::{KeyClass, Periods, Shape};

/// A logical key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name, for good.
    pub name: KeyName,
    /// What its versions are.
    pub shape: Shape,
    /// The acquirer that it belongs to; none: the service's own.
    pub acquirer: Option<AcquirerId>,
    /// Cryptoperiods.
    pub periods: Periods,
    /// Uses that its next versions have; none: without limit.
    pub uses_limit: Option<u64>,
    /// The version that protects where none is named.
    pub primary: Option<u32>,
    /// When it was asked for.
    pub created: UnixTime,
}

/// Which keys a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Of this class.
    pub class: Option<String>,
    /// For this purpose.
    pub purpose: Option<Purpose>,
    /// After this name.
    pub after: Option<KeyName>,
}

pub(super) const COLUMNS: &str = "name, class, form, key.acquirer, purpose, algorithm, exportable, rotation_seconds, protect_seconds, \
                                  process_seconds, key.uses_limit AS next_limit, primary_version, key.created AS asked";

impl Tx {
    /// Writes a logical key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn insert_key(&mut self, key: &Key) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "INSERT INTO key (name, class, form, acquirer, purpose, algorithm, exportable, rotation_seconds, protect_seconds, \
             process_seconds, uses_limit, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(key.name.as_str())
        .bind(key.shape.class.name())
        .bind(key.shape.class.form().map(KekForm::name))
        .bind(key.acquirer.as_ref().map(AcquirerId::as_str))
        .bind(key.shape.purpose.name())
        .bind(key.shape.algorithm.name())
        .bind(i64::from(key.shape.exportable))
        .bind(signed(key.periods.rotation))
        .bind(signed(key.periods.protect))
        .bind(signed(key.periods.process))
        .bind(signed(key.uses_limit))
        .bind(key.created.0);
        self.run("key", statement).await.map(drop)
    }

    /// Takes the key's row until the end of the transaction: of two that change its versions, the second sees what the first did.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn hold_key(&mut self, name: &KeyName) -> Result<bool, StoreError> {
        let statement = sqlx::query("UPDATE key SET created = created WHERE name = $1").bind(name.as_str());
        Ok(self.run("key", statement).await? == 1)
    }

    /// Changes what may change of a key.
    ///
    /// # Errors
    /// [`StoreError::NoParent`] when there is no such version.
    pub async fn update_key(&mut self, key: &Key) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "UPDATE key SET rotation_seconds = $2, protect_seconds = $3, process_seconds = $4, uses_limit = $5, primary_version = $6 \
             WHERE name = $1",
        )
        .bind(key.name.as_str())
        .bind(signed(key.periods.rotation))
        .bind(signed(key.periods.protect))
        .bind(signed(key.periods.process))
        .bind(signed(key.uses_limit))
        .bind(key.primary.map(i64::from));
        self.run("key", statement).await.map(drop)
    }

    /// Gives a key these aliases and no others. `false`: one of them is the name of a key, or the alias of another.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn set_aliases(&mut self, name: &KeyName, aliases: &BTreeSet<KeyName>, now: UnixTime) -> Result<bool, StoreError> {
        self.run("key_alias", sqlx::query("DELETE FROM key_alias WHERE key = $1").bind(name.as_str())).await?;
        for alias in aliases {
            let taken = sqlx::query("SELECT name FROM key WHERE name = $1 UNION ALL SELECT alias FROM key_alias WHERE alias = $1");
            if self.row("key_alias", taken.bind(alias.as_str())).await?.is_some() {
                return Ok(false);
            }
            let insert = sqlx::query("INSERT INTO key_alias (alias, key, created) VALUES ($1, $2, $3)")
                .bind(alias.as_str())
                .bind(name.as_str())
                .bind(now.0);
            self.run("key_alias", insert).await?;
        }
        Ok(true)
    }
}

impl<C: Link> Db<C> {
    /// The key of this name; of an alias where `aliases` says so.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_key(&mut self, name: &KeyName, aliases: bool) -> Result<Option<Key>, StoreError> {
        // Only constants were put together.
        let sql = format!(
            "SELECT {COLUMNS} FROM key WHERE name = $1 OR ($2 = 1 AND name = (SELECT alias.key FROM key_alias alias WHERE alias.alias = $1))"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name.as_str()).bind(i64::from(aliases));
        self.row("key", query).await?.as_ref().map(key).transpose()
    }

    /// The aliases of a key.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn aliases_of(&mut self, name: &KeyName) -> Result<BTreeSet<KeyName>, StoreError> {
        let query = sqlx::query("SELECT alias FROM key_alias WHERE key = $1").bind(name.as_str());
        self.rows("key_alias", query).await?.iter().map(|row| row.parsed("alias")).collect()
    }

    /// Up to `limit` keys of these acquirers, and where `of_service` says so of the service, by name.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn list_keys(
        &mut self,
        acquirers: &BTreeSet<AcquirerId>,
        of_service: bool,
        filter: &KeyFilter,
        limit: u32,
    ) -> Result<Vec<Key>, StoreError> {
        let theirs = if acquirers.is_empty() { "1 = 0".to_owned() } else { format!("acquirer IN ({})", placeholders(6, acquirers.len())) };
        let sql = format!(
            "SELECT {COLUMNS} FROM key WHERE name > $1 AND ($2 = '' OR class = $2) AND ($3 = '' OR purpose = $3) \
             AND (($4 = 1 AND acquirer IS NULL) OR {theirs}) ORDER BY name LIMIT $5"
        );
        // Only constants and placeholders were put together.
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(filter.after.as_ref().map_or("", KeyName::as_str))
            .bind(filter.class.as_deref().unwrap_or(""))
            .bind(filter.purpose.map_or("", Purpose::name))
            .bind(i64::from(of_service))
            .bind(i64::from(limit));
        for acquirer in acquirers {
            query = query.bind(acquirer.as_str());
        }
        self.rows("key", query).await?.iter().map(key).collect()
    }
}

pub(super) fn key(row: &Row) -> Result<Key, StoreError> {
    let form = row.optional_text("form")?;
    Ok(Key {
        name: row.parsed("name")?,
        shape: Shape {
            class: row.named("class", |name| KeyClass::parse(name, form.as_deref()))?,
            purpose: row.named("purpose", Purpose::named)?,
            algorithm: row.named("algorithm", KeyAlgorithm::named)?,
            exportable: row.number::<u8>("exportable")? == 1,
        },
        acquirer: row.optional_parsed("acquirer")?,
        periods: Periods {
            rotation: row.optional_number("rotation_seconds")?,
            protect: row.optional_number("protect_seconds")?,
            process: row.optional_number("process_seconds")?,
        },
        uses_limit: row.optional_number("next_limit")?,
        primary: row.optional_number("primary_version")?,
        created: row.time("asked")?,
    })
}

/// A number as both databases keep it. None is more than nine trillion seconds or uses.
pub(super) fn signed(number: Option<u64>) -> Option<i64> {
    number.map(|number| i64::try_from(number).unwrap_or(i64::MAX))
}
