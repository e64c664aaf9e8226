//! Versions of managed keys: their states, times, uses.

use tillward_hsm::managed::KeyName;

use super::audit::placeholders;
use super::db::{Db, Link, Tx};
use super::key::{COLUMNS as KEY_COLUMNS, Key, key, signed};
use super::row::Row;
use super::{Store, StoreError};
use crate::clock::UnixTime;
use crate::id::AcquirerId;
use crate::key::{Intent, KeyState, Life, Move, NoMove, Origin, Validity};

/// A version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// The logical key.
    pub key: KeyName,
    /// From 1.
    pub version: u32,
    /// The label on the token.
    pub label: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What is still to be done, before anything else can be done to it.
    pub intent: Option<Intent>,
    /// Its state.
    pub state: KeyState,
    /// When what happened to it.
    pub times: Times,
    /// The end of the waiting period before its destruction, and the order: plan and approvals, JSON.
    pub waits: Option<(UnixTime, String)>,
    /// Since when the token is being asked to destroy it.
    pub destroying: Option<UnixTime>,
    /// When it is valid.
    pub validity: Validity,
    /// Counted uses; only those of a version with a limit are counted.
    pub uses: u64,
    /// Uses at most.
    pub uses_limit: Option<u64>,
    /// What is known of the key itself.
    pub made: Made,
    /// Whether its escrow block is kept: the key under `export-kek`, of an exportable key until it is destroyed.
    pub escrowed: bool,
}

/// When what happened to a version, the first time or, of suspensions, the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Asked for.
    pub created: UnixTime,
    /// Made.
    pub made: Option<UnixTime>,
    /// Taken into use.
    pub activated: Option<UnixTime>,
    /// Suspended.
    pub suspended: Option<UnixTime>,
    /// Deactivated.
    pub deactivated: Option<UnixTime>,
    /// Reported as compromised.
    pub compromised: Option<UnixTime>,
    /// Destroyed.
    pub destroyed: Option<UnixTime>,
}

/// What the token told of a key when it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// CMAC check value, upper-case hexadecimal.
    pub kcv: Option<String>,
    /// SHA-256 of the public key.
    pub fingerprint: Option<[u8; 32]>,
    /// The public key, DER.
    pub spki: Option<Vec<u8>>,
}

/// What would stand still without a key of the design.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Dependants {
    /// Enrolled phones that are not retired.
    pub phones: u64,
    /// Certificates that are valid.
    pub certificates: u64,
    /// Activation codes that can be used.
    pub activations: u64,
}

impl KeyVersion {
    /// A version that is about to be made.
    pub fn intended(key: KeyName, version: u32, label: String, intent: Intent, now: UnixTime) -> Self {
        Self {
            key,
            version,
            label,
            origin: Origin::Generated,
            intent: Some(intent),
            state: KeyState::PreActivation,
            times: Times { created: now, ..Times::default() },
            waits: None,
            destroying: None,
            validity: Validity::default(),
            uses: 0,
            uses_limit: None,
            made: Made::default(),
            escrowed: false,
        }
    }

    /// What decides about it.
    pub fn life(&self) -> Life {
        Life { state: self.state, was_deactivated: self.times.deactivated.is_some(), waits: self.waits.is_some() }
    }

    /// The version after a move. [`Move::ScheduleDestruction`] and [`Move::Restore`] change [`Self::waits`]: the caller sets when the period ends.
    ///
    /// # Errors
    /// [`NoMove`] for what the life cycle does not have.
    pub fn after(&self, to: Move, now: UnixTime) -> Result<Self, NoMove> {
        let life = self.life().after(to)?;
        let mut next = Self { state: life.state, ..self.clone() };
        let times = &mut next.times;
        match to {
            Move::Activate => times.activated = times.activated.or(Some(now)),
            Move::Suspend => times.suspended = Some(now),
            Move::Deactivate => times.deactivated = times.deactivated.or(Some(now)),
            Move::ReportCompromise => times.compromised = Some(now),
            Move::ScheduleDestruction => {}
            Move::Restore => {
                next.waits = None;
                if life.state == KeyState::Suspended {
                    times.suspended = Some(now);
                }
            }
            Move::Destroy => {
                times.destroyed = Some(now);
                next.escrowed = false;
            }
        }
        Ok(next)
    }
}

const COLUMNS: &str = "v.key AS of_key, v.version, v.label, v.origin, v.state, v.intent, v.created, v.made, v.activated, v.suspended, \
                       v.deactivated, v.compromised, v.destroy_at, v.destroy_order, v.destroying, v.destroyed, v.not_before, v.protect_until, \
                       v.not_after, v.uses, v.uses_limit, v.kcv, v.fingerprint, v.spki, \
                       CASE WHEN v.escrow IS NULL THEN 0 ELSE 1 END AS escrowed";

