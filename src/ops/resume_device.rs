//! Resumes a suspended device; it has to attest afresh before its next clearance.

use super::context::Context;
use super::error::OpError;
use super::read_device::{Device, load_device};
use super::stop_reason::ReasonBody;
use super::suspend_device::move_device;
use crate::app::App;
use crate::authz::Action;
use crate::enrolment::state::DeviceState;
use crate::id::DeviceId;

/// Resumes a suspended device; it has to attest afresh before its next clearance.
#[tracing::instrument(skip_all)]
pub async fn resume_device(app: &App, context: &Context, device: &DeviceId, body: &ReasonBody) -> Result<Device, OpError> {
    let (row, permit) = load_device(app, context, device, Action::ResumeDevice).await?;
    move_device(app, context, row, permit, DeviceState::Active, body.reason).await
}
