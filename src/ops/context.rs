//! What every operation knows of its request.

use super::error::OpError;
use super::reason::Reason;
use crate::app::App;
use crate::audit::{Occasion, RequestId};
use crate::authz::Caller;

/// Which request it is, and who calls on the back-end listener. On the device listener the operation itself makes the caller from
/// what the phone says it is.
#[derive(Debug, Clone)]
pub struct Context {
    /// The principal of the client certificate.
    pub principal: Option<Caller>,
    /// The request's id, for audit and logs.
    pub request_id: RequestId,
    /// Whether it only asks what would be done: permits are dry then, and what is dry does not commit.
    pub dry_run: bool,
}

impl Context {
    /// Work that the service does of itself.
    ///
    /// # Errors
    /// `internal`, if the system has no randomness for a request id.
    pub fn of_the_service() -> Result<Self, OpError> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| OpError::internal("making a request id", error))?;
        Ok(Self { principal: None, request_id: RequestId::from_random(random), dry_run: false })
    }

    /// Now, in answer to this request.
    pub fn occasion(&self, app: &App) -> Occasion {
        Occasion { at: app.clock.now(), request: self.request_id.clone() }
    }

    /// The principal; an operation for principals cannot go on without one.
    ///
    /// # Errors
    /// `not-permitted`.
    pub fn caller(&self) -> Result<&Caller, OpError> {
        self.principal.as_ref().ok_or_else(|| Reason::NotPermitted.into())
    }
}
