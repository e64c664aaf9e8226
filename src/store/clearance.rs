//! Clearances given.

use super::db::Tx;
use super::{ResultId, StoreError};
use crate::clock::UnixTime;
use crate::id::DeviceId;
use std::fmt;

/// The id of a clearance: `clr_` and 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClearanceId(pub [u8; 16]);

impl fmt::Display for ClearanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clr_{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// What a device is cleared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ClearancePurpose)]
pub enum Purpose {
    /// A payment is about to start.
    Payment,
    /// A PIN is about to be entered.
    Pin,
}

impl Purpose {
    /// The name used on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Pin => "pin",
        }
    }
}

/// A clearance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clearance {
    /// Its id.
    pub id: ClearanceId,
    /// Of which device.
    pub device: DeviceId,
    /// For what.
    pub purpose: Purpose,
    /// When it was given.
    pub given: UnixTime,
    /// Until when it holds.
    pub expires: UnixTime,
    /// The attestation result that it rests on.
    pub result: ResultId,
}

impl Tx {
    /// Writes a clearance.
    ///
    /// # Errors
    /// [`StoreError::NoParent`] when there is no such device or result.
    pub async fn insert_clearance(&mut self, clearance: &Clearance) -> Result<(), StoreError> {
        let statement = sqlx::query("INSERT INTO clearance (id, device, purpose, given, expires, result) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(clearance.id.to_string())
            .bind(clearance.device.as_str())
            .bind(clearance.purpose.name())
            .bind(clearance.given.0)
            .bind(clearance.expires.0)
            .bind(clearance.result.0);
        self.run("clearance", statement).await.map(drop)
    }
}
