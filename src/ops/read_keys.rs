//! Reads the inventory of the token: what is there, what it may do as read back, and what a person compares.

use std::collections::BTreeMap;

use serde::Serialize;
use tillward_hsm::{KeyKind, KeyRecord};

use super::authorize;
use super::context::Context;
use super::error::OpError;
use crate::app::App;
use crate::authz::{Action, Resource};

/// The keys on the token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyInventory {
    /// Each key, in the order of the labels.
    pub keys: Vec<KeyView>,
}

/// One key, as people and machines outside see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyView {
    /// Its label.
    pub label: String,
    /// Type and length, as `AES-256`.
    pub kind: String,
    /// CMAC check value (X9.24-1:2017), of AES keys whose usage lets the token make it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kcv: Option<String>,
    /// The token's own check value (`CKA_CHECK_VALUE`, the first bytes of AES-ECB over zeros), of AES keys without the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_value: Option<String>,
    /// SHA-256 of the public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Attributes as read back from the token.
    pub attributes: BTreeMap<String, bool>,
    /// Whether it was made just now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
}

impl From<KeyRecord> for KeyView {
    fn from(record: KeyRecord) -> Self {
        Self {
            kind: kind(record.kind, record.bits),
            label: record.label,
            check_value: record
                .check_value
                .filter(|value| record.kcv.is_none() && record.kind == KeyKind::Aes && !value.is_empty())
                .map(|value| data_encoding::HEXUPPER.encode(&value)),
            kcv: record.kcv.map(|kcv| data_encoding::HEXUPPER.encode(&kcv)),
            fingerprint: record.fingerprint.map(|digest| data_encoding::HEXLOWER.encode(&digest)),
            attributes: record.attributes,
            created: record.created,
        }
    }
}

/// Reads the inventory.
#[tracing::instrument(skip_all)]
pub async fn read_keys(app: &App, context: &Context) -> Result<KeyInventory, OpError> {
    let _permit = authorize(app, context, context.caller()?, Action::ReadKeys, &Resource::keys()).await?;
    Ok(KeyInventory { keys: app.hsm.inventory().await?.into_iter().map(KeyView::from).collect() })
}

fn kind(kind: KeyKind, bits: u16) -> String {
    match kind {
        KeyKind::GenericSecret => format!("HMAC-{bits}"),
        KeyKind::Aes => format!("AES-{bits}"),
        KeyKind::Rsa => format!("RSA-{bits}"),
        KeyKind::P256 => "EC P-256".to_owned(),
        KeyKind::P384 => "EC P-384".to_owned(),
        KeyKind::Ed25519 => "Ed25519".to_owned(),
    }
}
