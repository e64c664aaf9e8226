//! Placeholder.

use serde_json::Value;
use tillward_hsm::{Approved, KekRef, KeyRef};

use super::context::Context;
use super::error::OpError;
use crate::app::App;
use crate::authz::Permit;

/// Whether it could be done now.
pub(super) async fn check(_: &App, _: &Context, _: &KeyRef, _: &KekRef) -> Result<Value, OpError> {
    Err(OpError::internal("import_key", "not there yet"))
}

/// Does it.
pub(super) async fn perform(_: &App, _: &Context, _: Permit, _: &KeyRef, _: &KekRef, _: &Approved, _: Vec<u8>) -> Result<Value, OpError> {
    Err(OpError::internal("import_key", "not there yet"))
}
