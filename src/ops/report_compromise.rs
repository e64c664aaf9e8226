//! Placeholder.

use serde_json::Value;
use tillward_hsm::{Approved, KeyRef};

use super::context::Context;
use super::error::OpError;
use crate::app::App;
use crate::authz::Permit;

/// Whether it could be done now, and what it would stop or strand.
pub(super) async fn check(_: &App, _: &Context, _: &KeyRef) -> Result<Value, OpError> {
    Err(OpError::internal("report_compromise", "not there yet"))
}

/// Does it.
pub(super) async fn perform(_: &App, _: &Context, _: Permit, _: &KeyRef, _: &Approved) -> Result<Value, OpError> {
    Err(OpError::internal("report_compromise", "not there yet"))
}
