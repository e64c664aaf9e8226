//! Devices: the enrolled phones.

use super::StoreError;
use super::audit::placeholders;
use super::db::{Db, Link, Tx};
use super::row::{Row, to_hex};
use crate::clock::UnixTime;
use crate::enrolment::state::DeviceState;
use crate::id::{AcquirerId, DeviceId, MerchantId, TerminalId};
use std::collections::BTreeSet;
use std::fmt;

/// An enrolled phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// The terminal that it is.
    pub terminal: TerminalId,
    /// The terminal's merchant.
    pub merchant: MerchantId,
    /// The merchant's acquirer.
    pub acquirer: AcquirerId,
    /// The security level that it was enrolled at.
    pub level: String,
    /// Its state.
    pub state: DeviceState,
    /// The reason code of the last move, if it had one; always there while it is suspended.
    pub state_reason: Option<String>,
    /// The IKID of its data key.
    pub ikid: [u8; 8],
    /// The derivation id in its IKIDs.
    pub derivation_id: u32,
    /// The second secret.
    pub secret: SealedSecret,
    /// The enrolled public key, `SubjectPublicKeyInfo` in DER.
    pub spki: Vec<u8>,
    /// The enrolment's transcript.
    pub transcript: [u8; 32],
    /// When it was enrolled.
    pub enrolled: UnixTime,
    /// When it was retired, exactly when it is.
    pub retired: Option<UnixTime>,
}

/// The second secret as a key block: wrapped and authenticated by the token, which alone can open it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret(pub Vec<u8>);

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSecret({} bytes)", self.0.len())
    }
}

/// Which devices to list.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    /// Only of this terminal.
    pub terminal: Option<TerminalId>,
    /// Only of this merchant.
    pub merchant: Option<MerchantId>,
    /// Only in this state.
    pub state: Option<DeviceState>,
    /// Only those after this id: the last one of the page before.
    pub after: Option<DeviceId>,
}

const COLUMNS: &str = "id, terminal, merchant, acquirer, level, state, state_reason, ikid, derivation_id, secret, spki, transcript, \
                       enrolled, retired";

impl Tx {
    /// Writes a device with the personalization package that it is given.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the terminal has a device that is not retired, or the public key or the derivation id
    /// was used before; [`StoreError::NoParent`] when merchant and acquirer are not the terminal's.
    pub async fn insert_device(&mut self, device: &Device, package: &str) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "INSERT INTO device (id, terminal, merchant, acquirer, level, state, state_reason, ikid, derivation_id, secret, spki, \
             transcript, enrolled, retired, package) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
        .bind(device.id.as_str())
        .bind(device.terminal.as_str())
        .bind(device.merchant.as_str())
        .bind(device.acquirer.as_str())
        .bind(&device.level)
        .bind(device.state.name())
        .bind(device.state_reason.as_deref())
        .bind(to_hex(&device.ikid))
        .bind(i64::from(device.derivation_id))
        .bind(device.secret.0.as_slice())
        .bind(device.spki.as_slice())
        .bind(device.transcript.as_slice())
        .bind(device.enrolled.0)
        .bind(device.retired.map(|time| time.0))
        .bind(package);
        self.run("device", statement).await.map(drop)
    }

    /// Takes the device's row until this transaction ends, if the device is in `state`: nobody moves it in between. `false`: it is not.
    /// What may be given to an active device only is written after this.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hold_device(&mut self, id: &DeviceId, state: DeviceState) -> Result<bool, StoreError> {
        let statement =
            sqlx::query("UPDATE device SET state_reason = state_reason WHERE id = $1 AND state = $2").bind(id.as_str()).bind(state.name());
        Ok(self.run("device", statement).await? == 1)
    }

    /// Moves a device from one state to another. `false`: it is not in `from`. A device that becomes active again has its
    /// attestation results forgotten: it must attest afresh.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a move that the life cycle does not have.
    pub async fn move_device(
        &mut self,
        id: &DeviceId,
        from: DeviceState,
        to: DeviceState,
        reason: &'static str,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let to = from.to(to).map_err(|none| StoreError::Refused(super::Cause::new(none)))?;
        let statement = sqlx::query(
            "UPDATE device SET state = $3, state_reason = $4, retired = CASE WHEN $3 = 'retired' THEN $5 ELSE NULL END, \
             forgotten = CASE WHEN $3 = 'active' \
             THEN COALESCE((SELECT MAX(r.id) FROM attestation_result r WHERE r.device = device.id), 0) ELSE forgotten END \
             WHERE id = $1 AND state = $2",
        )
        .bind(id.as_str())
        .bind(from.name())
        .bind(to.name())
        .bind(reason)
        .bind(now.0);
        Ok(self.run("device", statement).await? == 1)
    }
}

