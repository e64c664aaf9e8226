//! Reads a device.

use serde::Serialize;
use tillward_hsm::ksn::Ikid;

use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use super::{authorize, turn_away};
use crate::app::App;
use crate::authz::{Action, Caller, Permit, Phone, Resource};
use crate::enrolment::state::DeviceState;
use crate::id::{DeviceId, MerchantId, TerminalId};
use crate::schema;
use crate::store;

/// A device.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Device {
    /// Its id.
    pub device: DeviceId,
    /// Its terminal.
    pub terminal: TerminalId,
    /// Its merchant.
    pub merchant: MerchantId,
    /// Its security level.
    pub level: String,
    /// active, suspended or retired.
    pub state: DeviceState,
    /// Why it was last stopped or resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<String>,
    /// Initial key id of its data key.
    #[schema(schema_with = schema::hex::<8>)]
    pub ikid: Ikid,
    /// Since when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub enrolled: String,
    /// Since when no more, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::time, required = false)]
    pub retired: Option<String>,
}

impl From<store::Device> for Device {
    fn from(row: store::Device) -> Self {
        Self {
            device: row.id,
            terminal: row.terminal,
            merchant: row.merchant,
            level: row.level,
            state: row.state,
            state_reason: row.state_reason,
            ikid: Ikid(row.ikid),
            enrolled: row.enrolled.rfc3339(),
            retired: row.retired.map(crate::clock::UnixTime::rfc3339),
        }
    }
}

/// Reads a device.
#[tracing::instrument(skip_all)]
pub async fn read_device(app: &App, context: &Context, device: &DeviceId) -> Result<Device, OpError> {
    let (row, _permit) = load_device(app, context, device, Action::ReadDevice).await?;
    Ok(row.into())
}

/// Loads a device for a principal, and authorizes the action on it.
pub(super) async fn load_device(
    app: &App,
    context: &Context,
    device: &DeviceId,
    action: Action,
) -> Result<(store::Device, Permit), OpError> {
    load_device_as(app, context, context.caller()?, device, action).await
}

/// Loads a device for the phone that says it is this device, and authorizes the action on it.
pub(super) async fn load_own_device(
    app: &App,
    context: &Context,
    device: &DeviceId,
    action: Action,
) -> Result<(store::Device, Permit), OpError> {
    load_device_as(app, context, &Caller::Phone(Phone::Device(device.clone())), device, action).await
}

async fn load_device_as(
    app: &App,
    context: &Context,
    caller: &Caller,
    device: &DeviceId,
    action: Action,
) -> Result<(store::Device, Permit), OpError> {
    let Some(row) = app.store.read().await?.find_device(device).await? else {
        let resource = Resource::device(device, None);
        return Err(turn_away(app, context, caller, action, &resource, Reason::DeviceUnknown).await);
    };
    let permit = authorize(app, context, caller, action, &Resource::device(&row.id, &row.acquirer)).await?;
    Ok((row, permit))
}

/// Why a device in this state may not work, if it may not.
pub(super) fn not_active(state: DeviceState) -> Option<Reason> {
    match state {
        DeviceState::Active => None,
        DeviceState::Suspended => Some(Reason::DeviceSuspended),
        DeviceState::Retired => Some(Reason::DeviceRetired),
    }
}
