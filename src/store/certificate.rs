//! Merchant certificates and their revocations.

use super::StoreError;
use super::db::{Db, Link, Tx};
use super::row::{Row, to_hex};
use crate::clock::UnixTime;
use crate::id::DeviceId;

/// A merchant certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its serial number, the content octets of the INTEGER.
    pub serial: Vec<u8>,
    /// The device that it names.
    pub device: DeviceId,
    /// The certificate.
    pub der: Vec<u8>,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid to.
    pub not_after: UnixTime,
    /// When it was revoked, and why.
    pub revoked: Option<(UnixTime, RevocationReason)>,
}

/// `CRLReason` (RFC 5280 §5.3.1), those that a merchant certificate can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationReason {
    /// No reason is told.
    Unspecified,
    /// The phone is not trusted any more.
    KeyCompromise,
    /// A new phone has taken its place.
    Superseded,
    /// The terminal is not in use any more.
    CessationOfOperation,
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Unspecified, Self::KeyCompromise, Self::Superseded, Self::CessationOfOperation];

    /// The number of the `CRLReason`.
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// One line of a revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The serial number.
    pub serial: Vec<u8>,
    /// When it was revoked.
    pub at: UnixTime,
    /// Why.
    pub reason: RevocationReason,
}

/// What a revocation list is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations {
    /// Revocations ever, counted before the lines were read: the list covers at least these.
    pub count: u64,
    /// The lines, by serial number.
    pub lines: Vec<Revocation>,
}

impl Tx {
    /// Writes a certificate.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the serial number is taken; [`StoreError::NoParent`] when there is no such device.
    pub async fn insert_certificate(&mut self, certificate: &Certificate) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "INSERT INTO certificate (serial, device, der, not_before, not_after, revoked_at, revocation_reason) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(to_hex(&certificate.serial))
        .bind(certificate.device.as_str())
        .bind(certificate.der.as_slice())
        .bind(certificate.not_before.0)
        .bind(certificate.not_after.0)
        .bind(certificate.revoked.map(|(at, _)| at.0))
        .bind(certificate.revoked.map(|(_, reason)| i64::from(reason.code())));
        self.run("certificate", statement).await.map(drop)
    }

    /// Revokes every certificate of a device that is not revoked yet; how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn revoke_certificates_of_device(
        &mut self,
        device: &DeviceId,
        now: UnixTime,
        reason: RevocationReason,
    ) -> Result<u64, StoreError> {
        let statement =
            sqlx::query("UPDATE certificate SET revoked_at = $2, revocation_reason = $3 WHERE device = $1 AND revoked_at IS NULL")
                .bind(device.as_str())
                .bind(now.0)
                .bind(i64::from(reason.code()));
        self.run("certificate", statement).await
    }
}

impl<C: Link> Db<C> {
    /// The newest certificate of a device that is not revoked, expired or not.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_current_certificate(&mut self, device: &DeviceId) -> Result<Option<Certificate>, StoreError> {
        let query = sqlx::query(
            "SELECT serial, device, der, not_before, not_after, revoked_at, revocation_reason FROM certificate \
             WHERE device = $1 AND revoked_at IS NULL ORDER BY not_before DESC, not_after DESC, serial LIMIT 1",
        )
        .bind(device.as_str());
        let Some(row) = self.row("certificate", query).await? else { return Ok(None) };
        Ok(Some(Certificate {
            serial: row.hex("serial")?,
            device: row.parsed("device")?,
            der: row.bytes("der")?,
            not_before: row.time("not_before")?,
            not_after: row.time("not_after")?,
            revoked: row.optional_time("revoked_at")?.map(|at| Ok((at, reason(&row)?))).transpose()?,
        }))
    }

    /// How many revocations there are, ever.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn count_revocations(&mut self) -> Result<u64, StoreError> {
        self.number("certificate", sqlx::query("SELECT COUNT(*) FROM certificate WHERE revoked_at IS NOT NULL")).await
    }

    /// The revoked certificates that had not expired at `since`. RFC 5280 §3.3 wants each on one list after its expiry too:
    /// `since` is the last list's `this_update`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn revocations(&mut self, since: UnixTime) -> Result<Revocations, StoreError> {
        let count = self.count_revocations().await?;
        let query = sqlx::query(
            "SELECT serial, revoked_at, revocation_reason FROM certificate WHERE revoked_at IS NOT NULL AND not_after >= $1 ORDER BY serial",
        )
        .bind(since.0);
        let rows = self.rows("certificate", query).await?;
        let lines = rows
            .iter()
            .map(|row| Ok(Revocation { serial: row.hex("serial")?, at: row.time("revoked_at")?, reason: reason(row)? }))
            .collect::<Result<_, StoreError>>()?;
        Ok(Revocations { count, lines })
    }
}

fn reason(row: &Row) -> Result<RevocationReason, StoreError> {
    RevocationReason::of_code(row.number("revocation_reason")?).ok_or_else(|| row.corrupt("revocation_reason"))
}
