//! Stops every use of a version for a while.

use tillward_hsm::KeyName;

use super::context::Context;
use super::error::OpError;
use super::move_key::move_key;
use super::read_key::ManagedKey;
use crate::app::App;
use crate::authz::Action;
use crate::key::Move;

/// Stops every use of a version for a while.
#[tracing::instrument(skip_all)]
pub async fn suspend_key(app: &App, context: &Context, key: &KeyName, version: u32) -> Result<ManagedKey, OpError> {
    move_key(app, context, key, version, Action::SuspendKey, Move::Suspend).await
}
