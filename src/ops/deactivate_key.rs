//! Ends the protecting of a version, for good; it goes on processing what it protected.

use tillward_hsm::KeyName;

use super::context::Context;
use super::error::OpError;
use super::move_key::move_key;
use super::read_key::ManagedKey;
use crate::app::App;
use crate::authz::Action;
use crate::key::Move;

/// Ends the protecting of a version, for good; it goes on processing what it protected.
#[tracing::instrument(skip_all)]
pub async fn deactivate_key(app: &App, context: &Context, key: &KeyName, version: u32) -> Result<ManagedKey, OpError> {
    move_key(app, context, key, version, Action::DeactivateKey, Move::Deactivate).await
}