impl Tx {
    /// Writes a version, and its escrow block.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is one of this number or label, or another that is not finished.
    pub async fn insert_version(&mut self, new: &KeyVersion, escrow: Option<&[u8]>) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO key_version (key, version, label, origin, state, intent, created, made, activated, suspended, deactivated, \
             not_before, protect_until, not_after, uses_limit, kcv, fingerprint, spki, escrow) VALUES ({})",
            placeholders(1, 19)
        );
        // Only constants and placeholders were put together.
        let statement = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(new.key.as_str())
            .bind(i64::from(new.version))
            .bind(&new.label)
            .bind(new.origin.name())
            .bind(new.state.name())
            .bind(new.intent.map(Intent::name))
            .bind(new.times.created.0)
            .bind(time(new.times.made))
            .bind(time(new.times.activated))
            .bind(time(new.times.suspended))
            .bind(time(new.times.deactivated))
            .bind(time(new.validity.not_before))
            .bind(time(new.validity.protect_until))
            .bind(time(new.validity.not_after))
            .bind(signed(new.uses_limit))
            .bind(new.made.kcv.as_deref())
            .bind(new.made.fingerprint.as_ref().map(<[u8; 32]>::as_slice))
            .bind(new.made.spki.as_deref())
            .bind(escrow);
        self.run("key_version", statement).await.map(drop)
    }

    /// Finishes an intent: the key is on the token, and this is what the token told of it. `false`: another was first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn finish_version(
        &mut self,
        key: &KeyName,
        version: u32,
        made: &Made,
        escrow: Option<&[u8]>,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "UPDATE key_version SET intent = NULL, made = $3, kcv = $4, fingerprint = $5, spki = $6, escrow = $7 \
             WHERE key = $1 AND version = $2 AND intent IS NOT NULL",
        )
        .bind(key.as_str())
        .bind(i64::from(version))
        .bind(now.0)
        .bind(made.kcv.as_deref())
        .bind(made.fingerprint.as_ref().map(<[u8; 32]>::as_slice))
        .bind(made.spki.as_deref())
        .bind(escrow);
        Ok(self.run("key_version", statement).await? == 1)
    }

    /// Writes what a move changed. `false`: the version is not as it was read any more, or is not made.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for what the life cycle in the database does not have.
    pub async fn move_version(&mut self, from: &KeyVersion, to: &KeyVersion) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "UPDATE key_version SET state = $5, activated = $6, suspended = $7, deactivated = $8, compromised = $9, destroyed = $10, \
             destroy_at = $11, destroy_order = $12, not_before = $13, protect_until = $14, not_after = $15, \
             escrow = CASE WHEN $5 = 'destroyed' THEN NULL ELSE escrow END \
             WHERE key = $1 AND version = $2 AND state = $3 AND coalesce(destroy_at, -1) = $4 AND intent IS NULL \
             AND (destroying IS NULL OR $5 = 'destroyed')",
        )
        .bind(from.key.as_str())
        .bind(i64::from(from.version))
        .bind(from.state.name())
        .bind(from.waits.as_ref().map_or(-1, |(at, _)| at.0))
        .bind(to.state.name())
        .bind(time(to.times.activated))
        .bind(time(to.times.suspended))
        .bind(time(to.times.deactivated))
        .bind(time(to.times.compromised))
        .bind(time(to.times.destroyed))
        .bind(to.waits.as_ref().map(|(at, _)| at.0))
        .bind(to.waits.as_ref().map(|(_, order)| order.as_str()))
        .bind(time(to.validity.not_before))
        .bind(time(to.validity.protect_until))
        .bind(time(to.validity.not_after));
        Ok(self.run("key_version", statement).await? == 1)
    }

    /// Takes a version whose waiting period is over to destroy it: from then on there is no way back. `false`: another node took it less than
    /// `lease` seconds ago, or there is nothing to destroy.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn take_to_destroy(&mut self, key: &KeyName, version: u32, now: UnixTime, lease: i64) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "UPDATE key_version SET destroying = $3 WHERE key = $1 AND version = $2 AND destroy_at <= $3 AND destroyed IS NULL \
             AND coalesce(destroying, 0) <= $4",
        )
        .bind(key.as_str())
        .bind(i64::from(version))
        .bind(now.0)
        .bind(now.plus(-lease).0);
        Ok(self.run("key_version", statement).await? == 1)
    }

    /// Sets the limit of uses of a version. `false`: it has been used more often already.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn limit_version(&mut self, key: &KeyName, version: u32, limit: Option<u64>) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "UPDATE key_version SET uses_limit = $3 WHERE key = $1 AND version = $2 AND ($3 IS NULL OR uses <= $3) AND state <> 'destroyed'",
        )
        .bind(key.as_str())
        .bind(i64::from(version))
        .bind(signed(limit));
        Ok(self.run("key_version", statement).await? == 1)
    }
}

