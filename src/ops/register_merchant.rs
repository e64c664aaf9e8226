//! Registers a merchant of an acquirer; reads one.

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use super::{authorize, refuse, turn_away};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::{Action, Resource};
use crate::id::{AcquirerId, MerchantId};
use crate::schema;
use crate::store::{self, StoreError};

/// Body of the registration.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MerchantBody {
    /// Whose merchant it is.
    pub acquirer: AcquirerId,
    /// Its name, for people; 1 to 100 characters.
    #[schema(schema_with = schema::display_name)]
    pub name: String,
}

/// A merchant.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Merchant {
    /// Its id.
    pub merchant: MerchantId,
    /// Whose merchant it is.
    pub acquirer: AcquirerId,
    /// Its name.
    pub name: String,
    /// Since when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub created: String,
}

impl From<store::Merchant> for Merchant {
    fn from(row: store::Merchant) -> Self {
        Self { merchant: row.id, acquirer: row.acquirer, name: row.name, created: row.created.rfc3339() }
    }
}

/// Registers a merchant. The same content again changes nothing; other content is refused.
#[tracing::instrument(skip_all)]
pub async fn register_merchant(app: &App, context: &Context, merchant: MerchantId, body: MerchantBody) -> Result<Merchant, OpError> {
    let resource = Resource::merchant(&merchant, &body.acquirer);
    let permit = authorize(app, context, context.caller()?, Action::RegisterMerchant, &resource).await?;
    if body.name.trim().is_empty() || body.name.chars().count() > 100 || body.name.chars().any(char::is_control) {
        return Err(refuse(app, context, permit, Reason::Malformed.with("name: 1 to 100 printable characters")).await);
    }
    if !app.settings.acquirers.iter().any(|acquirer| acquirer.name == body.acquirer) {
        return Err(refuse(app, context, permit, Reason::AcquirerUnknown).await);
    }
    let wanted = store::Merchant { id: merchant, acquirer: body.acquirer, name: body.name, created: app.clock.now() };
    let mut tx = app.store.begin().await?;
    if tx.find_merchant(&wanted.id).await?.is_none() {
        match tx.insert_merchant(&wanted).await {
            Ok(()) => {
                tx.commit(AuditEvent::effect(permit, &context.occasion(app))).await?;
                return Ok(wanted.into());
            }
            // PostgreSQL: another request was first since the line above.
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    drop(tx);
    let found = app.store.read().await?.find_merchant(&wanted.id).await?;
    let found = found.ok_or_else(|| OpError::internal("reading a registered merchant", "it is gone"))?;
    if found.acquirer == wanted.acquirer && found.name == wanted.name {
        return Ok(found.into());
    }
    Err(refuse(app, context, permit, Reason::AlreadyRegistered).await)
}

/// Reads a merchant.
#[tracing::instrument(skip_all)]
pub async fn read_merchant(app: &App, context: &Context, merchant: &MerchantId) -> Result<Merchant, OpError> {
    let caller = context.caller()?;
    let Some(row) = app.store.read().await?.find_merchant(merchant).await? else {
        let resource = Resource::merchant(merchant, None);
        return Err(turn_away(app, context, caller, Action::ReadMerchant, &resource, Reason::MerchantUnknown).await);
    };
    let _permit = authorize(app, context, caller, Action::ReadMerchant, &Resource::merchant(&row.id, &row.acquirer)).await?;
    Ok(row.into())
}
