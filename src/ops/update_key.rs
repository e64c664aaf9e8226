//! Changes what may change of a key: aliases, periods, limits, and which version protects.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use tillward_hsm::KeyName;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::read_key::{ManagedKey, load_key, view};
use super::reason::Reason;
use super::refuse;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::Action;
use crate::key::{KeyClass, Use, default_limit, is_of_the_design};
use crate::store::{self, Tx};

/// Body of the request: what is absent stays, what is null goes.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyChange {
    /// These aliases and no others.
    #[schema(value_type = Option<Vec<String>>, max_items = 16)]
    pub aliases: Option<BTreeSet<KeyName>>,
    /// Rotation period.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    pub rotation_seconds: Option<Option<u64>>,
    /// Originator usage period of the next versions.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    pub protect_seconds: Option<Option<u64>>,
    /// Recipient usage period of the next versions.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    pub process_seconds: Option<Option<u64>>,
    /// Uses of the primary version and the next ones.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    pub uses_limit: Option<Option<u64>>,
    /// The version that protects where none is named. It has to be active.
    pub primary: Option<u32>,
}

#[expect(clippy::option_option, reason = "absent, null and given are three things")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes a key.
#[tracing::instrument(skip_all)]
pub async fn update_key(app: &App, context: &Context, name: &KeyName, body: &KeyChange) -> Result<ManagedKey, OpError> {
    let (key, permit) = load_key(app, context, name, Action::UpdateKey).await?;
    let mut tx = app.store.begin().await?;
    if let Err(error) = change(app, &mut tx, &key.name, body).await? {
        drop(tx);
        return Err(refuse(app, context, permit, error).await);
    }
    tx.commit(AuditEvent::effect(permit, &context.occasion(app))).await?;
    view(app, &key.name).await
}

async fn change(app: &App, tx: &mut Tx, name: &KeyName, body: &KeyChange) -> Result<Result<(), Refusal>, OpError> {
    tx.hold_key(name).await?;
    let mut key = tx.find_key(name, false).await?.ok_or(Reason::KeyUnknown)?;
    if key.shape.class == KeyClass::Design {
        return Ok(Err(Reason::KeyOfTheDesign.into()));
    }
    let periods = &mut key.periods;
    for (new, old) in [
        (body.rotation_seconds, &mut periods.rotation),
        (body.protect_seconds, &mut periods.protect),
        (body.process_seconds, &mut periods.process),
    ] {
        *old = new.unwrap_or(*old);
    }
    if let Some(fault) = key.periods.fault() {
        return Ok(Err(Reason::Malformed.with(fault)));
    }
    if let Some(number) = body.primary {
        let version = tx.find_version(name, number).await?;
        match version {
            Some(version) if version.intent.is_none() && version.life().allows(Use::Protect) => key.primary = Some(number),
            Some(_) => return Ok(Err(Reason::KeyState.with("the primary version has to be active"))),
            None => return Ok(Err(Reason::KeyUnknown.into())),
        }
    }
    if let Some(limit) = body.uses_limit
        && let Err(refusal) = set_limit(tx, &mut key, limit).await?
    {
        return Ok(Err(refusal));
    }
    tx.update_key(&key).await?;
    if let Some(aliases) = &body.aliases {
        if aliases.len() > 16 || aliases.contains(name) {
            return Ok(Err(Reason::Malformed.with("aliases: at most 16, other than the name")));
        }
        if aliases.iter().any(|alias| is_of_the_design(alias.as_str())) {
            return Ok(Err(Reason::KeyOfTheDesign.into()));
        }
        if !tx.set_aliases(name, aliases, app.clock.now()).await? {
            return Ok(Err(Reason::KeyExists.with("an alias leads to another key")));
        }
    }
    Ok(Ok(()))
}

async fn set_limit(tx: &mut Tx, key: &mut store::Key, limit: Option<u64>) -> Result<Result<(), Refusal>, OpError> {
    let most = default_limit(key.shape.purpose, key.shape.algorithm);
    let limit = limit.or(most);
    if limit.is_some_and(|limit| limit == 0 || limit > most.unwrap_or(1 << 53)) {
        return Ok(Err(Reason::Malformed.with("uses_limit: 1 to 2^53; at most 2^32 for AES-GCM with random nonces")));
    }
    key.uses_limit = limit;
    if let Some(primary) = key.primary
        && let Some(version) = tx.find_version(&key.name, primary).await?
        && version.life().allows(Use::Protect)
        && !tx.limit_version(&key.name, primary, limit).await?
    {
        return Ok(Err(Reason::KeyLimit.with("the primary version has been used more often")));
    }
    Ok(Ok(()))
}