impl Store {
    /// Counts uses of an active version that has a limit, before the token is asked. `false`: it has not as many left, or is not active any more.
    ///
    /// A statement of its own, without an audit event: what is counted is not decided here, and the use that it is counted for has its own entry. A
    /// use that fails after it was counted stays counted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn count_uses(&self, key: &KeyName, version: u32, uses: u32) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "UPDATE key_version SET uses = uses + $3 WHERE key = $1 AND version = $2 AND state = 'active' AND uses_limit IS NOT NULL \
             AND uses + $3 <= uses_limit",
        )
        .bind(key.as_str())
        .bind(i64::from(version))
        .bind(i64::from(uses));
        let connection = self.pools.writer.acquire().await.map_err(|error| StoreError::of("key_version", &error))?;
        Ok(Db::new(connection).run("key_version", statement).await? == 1)
    }
}

impl<C: Link> Db<C> {
    /// A key by name or alias, and its version of this number, or without one its primary version: what a use needs, in one query.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_key_for_use(&mut self, name: &KeyName, number: Option<u32>) -> Result<Option<(Key, Option<KeyVersion>)>, StoreError> {
        let sql = format!(
            "SELECT {KEY_COLUMNS}, {COLUMNS} FROM key \
             LEFT JOIN key_version v ON v.key = key.name AND v.version = coalesce($2, key.primary_version) \
             WHERE key.name = $1 OR key.name = (SELECT alias.key FROM key_alias alias WHERE alias.alias = $1)"
        );
        // Only constants were put together.
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name.as_str()).bind(number.map(i64::from));
        let Some(row) = self.row("key", query).await? else { return Ok(None) };
        let there = row.optional_text("of_key")?.is_some();
        Ok(Some((key(&row)?, if there { Some(version(&row)?) } else { None })))
    }

    /// A version.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_version(&mut self, key: &KeyName, number: u32) -> Result<Option<KeyVersion>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM key_version v WHERE v.key = $1 AND v.version = $2");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(key.as_str()).bind(i64::from(number));
        self.row("key_version", query).await?.as_ref().map(version).transpose()
    }

    /// The escrow block of a version.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_escrow(&mut self, key: &KeyName, number: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let query =
            sqlx::query("SELECT label, escrow FROM key_version WHERE key = $1 AND version = $2").bind(key.as_str()).bind(i64::from(number));
        Ok(self.row("key_version", query).await?.map(|row| row.optional_bytes("escrow")).transpose()?.flatten())
    }

    /// Every version of a key, the first one first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn versions_of(&mut self, key: &KeyName) -> Result<Vec<KeyVersion>, StoreError> {
        self.versions_where("v.key = $1 ORDER BY v.version", key.as_str()).await
    }

    /// Every version of every key: for the comparison with the token.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn all_versions(&mut self) -> Result<Vec<KeyVersion>, StoreError> {
        self.versions_where("$1 = '' ORDER BY v.label", "").await
    }

    /// The versions of the keys with these names that are the primary ones: of the design, the only ones.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn primaries_of(&mut self, names: &[KeyName]) -> Result<Vec<KeyVersion>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM key JOIN key_version v ON v.key = key.name AND v.version = key.primary_version WHERE key.name IN ({})",
            placeholders(1, names.len().max(1))
        );
        // Only constants and placeholders were put together.
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for name in names {
            query = query.bind(name.as_str());
        }
        self.rows("key_version", query).await?.iter().map(version).collect()
    }

    /// Versions whose making is not finished.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn unfinished_versions(&mut self) -> Result<Vec<KeyVersion>, StoreError> {
        self.versions_where("v.intent IS NOT NULL AND $1 = '' ORDER BY v.key", "").await
    }

    /// Versions whose waiting period is over.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn versions_to_destroy(&mut self, now: UnixTime) -> Result<Vec<KeyVersion>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM key_version v WHERE v.destroy_at <= $1 AND v.destroyed IS NULL ORDER BY v.destroy_at");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now.0);
        self.rows("key_version", query).await?.iter().map(version).collect()
    }

    /// Keys whose primary version has been active for its rotation period.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn keys_to_rotate(&mut self, now: UnixTime) -> Result<Vec<Key>, StoreError> {
        let sql = format!(
            "SELECT {KEY_COLUMNS} FROM key JOIN key_version v ON v.key = key.name AND v.version = key.primary_version \
             WHERE key.class = 'kms' AND v.state = 'active' AND v.activated + key.rotation_seconds <= $1 ORDER BY v.activated"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now.0);
        self.rows("key", query).await?.iter().map(key).collect()
    }

    /// What depends on the keys of the design: live devices, of this acquirer or of all; certificates that are neither revoked nor at their end;
    /// activations that can still be used.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn count_dependants(&mut self, acquirer: Option<&AcquirerId>, now: UnixTime) -> Result<Dependants, StoreError> {
        let acquirer = acquirer.map_or("", AcquirerId::as_str);
        let phones = sqlx::query("SELECT count(*) FROM device WHERE state <> 'retired' AND ($1 = '' OR acquirer = $1)").bind(acquirer);
        let certificates = sqlx::query(
            "SELECT count(*) FROM certificate JOIN device ON device.id = certificate.device WHERE revoked_at IS NULL AND not_after > $2 \
             AND ($1 = '' OR acquirer = $1)",
        )
        .bind(acquirer)
        .bind(now.0);
        let activations =
            sqlx::query("SELECT count(*) FROM activation WHERE state = 'open' AND expires > $2 AND ($1 = '' OR acquirer = $1)")
                .bind(acquirer)
                .bind(now.0);
        Ok(Dependants {
            phones: self.number("device", phones).await?,
            certificates: self.number("certificate", certificates).await?,
            activations: self.number("activation", activations).await?,
        })
    }

    /// Where the audit log tells of exports of a key: number and time of each entry.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn exports_of(&mut self, key: &KeyName) -> Result<Vec<(u64, UnixTime)>, StoreError> {
        let query = sqlx::query(
            "SELECT seq, at FROM audit WHERE action = 'export_key' AND resource_kind = 'key' AND resource_id = $1 AND outcome = 'effect' \
             ORDER BY seq",
        )
        .bind(key.as_str());
        self.rows("audit", query).await?.iter().map(|row| Ok((row.number("seq")?, row.time("at")?))).collect()
    }

    /// Where the audit log tells of exports under a version of a KEK: number and time of each entry.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn exports_under(&mut self, kek: &KeyName, version: u32) -> Result<Vec<(u64, UnixTime)>, StoreError> {
        // A text search that both databases have: the detail is JSON without white space, and quotes within values are escaped in it.
        let query = sqlx::query(
            "SELECT seq, at FROM audit WHERE action = 'export_key' AND outcome = 'effect' AND replace(detail, $1, '') <> detail \
             AND replace(detail, $2, '') <> detail ORDER BY seq",
        )
        .bind(format!("\"kek\":\"{kek}\""))
        .bind(format!("\"kek_version\":\"{version}\""));
        self.rows("audit", query).await?.iter().map(|row| Ok((row.number("seq")?, row.time("at")?))).collect()
    }

    async fn versions_where(&mut self, condition: &'static str, value: &str) -> Result<Vec<KeyVersion>, StoreError> {
        // Only constants were put together.
        let sql = format!("SELECT {COLUMNS} FROM key_version v WHERE {condition}");
        self.rows("key_version", sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value)).await?.iter().map(version).collect()
    }
}

