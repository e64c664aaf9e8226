//! Retires a device for ever: its certificates are revoked, and its terminal is free for another phone.

use super::context::Context;
use super::error::OpError;
use super::read_device::{Device, load_device};
use super::stop_reason::ReasonBody;
use super::suspend_device::move_device;
use crate::app::App;
use crate::authz::Action;
use crate::enrolment::state::DeviceState;
use crate::id::DeviceId;

/// Retires a device for ever.
#[tracing::instrument(skip_all)]
pub async fn retire_device(app: &App, context: &Context, device: &DeviceId, body: &ReasonBody) -> Result<Device, OpError> {
    let (row, permit) = load_device(app, context, device, Action::RetireDevice).await?;
    move_device(app, context, row, permit, DeviceState::Retired, body.reason).await
}
