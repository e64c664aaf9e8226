//! Managed keys: their beginning, their uses, their end; and keys on their way to and from partners.

mod approved;
mod carry;
mod escrow;
mod exchange;
mod kek;
mod settle;

pub(super) use exchange::exchange;

use super::context::Context;
use super::fault::Fault;
use super::keeper::Host;
use super::pool::Session;
use crate::managed_op::Managed;
use crate::op::Answer;

/// What is asked of managed keys.
pub(super) fn perform(_: &Host, _: &Context, _: &Session, operation: &Managed) -> Result<Answer, Fault> {
    Err(Fault::input(operation.name()))
}
