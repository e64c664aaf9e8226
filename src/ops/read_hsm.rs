//! Reads how the HSM hosts are: budgets, generation, recoveries, breaker. The one operation that works without the token, because that is when it
//! is wanted.

use std::collections::BTreeMap;

use serde::Serialize;
use tillward_hsm::HsmView;

use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use crate::audit::{Occasion, Refusal as AuditRefusal};
use crate::authz::{Action, Circumstances, Resource};
use crate::service::Service;

/// How the HSM is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct HsmReport {
    /// Whether the service is bound to its token; until then every other operation is refused.
    pub bound: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The hosts.
    #[serde(flatten)]
    #[schema(value_type = HsmForm, inline)]
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

/// The form of [`HsmView`], for the readers of the API.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "the crate of the HSM says what is in it; this says it to the readers of the API")]
struct HsmForm {
    /// Whether a host serves.
    ready: bool,
    /// Calls in flight.
    #[schema(inline)]
    queue: BudgetForm,
    /// Calls that were sent a second time.
    repeats: u64,
    /// The hosts.
    #[schema(inline)]
    hosts: Vec<HostForm>,
}

/// How much of something is used.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "as above")]
struct BudgetForm {
    /// In use now.
    used: u64,
    /// The most by configuration.
    #[schema(required)]
    most: Option<u64>,
    /// The most that the token itself gives.
    #[schema(required)]
    token: Option<u64>,
}

/// One host.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "as above")]
struct HostForm {
    /// `serving`, `not-ready`, `starting`, `down`.
    state: String,
    /// Why it does not serve.
    #[schema(required)]
    outage: Option<String>,
    /// The checks that failed.
    #[schema(inline)]
    problems: Vec<FindingForm>,
    /// `child` or `socket`.
    kind: String,
    /// Its process id.
    #[schema(required)]
    pid: Option<u32>,
    /// `closed`, `open`, `half-open`.
    breaker: String,
    /// How often the breaker opened.
    breaker_opened: u64,
    /// Processes or connections that there were, this one included.
    launches: u64,
    /// How often it was replaced, by reason.
    replacements: BTreeMap<String, u64>,
    /// Calls that it has not answered yet.
    in_flight: u64,
    /// Generation of its sessions and handles.
    generation: u64,
    /// PKCS#11 sessions.
    #[schema(inline)]
    sessions: BudgetForm,
    /// Token objects.
    #[schema(inline)]
    objects: BudgetForm,
    /// Session objects made since its module was initialised.
    made_objects: u64,
    /// Resident memory, KiB.
    memory_kib: u64,
    /// What it did by the failure rules, by action.
    recoveries: BTreeMap<String, u64>,
}

/// A check that failed.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "as above")]
struct FindingForm {
    /// What was checked.
    name: String,
    /// Whether it is as it has to be.
    ok: bool,
    /// The PKCS#11 return code.
    #[schema(required)]
    code: Option<String>,
    /// What to do.
    hint: String,
}
