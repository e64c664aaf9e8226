//! Registers a terminal of a merchant; reads one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use super::{authorize, refuse, turn_away};
use crate::app::App;
use crate::attestation::level::LevelName;
use crate::audit::AuditEvent;
use crate::authz::{Action, Permit, Resource};
use crate::id::{MerchantId, TerminalId};
use crate::schema;
use crate::store::{self, StoreError};

/// Longest terminal configuration, bytes of JSON.
const MAX_CONFIGURATION: usize = 8 * 1024;

/// Body of the registration.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminalBody {
    /// Whose terminal it is.
    pub merchant: MerchantId,
    /// Its security level, as the appraisal policy names it.
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,32}$")]
    pub level: LevelName,
    /// What the phone gets with its personalization package, as it is; at most 8 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub configuration: Map<String, Value>,
}

/// A terminal.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Terminal {
    /// Its id.
    pub terminal: TerminalId,
    /// Whose terminal it is.
    pub merchant: MerchantId,
    /// Its security level.
    pub level: String,
    /// Its configuration.
    #[schema(value_type = Object)]
    pub configuration: Map<String, Value>,
    /// Since when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub created: String,
}

impl From<store::Terminal> for Terminal {
    fn from(row: store::Terminal) -> Self {
        Self {
            terminal: row.id,
            merchant: row.merchant,
            level: row.level,
            configuration: row.configuration,
            created: row.created.rfc3339(),
        }
    }
}

/// Registers a terminal. The same content again changes nothing; other content is refused.
#[tracing::instrument(skip_all)]
pub async fn register_terminal(app: &App, context: &Context, terminal: TerminalId, body: TerminalBody) -> Result<Terminal, OpError> {
    let caller = context.caller()?;
    let Some(merchant) = app.store.read().await?.find_merchant(&body.merchant).await? else {
        let resource = Resource::merchant(&body.merchant, None);
        return Err(turn_away(app, context, caller, Action::RegisterTerminal, &resource, Reason::MerchantUnknown).await);
    };
    let permit = authorize(app, context, caller, Action::RegisterTerminal, &Resource::terminal(&terminal, &merchant.acquirer)).await?;
    if app.settings.policy.level(&body.level).is_none() {
        return Err(refuse(app, context, permit, Reason::LevelUnknown).await);
    }
    if serde_json::to_string(&body.configuration).map_or(true, |text| text.len() > MAX_CONFIGURATION) {
        return Err(refuse(app, context, permit, Reason::Malformed.with("configuration: at most 8 KiB")).await);
    }
    let wanted = store::Terminal {
        id: terminal,
        merchant: body.merchant,
        acquirer: merchant.acquirer,
        level: body.level.as_str().to_owned(),
        configuration: body.configuration,
        created: app.clock.now(),
    };
    let mut tx = app.store.begin().await?;
    if tx.find_terminal(&wanted.id).await?.is_none() {
        match tx.insert_terminal(&wanted).await {
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
    let found = app.store.read().await?.find_terminal(&wanted.id).await?;
    let found = found.ok_or_else(|| OpError::internal("reading a registered terminal", "it is gone"))?;
    if found.merchant == wanted.merchant && found.level == wanted.level && found.configuration == wanted.configuration {
        return Ok(found.into());
    }
    Err(refuse(app, context, permit, Reason::AlreadyRegistered).await)
}

/// Reads a terminal.
#[tracing::instrument(skip_all)]
pub async fn read_terminal(app: &App, context: &Context, terminal: &TerminalId) -> Result<Terminal, OpError> {
    let (row, _permit) = load_terminal(app, context, terminal, Action::ReadTerminal).await?;
    Ok(row.into())
}

/// Loads a terminal, and authorizes the action on it.
pub(super) async fn load_terminal(
    app: &App,
    context: &Context,
    terminal: &TerminalId,
    action: Action,
) -> Result<(store::Terminal, Permit), OpError> {
    let caller = context.caller()?;
    let Some(row) = app.store.read().await?.find_terminal(terminal).await? else {
        return Err(turn_away(app, context, caller, action, &Resource::terminal(terminal, None), Reason::TerminalUnknown).await);
    };
    let permit = authorize(app, context, caller, action, &Resource::terminal(&row.id, &row.acquirer)).await?;
    Ok((row, permit))
}
