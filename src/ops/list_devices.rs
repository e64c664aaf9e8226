//! Lists devices of the caller's acquirers, a page at a time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::authorize;
use super::context::Context;
use super::error::OpError;
use super::read_device::Device;
use super::reason::Reason;
use crate::app::App;
use crate::authz::{Action, Caller, Resource};
use crate::enrolment::state::DeviceState;
use crate::id::{DeviceId, MerchantId, TerminalId};
use crate::store::DeviceFilter;

/// Most devices on a page.
const MAX_PAGE: u32 = 500;

/// Query of the list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeviceQuery {
    /// Of this terminal.
    pub terminal: Option<TerminalId>,
    /// Of this merchant.
    pub merchant: Option<MerchantId>,
    /// In this state.
    pub state: Option<DeviceState>,
    /// After this device, in the order of their ids.
    pub after: Option<DeviceId>,
    /// At most this many, up to 500.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// One page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DevicePage {
    /// The devices, in the order of their ids.
    pub devices: Vec<Device>,
    /// Where the next page starts; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<DeviceId>,
}

/// Lists devices.
#[tracing::instrument(skip_all)]
pub async fn list_devices(app: &App, context: &Context, query: &DeviceQuery) -> Result<DevicePage, OpError> {
    let caller = context.caller()?;
    let acquirers = match caller {
        Caller::Principal(principal) => principal.acquirers().clone(),
        _ => BTreeSet::new(),
    };
    let _permit = authorize(app, context, caller, Action::ListDevices, &Resource::devices(&acquirers)).await?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Reason::Malformed.with("limit: 1 to 500").into());
    }
    let filter =
        DeviceFilter { terminal: query.terminal.clone(), merchant: query.merchant.clone(), state: query.state, after: query.after.clone() };
    let devices: Vec<Device> =
        app.store.read().await?.list_devices(&acquirers, &filter, limit).await?.into_iter().map(Device::from).collect();
    let full = u32::try_from(devices.len()).is_ok_and(|count| count == limit);
    let next = if full { devices.last().map(|device| device.device.clone()) } else { None };
    Ok(DevicePage { devices, next })
}