fn version(row: &Row) -> Result<KeyVersion, StoreError> {
    let waits = match (row.optional_time("destroy_at")?, row.optional_text("destroy_order")?) {
        (Some(at), Some(order)) => Some((at, order)),
        (None, None) => None,
        _ => return Err(row.corrupt("destroy_order")),
    };
    let intent = row.optional_text("intent")?;
    Ok(KeyVersion {
        key: row.parsed("of_key")?,
        version: row.number("version")?,
        label: row.text("label")?,
        origin: row.named("origin", Origin::parse)?,
        intent: intent.map(|name| Intent::parse(&name).ok_or_else(|| row.corrupt("intent"))).transpose()?,
        state: row.named("state", KeyState::parse)?,
        times: Times {
            created: row.time("created")?,
            made: row.optional_time("made")?,
            activated: row.optional_time("activated")?,
            suspended: row.optional_time("suspended")?,
            deactivated: row.optional_time("deactivated")?,
            compromised: row.optional_time("compromised")?,
            destroyed: row.optional_time("destroyed")?,
        },
        waits,
        destroying: row.optional_time("destroying")?,
        validity: Validity {
            not_before: row.optional_time("not_before")?,
            protect_until: row.optional_time("protect_until")?,
            not_after: row.optional_time("not_after")?,
        },
        uses: row.number("uses")?,
        uses_limit: row.optional_number("uses_limit")?,
        made: Made { kcv: row.optional_text("kcv")?, fingerprint: row.optional_array("fingerprint")?, spki: row.optional_bytes("spki")? },
        escrowed: row.number::<u8>("escrowed")? == 1,
    })
}

fn time(time: Option<UnixTime>) -> Option<i64> {
    time.map(|time| time.0)
}
