//! DUKPT by key set: an acquirer's pair of base derivation keys, and the operations on phones' messages held to one of them.

use serde::Serialize;
use serde_json::Value;
use tillward_hsm::ksn::Ksn;
use utoipa::ToSchema;

use super::context::Context;
use super::decrypt::{Decrypted, decrypt_of};
use super::error::{OpError, Refusal};
use super::kms::{Batch, BatchAnswer, MOST_ITEMS, Outcome};
use super::reason::Reason;
use super::verify_mac::{Verified, verify_mac_of};
use super::{authorize, turn_away};
use crate::app::App;
use crate::authz::{Action, Resource};
use crate::id::AcquirerId;
use crate::payment::message::{MacRequest, PaymentMessage};
use crate::schema;

/// The key sets of the caller's acquirers.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeySets {
    /// In the order of the configuration.
    pub key_sets: Vec<KeySet>,
}

/// The base derivation keys of an acquirer.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeySet {
    /// The acquirer.
    pub acquirer: AcquirerId,
    /// For PINs: known to the acquirer's payment HSM, and refused here.
    pub pin: BdkView,
    /// For account data.
    pub data: BdkView,
}

/// A base derivation key.
#[derive(Debug, Serialize, ToSchema)]
pub struct BdkView {
    /// The first four bytes of every KSN under it.
    #[schema(schema_with = schema::hex::<4>)]
    pub id: String,
    /// `ready`, or `missing` from the token.
    pub state: &'static str,
    /// `AES-128` or `AES-256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What people compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_value: Option<String>,
}

/// Lists the key sets of the caller's acquirers.
#[tracing::instrument(skip_all)]
pub async fn list_key_sets(app: &App, context: &Context) -> Result<KeySets, OpError> {
    let caller = context.caller()?;
    let acquirers = caller.principal().map(|principal| principal.acquirers().clone()).unwrap_or_default();
    let _permit = authorize(app, context, caller, Action::ListKeys, &Resource::keys_of(&acquirers)).await?;
    let inventory = app.hsm.inventory().await?;
    let bdk = |purpose: &str, acquirer: &AcquirerId, id: String| {
        let label = format!("bdk-{purpose}:{acquirer}:{id}");
        let record = inventory.iter().find(|record| record.label == label);
        let value = record.and_then(|record| record.kcv.map(|kcv| kcv.to_vec()).or_else(|| record.check_value.clone()));
        BdkView {
            id,
            state: if record.is_some() { "ready" } else { "missing" },
            kind: record.map(|record| format!("AES-{}", record.bits)),
            check_value: value.map(|value| data_encoding::HEXUPPER.encode(&value)),
        }
    };
    let theirs = app.settings.acquirers.iter().filter(|acquirer| acquirers.contains(&acquirer.name));
    let key_sets = theirs.map(|acquirer| KeySet {
        acquirer: acquirer.name.clone(),
        pin: bdk("pin", &acquirer.name, acquirer.bdk_pin.to_string()),
        data: bdk("data", &acquirer.name, acquirer.bdk_data.to_string()),
    });
    Ok(KeySets { key_sets: key_sets.collect() })
}

/// Verifies a phone's MAC under this set.
#[tracing::instrument(skip_all)]
pub async fn key_set_verify_mac(app: &App, context: &Context, set: &AcquirerId, body: &[u8]) -> Result<Verified, OpError> {
    verify_mac_of(app, context, MacRequest::parse(body)?, Some(set)).await
}

/// Verifies and decrypts a phone's payment message under this set.
#[tracing::instrument(skip_all)]
pub async fn key_set_decrypt(app: &App, context: &Context, set: &AcquirerId, body: &[u8]) -> Result<Decrypted, OpError> {
    decrypt_of(app, context, PaymentMessage::parse(body)?, Some(set)).await
}

/// Verifies many. A permit is for a phone: each item has its own, and its own entry of the audit log.
#[tracing::instrument(skip_all)]
pub async fn key_set_verify_mac_batch(
    app: &App,
    context: &Context,
    set: &AcquirerId,
    body: &Batch<Value>,
) -> Result<BatchAnswer<Verified>, OpError> {
    let items = parse_all(body, MacRequest::parse)?;
    let mut outcomes = Vec::with_capacity(items.len());
    for item in items {
        outcomes.push(outcome(verify_mac_of(app, context, item, Some(set)).await)?);
    }
    Ok(BatchAnswer { items: outcomes })
}

/// Decrypts many.
#[tracing::instrument(skip_all)]
pub async fn key_set_decrypt_batch(
    app: &App,
    context: &Context,
    set: &AcquirerId,
    body: &Batch<Value>,
) -> Result<BatchAnswer<Decrypted>, OpError> {
    let items = parse_all(body, PaymentMessage::parse)?;
    let mut outcomes = Vec::with_capacity(items.len());
    for item in items {
        outcomes.push(outcome(decrypt_of(app, context, item, Some(set)).await)?);
    }
    Ok(BatchAnswer { items: outcomes })
}

/// The whole form before anything is done.
fn parse_all<T>(body: &Batch<Value>, parse: impl Fn(&[u8]) -> Result<T, crate::wire::ParseError>) -> Result<Vec<T>, Refusal> {
    if !(1..=MOST_ITEMS).contains(&body.items.len()) {
        return Err(Reason::Malformed.with("items: 1 to 100"));
    }
    body.items.iter().map(|item| parse(item.to_string().as_bytes()).map_err(Refusal::from)).collect()
}

fn outcome<T>(outcome: Result<T, OpError>) -> Result<Outcome<T>, OpError> {
    match outcome {
        Ok(done) => Ok(Outcome::Done(done)),
        Err(OpError::Refused(refusal)) => Ok(Outcome::Refused { problem: refusal.into() }),
        Err(error) => Err(error),
    }
}

/// Refuses a KSN that is not one of the set's data key.
pub(super) async fn demand_of_set(app: &App, context: &Context, set: &AcquirerId, ksn: Ksn, action: Action) -> Result<(), OpError> {
    let Some(acquirer) = app.settings.acquirers.iter().find(|acquirer| &acquirer.name == set) else {
        return Err(turn_away(app, context, context.caller()?, action, &Resource::ksn(ksn.ikid().0), Reason::AcquirerUnknown).await);
    };
    if ksn.ikid().bdk() != acquirer.bdk_data {
        return Err(turn_away(app, context, context.caller()?, action, &Resource::ksn(ksn.ikid().0), Reason::KsnUnknown).await);
    }
    Ok(())
}
