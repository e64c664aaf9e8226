//! Reads an activation: state, tries, times; never the code, which is nowhere.

use serde::Serialize;

use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use super::{authorize, turn_away};
use crate::app::App;
use crate::authz::{Action, Permit, Resource};
use crate::enrolment::state::ActivationState;
use crate::id::{ActivationId, DeviceId, TerminalId};
use crate::schema;
use crate::store;

/// An activation.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Activation {
    /// Its public id.
    pub id: ActivationId,
    /// The terminal.
    pub terminal: TerminalId,
    /// open, used, locked or revoked.
    pub state: ActivationState,
    /// Open, and past its time.
    pub expired: bool,
    /// Wrong tries so far.
    pub wrong_tries: u8,
    /// Since when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub created: String,
    /// Until when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub expires: String,
    /// The phone that used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
}

impl Activation {
    pub(super) fn of(app: &App, row: store::Activation) -> Self {
        Self {
            expired: row.state == ActivationState::Open && app.clock.now() >= row.expires,
            id: row.id,
            terminal: row.terminal,
            state: row.state,
            wrong_tries: row.attempts,
            created: row.created.rfc3339(),
            expires: row.expires.rfc3339(),
            device: row.used.map(|used| used.device),
        }
    }
}

/// Reads an activation.
#[tracing::instrument(skip_all)]
pub async fn read_activation(app: &App, context: &Context, activation: &ActivationId) -> Result<Activation, OpError> {
    let (row, _permit) = load_activation(app, context, activation, Action::ReadActivation).await?;
    Ok(Activation::of(app, row))
}

/// Loads an activation and authorizes the action on it.
pub(super) async fn load_activation(
    app: &App,
    context: &Context,
    activation: &ActivationId,
    action: Action,
) -> Result<(store::Activation, Permit), OpError> {
    let caller = context.caller()?;
    let Some(row) = app.store.read().await?.find_activation(activation).await? else {
        let resource = Resource::activation(activation, None);
        return Err(turn_away(app, context, caller, action, &resource, Reason::ActivationUnknown).await);
    };
    let permit = authorize(app, context, caller, action, &Resource::activation(&row.id, &row.acquirer)).await?;
    Ok((row, permit))
}
