//! Lists plans, the latest first.

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::error::OpError;
use super::plan::resource;
use super::reason::Reason;
use crate::app::App;
use crate::authz::{Action, Circumstances, Resource};
use crate::schema;
use crate::store::{PlanId, PlanState};

/// Most plans on a page.
const MAX_PAGE: u32 = 200;

/// Query of the list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PlanQuery {
    /// open, executed or cancelled.
    #[param(inline)]
    pub state: Option<PlanState>,
    /// The plans before this one.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    pub before: Option<PlanId>,
    /// At most this many, up to 200.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
}

/// One page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PlanPage {
    /// The plans that the caller may see.
    #[schema(inline)]
    pub plans: Vec<PlanLine>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One plan of the list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PlanLine {
    /// Its id.
    pub id: String,
    /// open, executed, cancelled or expired.
    pub state: &'static str,
    /// Name of the deed.
    pub deed: String,
    /// What it is done to.
    pub resource: String,
    /// Who asked.
    pub requester: String,
    /// Since when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub created: String,
    /// Until when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub expires: String,
}

/// Lists plans. A plan about what is another acquirer's is not in the list.
#[tracing::instrument(skip_all)]
pub async fn list_plans(app: &App, context: &Context, query: &PlanQuery) -> Result<PlanPage, OpError> {
    let caller = context.caller()?;
    let _permit = super::authorize(app, context, caller, Action::ListPlans, &Resource::plan("*", None)).await?;
    let limit = query.limit.unwrap_or(50);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Reason::Malformed.with("limit: 1 to 200").into());
    }
    let mut reads = app.store.read().await?;
    let before = match query.before {
        None => None,
        Some(id) => {
            let row = reads.find_plan(id).await?.ok_or(Reason::PlanUnknown)?;
            Some((row.created, row.id))
        }
    };
    let rows = reads.plans(query.state, before, limit).await?;
    let now = app.clock.now();
    let full = u32::try_from(rows.len()).is_ok_and(|found| found == limit);
    let next = rows.last().filter(|_| full).map(|row| row.id.to_string());
    let visible =
        rows.into_iter().filter(|row| app.authz.authorize(caller, Action::ReadPlan, &resource(row), Circumstances::at(now)).is_ok());
    let plans = visible.map(|row| PlanLine {
        id: row.id.to_string(),
        state: if row.state == PlanState::Open && now >= row.expires { "expired" } else { row.state.name() },
        deed: row.deed,
        resource: row.resource,
        requester: row.requester,
        created: row.created.rfc3339(),
        expires: row.expires.rfc3339(),
    });
    Ok(PlanPage { plans: plans.collect(), next })
}
