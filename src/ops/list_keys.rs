//! Lists managed keys of the caller's acquirers and, for those who keep keys, of the service; a page at a time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tillward_hsm::{KeyName, Purpose};

use super::authorize;
use super::context::Context;
use super::error::OpError;
use super::read_key::ManagedKey;
use super::reason::Reason;
use crate::app::App;
use crate::authz::{Action, Caller, Circumstances, Resource};
use crate::store::KeyFilter;

/// Most keys on a page.
const MAX_PAGE: u32 = 500;

/// Query of the list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeyQuery {
    /// Of this class: `kms`, `kek`, `design`.
    pub class: Option<String>,
    /// For this purpose.
    #[param(schema_with = crate::schema::key_purpose)]
    pub purpose: Option<Purpose>,
    /// After this key, in the order of their names.
    #[param(schema_with = crate::schema::key_name)]
    pub after: Option<KeyName>,
    /// At most this many, up to 500.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// One page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyPage {
    /// The keys, in the order of their names, without their versions.
    pub keys: Vec<ManagedKey>,
    /// Where the next page starts; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Lists managed keys.
#[tracing::instrument(skip_all)]
pub async fn list_keys(app: &App, context: &Context, query: &KeyQuery) -> Result<KeyPage, OpError> {
    let caller = context.caller()?;
    let acquirers = match caller {
        Caller::Principal(principal) => principal.acquirers().clone(),
        _ => BTreeSet::new(),
    };
    let _permit = authorize(app, context, caller, Action::ListKeys, &Resource::keys_of(&acquirers)).await?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Reason::Malformed.with("limit: 1 to 500").into());
    }
    // A back end sees its acquirers' keys and is not denied anything: it did not ask for the service's own.
    let of_none = Resource::keys_of(&BTreeSet::new());
    let of_service = app.authz.authorize(caller, Action::ListKeys, &of_none, Circumstances::at(app.clock.now())).is_ok();
    let filter = KeyFilter { class: query.class.clone(), purpose: query.purpose, after: query.after.clone() };
    let keys = app.store.read().await?.list_keys(&acquirers, of_service, &filter, limit).await?;
    let keys: Vec<ManagedKey> = keys.into_iter().map(ManagedKey::from).collect();
    let full = u32::try_from(keys.len()).is_ok_and(|count| count == limit);
    let next = if full { keys.last().map(|key| key.key.clone()) } else { None };
    Ok(KeyPage { keys, next })
}
