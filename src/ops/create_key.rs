//! Makes a managed key and its first version.

use std::collections::BTreeSet;

use serde::Deserialize;
use tillward_hsm::{KeyAlgorithm, KeyName, Purpose};

use super::context::Context;
use super::error::OpError;
use super::make_version::{demand_offered, finish, intend};
use super::read_key::{ManagedKey, view};
use super::reason::Reason;
use super::usable_key::resource;
use super::{authorize, refuse};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::{Action, Permit};
use crate::id::AcquirerId;
use crate::key::{Intent, KeyClass, Periods, Shape, default_limit, is_of_the_design};
use crate::store::{self, StoreError};

/// Body of the request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// Its name, for good.
    #[schema(schema_with = crate::schema::key_name)]
    pub key: KeyName,
    /// What it is for.
    #[schema(schema_with = crate::schema::key_purpose)]
    pub purpose: Purpose,
    /// What it is.
    #[schema(schema_with = crate::schema::key_algorithm)]
    pub algorithm: KeyAlgorithm,
    /// The acquirer that it belongs to; without one, the service.
    pub acquirer: Option<AcquirerId>,
    /// Other names that lead to it.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 16)]
    pub aliases: BTreeSet<KeyName>,
    /// A next version takes over after it.
    pub rotation_seconds: Option<u64>,
    /// A version protects nothing more after it.
    pub protect_seconds: Option<u64>,
    /// A version is not used at all after it.
    pub process_seconds: Option<u64>,
    /// Uses of each version that protect something.
    pub uses_limit: Option<u64>,
    /// Whether it may ever leave, wrapped under a partner's KEK. It cannot be changed later.
    #[serde(default)]
    pub exportable: bool,
    /// Whether it is taken into use at once.
    #[serde(default = "yes")]
    pub activate: bool,
}

fn yes() -> bool {
    true
}

impl KeyBody {
    fn row(&self, app: &App) -> store::Key {
        store::Key {
            name: self.key.clone(),
            shape: Shape { class: KeyClass::Kms, purpose: self.purpose, algorithm: self.algorithm, exportable: self.exportable },
            acquirer: self.acquirer.clone(),
            periods: Periods { rotation: self.rotation_seconds, protect: self.protect_seconds, process: self.process_seconds },
            uses_limit: self.uses_limit.or_else(|| default_limit(self.purpose, self.algorithm)),
            primary: None,
            created: app.clock.now(),
        }
    }
}

/// Makes a key. Asked again with the same properties, it finishes what is not finished, and answers with the key as it is.
#[tracing::instrument(skip_all)]
pub async fn create_key(app: &App, context: &Context, body: &KeyBody) -> Result<ManagedKey, OpError> {
    let asked = body.row(app);
    let permit = authorize(app, context, context.caller()?, Action::CreateKey, &resource(&asked)).await?;
    if let Some(acquirer) = &body.acquirer
        && !app.settings.acquirers.iter().any(|known| &known.name == acquirer)
    {
        return Err(refuse(app, context, permit, Reason::AcquirerUnknown).await);
    }
    if let Some(fault) = fault(body, &asked) {
        return Err(refuse(app, context, permit, Reason::Malformed.with(fault)).await);
    }
    if is_of_the_design(body.key.as_str()) || body.aliases.iter().any(|alias| is_of_the_design(alias.as_str())) {
        return Err(refuse(app, context, permit, Reason::KeyOfTheDesign).await);
    }
    if let Some(there) = app.store.read().await?.find_key(&body.key, true).await? {
        return again(app, context, permit, &asked, there).await;
    }
    let permit = demand_offered(app, context, permit, asked.shape).await?;
    // Step 1 of make_version: key and intent.
    let mut tx = app.store.begin().await?;
    match tx.insert_key(&asked).await {
        Ok(()) => {}
        // Another request was first.
        Err(StoreError::Conflict(_) | StoreError::Refused(_)) => {
            drop(tx);
            let there = app.store.read().await?.find_key(&body.key, true).await?;
            let there = there.ok_or_else(|| OpError::internal("creating a key", "the name is taken, and nobody has it"))?;
            return again(app, context, permit, &asked, there).await;
        }
        Err(error) => return Err(error.into()),
    }
    let intent = if body.activate { Intent::MakeActive } else { Intent::Make };
    let version = intend(&mut tx, app, &asked, intent).await?;
    if !tx.set_aliases(&asked.name, &body.aliases, app.clock.now()).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::KeyExists.with("an alias leads to another key")).await);
    }
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("version", 1_u64).with("step", "intended")).await?;
    let permit = authorize(app, context, context.caller()?, Action::CreateKey, &resource(&asked)).await?;
    finish(app, context, permit, &asked, &version).await?;
    view(app, &asked.name).await
}

fn fault(body: &KeyBody, asked: &store::Key) -> Option<&'static str> {
    if body.uses_limit.is_some_and(|limit| limit == 0 || limit > 1 << 53) {
        return Some("uses_limit: 1 to 2^53");
    }
    // A partner's random nonces would not be fewer: SP 800-38D §8.3 holds for every key.
    if let (Some(limit), Some(most)) = (body.uses_limit, default_limit(body.purpose, body.algorithm))
        && limit > most
    {
        return Some("uses_limit: at most 2^32 for AES-GCM with random nonces");
    }
    if body.aliases.len() > 16 || body.aliases.contains(&body.key) {
        return Some("aliases: at most 16, other than the name");
    }
    asked.periods.fault()
}

/// The key is there: the same one, or another.
async fn again(app: &App, context: &Context, permit: Permit, asked: &store::Key, there: store::Key) -> Result<ManagedKey, OpError> {
    let same = store::Key { primary: there.primary, created: there.created, ..asked.clone() };
    if same != there {
        return Err(refuse(app, context, permit, Reason::KeyExists).await);
    }
    let versions = app.store.read().await?.versions_of(&there.name).await?;
    if let Some(version) = versions.iter().find(|version| version.intent.is_some()) {
        finish(app, context, permit, &there, version).await?;
    }
    view(app, &there.name).await
}
