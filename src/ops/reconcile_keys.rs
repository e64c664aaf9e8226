//! Compares the keys on the token with the rows in the database. It reports, and never deletes: a key that nobody knows of may be the one that a
//! restored database has forgotten.

use std::collections::BTreeMap;

use serde::Serialize;
use tillward_hsm::KeyRecord;

use super::authorize;
use super::context::Context;
use super::error::OpError;
use crate::app::App;
use crate::authz::{Action, Resource};
use crate::key::KeyState;
use crate::store::KeyVersion;

/// What differs; everything empty is what should be.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Reconciliation {
    /// Labels of versions that the token should have and has not.
    pub missing_on_token: Vec<String>,
    /// Labels of keys on the token that no row knows.
    pub unknown_on_token: Vec<String>,
    /// Keys that are not what the row says, or not as they were made.
    pub differing: Vec<Difference>,
    /// Labels of versions whose making is not finished, and whether the token has the key already.
    pub unfinished: Vec<Unfinished>,
    /// Labels of destroyed versions that the token still has.
    pub destroyed_but_there: Vec<String>,
    /// How many versions and keys agree.
    pub agreeing: u64,
}

/// A key that is not what the row says.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Difference {
    /// Its label.
    pub label: String,
    /// What differs.
    pub what: Vec<String>,
}

/// A version whose making is not finished.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Unfinished {
    /// Its label.
    pub label: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Whether the token has the key.
    pub on_token: bool,
}

/// Compares token and database.
#[tracing::instrument(skip_all)]
pub async fn reconcile_keys(app: &App, context: &Context) -> Result<Reconciliation, OpError> {
    let _permit = authorize(app, context, context.caller()?, Action::ReconcileKeys, &Resource::keys()).await?;
    // The database first: what is made meanwhile has its row before its key, and is not taken for an unknown one.
    let rows = app.store.read().await?.all_versions().await?;
    let token = app.hsm.inventory().await?;
    let after: Vec<KeyVersion> = app.store.read().await?.all_versions().await?;
    Ok(compare(&rows, &after, token))
}

/// The comparison: rows before and after the token was read, so that work under way is no difference.
fn compare(rows: &[KeyVersion], after: &[KeyVersion], token: Vec<KeyRecord>) -> Reconciliation {
    let mut token: BTreeMap<String, KeyRecord> = token.into_iter().map(|record| (record.label.clone(), record)).collect();
    let now: BTreeMap<&str, &KeyVersion> = after.iter().map(|row| (row.label.as_str(), row)).collect();
    let mut found = Reconciliation::default();
    for row in rows {
        let record = token.remove(&row.label);
        // At work just now: the next look tells.
        if now.get(row.label.as_str()).is_none_or(|now| now.state != row.state || now.intent != row.intent) {
            continue;
        }
        match (row.state, record) {
            (_, record) if row.intent.is_some() => {
                let since = row.times.created.rfc3339();
                found.unfinished.push(Unfinished { label: row.label.clone(), since, on_token: record.is_some() });
            }
            (KeyState::Destroyed, Some(_)) => found.destroyed_but_there.push(row.label.clone()),
            (KeyState::Destroyed, None) => found.agreeing += 1,
            // The token has destroyed it already: the row follows.
            (_, None) if row.destroying.is_some() => {}
            (_, None) => found.missing_on_token.push(row.label.clone()),
            (_, Some(record)) => match differences(row, &record) {
                what if what.is_empty() => found.agreeing += 1,
                what => found.differing.push(Difference { label: row.label.clone(), what }),
            },
        }
    }
    found.unknown_on_token = token.into_keys().filter(|label| !now.contains_key(label.as_str())).collect();
    found
}

/// What of a key is not as the row says, or not as every key is made.
fn differences(row: &KeyVersion, record: &KeyRecord) -> Vec<String> {
    let kcv = record.kcv.map(|kcv| data_encoding::HEXUPPER.encode(&kcv));
    let mut what = Vec::new();
    // Of some keys the token tells none: what a KEK or a derivation key may be used for does not give one.
    if row.made.kcv.is_some() && kcv.is_some() && row.made.kcv != kcv {
        what.push("check value".to_owned());
    }
    if row.made.fingerprint.is_some() && row.made.fingerprint != record.fingerprint {
        what.push("fingerprint of the public key".to_owned());
    }
    for (attribute, meant) in [("SENSITIVE", true), ("EXTRACTABLE", false), ("MODIFIABLE", false)] {
        if record.attributes.get(attribute).is_some_and(|is| *is != meant) {
            what.push(format!("CKA_{attribute}"));
        }
    }
    what
}
