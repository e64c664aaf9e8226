//! Reads how the HSM hosts are: budgets, generation, recoveries, breaker. The one operation that works without the token, because that is when it
//! is wanted.

use serde::Serialize;
use tillward_hsm::HsmView;

use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use crate::audit::{Occasion, Refusal as AuditRefusal};
use crate::authz::{Action, Circumstances, Resource};
use crate::service::Service;

/// How the HSM is.
#[derive(Debug, Serialize)]
pub struct HsmReport {
    /// Whether the service is bound to its token; until then every other operation is refused.
    pub bound: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The hosts.
    #[serde(flatten)]
    pub hsm: HsmView,
}

/// Reads how the HSM is.
#[tracing::instrument(skip_all)]
pub async fn read_hsm(service: &Service, context: &Context) -> Result<HsmReport, OpError> {
    if let Err(denied) =
        service.authz.authorize(context.caller()?, Action::ReadHsm, &Resource::hsm(), Circumstances::at(service.clock.now()))
    {
        let occasion = Occasion { at: service.clock.now(), request: context.request_id.clone() };
        service.store.record(AuditRefusal::denied(&denied, &occasion)).await?;
        return Err(Reason::NotPermitted.into());
    }
    let trouble = service.why_not();
    Ok(HsmReport { bound: trouble.is_none(), trouble, hsm: service.hsm.view() })
}