impl<C: Link> Db<C> {
    /// The device with this id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_device(&mut self, id: &DeviceId) -> Result<Option<Device>, StoreError> {
        self.device_where("id = $1", id.as_str()).await
    }

    /// The device with this data-key IKID.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_device_by_ikid(&mut self, ikid: &[u8; 8]) -> Result<Option<Device>, StoreError> {
        self.device_where("ikid = $1", &to_hex(ikid)).await
    }

    /// The device of this terminal that is not retired: there is at most one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_live_device_of_terminal(&mut self, id: &TerminalId) -> Result<Option<Device>, StoreError> {
        self.device_where("terminal = $1 AND state <> 'retired'", id.as_str()).await
    }

    /// The personalization package that this device was given, byte for byte.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_package(&mut self, id: &DeviceId) -> Result<Option<String>, StoreError> {
        let query = sqlx::query("SELECT id, package FROM device WHERE id = $1").bind(id.as_str());
        self.row("device", query).await?.map(|row| row.text("package")).transpose()
    }

    /// Up to `limit` devices of these acquirers, by id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn list_devices(
        &mut self,
        acquirers: &BTreeSet<AcquirerId>,
        filter: &DeviceFilter,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError> {
        if acquirers.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM device WHERE ($1 IS NULL OR terminal = $1) AND ($2 IS NULL OR merchant = $2) \
             AND ($3 IS NULL OR state = $3) AND id > $4 AND acquirer IN ({}) ORDER BY id LIMIT $5",
            placeholders(6, acquirers.len())
        );
        // Only constants and placeholders were put together.
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(filter.terminal.as_ref().map(TerminalId::as_str))
            .bind(filter.merchant.as_ref().map(MerchantId::as_str))
            .bind(filter.state.map(DeviceState::name))
            .bind(filter.after.as_ref().map_or("", DeviceId::as_str))
            .bind(i64::from(limit));
        for acquirer in acquirers {
            query = query.bind(acquirer.as_str());
        }
        self.rows("device", query).await?.iter().map(device).collect()
    }

    async fn device_where(&mut self, condition: &'static str, value: &str) -> Result<Option<Device>, StoreError> {
        // Only constants were put together.
        let sql = format!("SELECT {COLUMNS} FROM device WHERE {condition}");
        let row = self.row("device", sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value)).await?;
        row.as_ref().map(device).transpose()
    }
}

fn device(row: &Row) -> Result<Device, StoreError> {
    Ok(Device {
        id: row.parsed("id")?,
        terminal: row.parsed("terminal")?,
        merchant: row.parsed("merchant")?,
        acquirer: row.parsed("acquirer")?,
        level: row.text("level")?,
        state: row.named("state", DeviceState::parse)?,
        state_reason: row.optional_text("state_reason")?,
        ikid: row.hex_array("ikid")?,
        derivation_id: row.number("derivation_id")?,
        secret: SealedSecret(row.bytes("secret")?),
        spki: row.bytes("spki")?,
        transcript: row.array("transcript")?,
        enrolled: row.time("enrolled")?,
        retired: row.optional_time("retired")?,
    })
}
