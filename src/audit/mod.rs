//! The audit log: what was done, by whom, with what right; and what was refused, and why.
//!
//! An [`AuditEvent`] is made only from a [`Permit`], and the store's commit takes an event: a change without a permit or
//! without an entry does not compile. What was refused without a permit is a [`Refusal`], which commits nothing. Entries are only ever added, numbered without gaps in the order of their
//! commits, so that a chain of hashes and signed checkpoints can be laid over them.
//!
//! [`Permit`]: crate::authz::Permit

mod event;
mod fact;

pub use event::{AuditEvent, Entry, Occasion, Outcome, Refusal, RequestId, RequestIdError, WouldBe};
pub use fact::Fact;
