//! Activations: the first secret's MAC, the tries against it, its one use.

use super::StoreError;
use super::db::{Db, Link, Tx};
use super::row::to_hex;
use crate::clock::UnixTime;
use crate::enrolment::state::ActivationState;
use crate::id::{AcquirerId, ActivationId, DeviceId, TerminalId};

/// An activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The public part of the code.
    pub id: ActivationId,
    /// The terminal that the phone becomes.
    pub terminal: TerminalId,
    /// The terminal's acquirer.
    pub acquirer: AcquirerId,
    /// HMAC-SHA-256 of the code under `activation-mac`.
    pub mac: [u8; 32],
    /// The derivation id that it has reserved; never given out again, used or not.
    pub derivation_id: u32,
    /// The data-key IKID of that derivation id.
    pub ikid: [u8; 8],
    /// Its state.
    pub state: ActivationState,
    /// Wrong tries so far, at most five.
    pub attempts: u8,
    /// When it was made.
    pub created: UnixTime,
    /// From when on it is refused.
    pub expires: UnixTime,
    /// Who used it, exactly when the state is used.
    pub used: Option<Use>,
}

/// The one use of an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The enrolment's transcript: a retry with the same one is answered again.
    pub transcript: [u8; 32],
    /// The device that was enrolled.
    pub device: DeviceId,
}

/// What a wrong try leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongTry {
    /// Wrong tries so far.
    pub attempts: u8,
    /// The state now: locked after the fifth.
    pub state: ActivationState,
}

impl Tx {
    /// Writes an open activation, and revokes one that is open for the same terminal: the one it returns.
    ///
    /// # Errors
    /// [`StoreError::NoParent`] when that acquirer has no such terminal; [`StoreError::Conflict`] when the id or the
    /// derivation id is taken.
    pub async fn open_activation(&mut self, new: &Activation) -> Result<Option<ActivationId>, StoreError> {
        // Takes the terminal's row, so that of two at once the second sees the first.
        let lock = sqlx::query("UPDATE terminal SET created = created WHERE id = $1").bind(new.terminal.as_str());
        self.run("terminal", lock).await?;
        let revoke = sqlx::query("UPDATE activation SET state = 'revoked' WHERE terminal = $1 AND state = 'open' RETURNING id")
            .bind(new.terminal.as_str());
        let older = self.row("activation", revoke).await?.map(|row| row.parsed("id")).transpose()?;
        let insert = sqlx::query(
            "INSERT INTO activation (id, terminal, acquirer, mac, derivation_id, ikid, state, attempts, created, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, 'open', 0, $7, $8)",
        )
        .bind(new.id.as_str())
        .bind(new.terminal.as_str())
        .bind(new.acquirer.as_str())
        .bind(new.mac.as_slice())
        .bind(i64::from(new.derivation_id))
        .bind(to_hex(&new.ikid))
        .bind(new.created.0)
        .bind(new.expires.0);
        self.run("activation", insert).await?;
        Ok(older)
    }

    /// Counts a wrong try and locks at the fifth, in one statement; what holds afterwards. An activation that is not open is
    /// not counted further. `None`: there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn count_wrong_try(&mut self, id: &ActivationId) -> Result<Option<WrongTry>, StoreError> {
        let count = sqlx::query(
            "UPDATE activation SET attempts = attempts + 1, state = CASE WHEN attempts + 1 >= 5 THEN 'locked' ELSE 'open' END \
             WHERE id = $1 AND state = 'open' RETURNING id, attempts, state",
        )
        .bind(id.as_str());
        let row = match self.row("activation", count).await? {
            Some(row) => Some(row),
            None => {
                self.row("activation", sqlx::query("SELECT id, attempts, state FROM activation WHERE id = $1").bind(id.as_str())).await?
            }
        };
        let Some(row) = row else { return Ok(None) };
        Ok(Some(WrongTry { attempts: row.number("attempts")?, state: row.named("state", ActivationState::parse)? }))
    }

    /// Takes an open or locked activation back. `false`: it was neither.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn revoke_activation(&mut self, id: &ActivationId) -> Result<bool, StoreError> {
        let statement =
            sqlx::query("UPDATE activation SET state = 'revoked' WHERE id = $1 AND state IN ('open', 'locked')").bind(id.as_str());
        Ok(self.run("activation", statement).await? == 1)
    }

    /// Uses an open activation up for `device`, whose row is already in this transaction. `false`: it is not open, or has
    /// expired by `now`; of all who try at once, one gets `true`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn use_activation(
        &mut self,
        id: &ActivationId,
        transcript: &[u8; 32],
        device: &DeviceId,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let statement = sqlx::query(
            "UPDATE activation SET state = 'used', used_transcript = $2, device = $3 WHERE id = $1 AND state = 'open' AND expires > $4",
        )
        .bind(id.as_str())
        .bind(transcript.as_slice())
        .bind(device.as_str())
        .bind(now.0);
        Ok(self.run("activation", statement).await? == 1)
    }
}

impl Tx {
    /// Gives an open activation another derivation id. `false`: it is not open, or has not the IKID `from` any more.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the id belongs to another activation.
    pub async fn renumber_activation(
        &mut self,
        id: &ActivationId,
        from: &[u8; 8],
        derivation_id: u32,
        ikid: &[u8; 8],
    ) -> Result<bool, StoreError> {
        let statement = sqlx::query("UPDATE activation SET derivation_id = $3, ikid = $4 WHERE id = $1 AND ikid = $2 AND state = 'open'")
            .bind(id.as_str())
            .bind(to_hex(from))
            .bind(i64::from(derivation_id))
            .bind(to_hex(ikid));
        Ok(self.run("activation", statement).await? == 1)
    }
}

impl<C: Link> Db<C> {
    /// The activation with this id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_activation(&mut self, id: &ActivationId) -> Result<Option<Activation>, StoreError> {
        let query = sqlx::query(
            "SELECT id, terminal, acquirer, mac, derivation_id, ikid, state, attempts, created, expires, used_transcript, device \
             FROM activation WHERE id = $1",
        )
        .bind(id.as_str());
        let Some(row) = self.row("activation", query).await? else { return Ok(None) };
        let used = match (row.optional_array("used_transcript")?, row.optional_parsed("device")?) {
            (Some(transcript), Some(device)) => Some(Use { transcript, device }),
            (None, None) => None,
            _ => return Err(row.corrupt("device")),
        };
        Ok(Some(Activation {
            id: row.parsed("id")?,
            terminal: row.parsed("terminal")?,
            acquirer: row.parsed("acquirer")?,
            mac: row.array("mac")?,
            derivation_id: row.number("derivation_id")?,
            ikid: row.hex_array("ikid")?,
            state: row.named("state", ActivationState::parse)?,
            attempts: row.number("attempts")?,
            created: row.time("created")?,
            expires: row.time("expires")?,
            used,
        }))
    }
}
