//! Attestation results.

use super::StoreError;
use super::db::{Db, Link, Tx};
use crate::clock::UnixTime;
use crate::id::DeviceId;

/// The number of a stored result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResultId(pub(super) i64);

/// A result to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewResult {
    /// The device.
    pub device: DeviceId,
    /// `ear.status`: affirming, warning, contraindicated or none.
    pub status: &'static str,
    /// When it was issued.
    pub issued: UnixTime,
    /// Until when a reader may rely on it.
    pub expires: UnixTime,
    /// The appraisal policy's id.
    pub policy: String,
    /// The evidence as it was appraised, JSON.
    pub evidence: String,
    /// The result as it was signed, a compact JWS.
    pub result: String,
}

/// A stored result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationResult {
    /// Its number.
    pub id: ResultId,
    /// The device.
    pub device: DeviceId,
    /// `ear.status`: affirming, warning, contraindicated or none; a CHECK holds it to these.
    pub status: String,
    /// When it was issued.
    pub issued: UnixTime,
    /// Until when a reader may rely on it.
    pub expires: UnixTime,
    /// The appraisal policy's id.
    pub policy: String,
    /// The result as it was signed, a compact JWS.
    pub result: String,
}

impl Tx {
    /// Stores a result.
    ///
    /// # Errors
    /// [`StoreError::NoParent`] when there is no such device.
    pub async fn insert_result(&mut self, new: &NewResult) -> Result<ResultId, StoreError> {
        let statement = sqlx::query(
            "INSERT INTO attestation_result (device, status, issued, expires, policy, evidence, result) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
        )
        .bind(new.device.as_str())
        .bind(new.status)
        .bind(new.issued.0)
        .bind(new.expires.0)
        .bind(&new.policy)
        .bind(&new.evidence)
        .bind(&new.result);
        self.number("attestation_result", statement).await.map(|id| ResultId(i64::try_from(id).unwrap_or(i64::MAX)))
    }
}

impl<C: Link> Db<C> {
    /// The last result of a device, of those that count: a resumed device has none until it attests afresh.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn find_last_result(&mut self, device: &DeviceId) -> Result<Option<AttestationResult>, StoreError> {
        let query = sqlx::query(
            "SELECT r.id, r.device, r.status, r.issued, r.expires, r.policy, r.result FROM attestation_result r \
             JOIN device d ON d.id = r.device WHERE r.device = $1 AND r.id > d.forgotten ORDER BY r.id DESC LIMIT 1",
        )
        .bind(device.as_str());
        let Some(row) = self.row("attestation_result", query).await? else { return Ok(None) };
        Ok(Some(AttestationResult {
            id: ResultId(row.number("id")?),
            device: row.parsed("device")?,
            status: row.text("status")?,
            issued: row.time("issued")?,
            expires: row.time("expires")?,
            policy: row.text("policy")?,
            result: row.text("result")?,
        }))
    }
}
