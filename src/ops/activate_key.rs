//! Takes a version into use, or back into use after a suspension.

use tillward_hsm::KeyName;

use super::context::Context;
use super::error::OpError;
use super::move_key::move_key;
use super::read_key::ManagedKey;
use crate::app::App;
use crate::authz::Action;
use crate::key::Move;

/// Takes a version into use, or back into use after a suspension.
#[tracing::instrument(skip_all)]
pub async fn activate_key(app: &App, context: &Context, key: &KeyName, version: u32) -> Result<ManagedKey, OpError> {
    move_key(app, context, key, version, Action::ActivateKey, Move::Activate).await
}
