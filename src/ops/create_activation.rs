//! Makes an activation: a first secret for one terminal, shown once, kept only as its MAC.

use serde::{Deserialize, Serialize};
use tillward_hsm::ksn::Ikid;

use super::context::Context;
use super::design_keys::{DesignKey, demand};
use super::error::OpError;
use super::reason::Reason;
use super::register_terminal::load_terminal;
use super::{for_real, refuse};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::Action;
use crate::clock::UnixTime;
use crate::enrolment::code::ActivationCode;
use crate::enrolment::state::ActivationState;
use crate::id::{AcquirerId, ActivationId, TerminalId};
use crate::schema;
use crate::store;

/// Body of the request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationBody {
    /// The terminal that a phone shall become.
    pub terminal: TerminalId,
}

/// A fresh activation. The code is in no other place.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedActivation {
    /// Its public id.
    pub id: ActivationId,
    /// The terminal.
    pub terminal: TerminalId,
    /// The code, in groups of four. Shown once: not in an answer that is given again.
    #[schema(required = false)]
    pub code: String,
    /// What a QR picture holds. Shown once.
    #[schema(required = false)]
    pub qr: String,
    /// Until when, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub expires: String,
    /// An older code for the same terminal that this one replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<ActivationId>,
}

impl std::fmt::Debug for CreatedActivation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedActivation").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Makes an activation code for a terminal without a phone. An open code for the terminal is taken back.
#[tracing::instrument(skip_all)]
pub async fn create_activation(app: &App, context: &Context, body: &ActivationBody) -> Result<CreatedActivation, OpError> {
    let (terminal, permit) = load_terminal(app, context, &body.terminal, Action::CreateActivation).await?;
    if app.store.read().await?.find_live_device_of_terminal(&terminal.id).await?.is_some() {
        return Err(refuse(app, context, permit, Reason::TerminalOccupied).await);
    }
    let permit = demand(app, context, permit, &[DesignKey::ActivationMac]).await?;
    let permit = for_real(permit)?;
    let fresh = FreshActivation::make(app, &terminal.id, &terminal.acquirer).await?;
    let mut tx = app.store.begin().await?;
    let supersedes = tx.open_activation(&fresh.row).await?;
    let event = AuditEvent::effect(permit, &context.occasion(app)).with("activation", &fresh.row.id).with("ikid", fresh.ikid_fact());
    tx.commit(event).await?;
    // The older code was taken back.
    if supersedes.is_some() {
        app.anchor.note(&terminal.acquirer);
    }
    Ok(fresh.show(app, supersedes))
}

/// A code and its row, not yet written.
pub(super) struct FreshActivation {
    code: ActivationCode,
    pub(super) row: store::Activation,
}

impl FreshActivation {
    /// Draws the code from the HSM and reserves a derivation id. Lost if it is not written: an id less, nothing else.
    pub(super) async fn make(app: &App, terminal: &TerminalId, acquirer: &AcquirerId) -> Result<Self, OpError> {
        let keys = app.settings.acquirers.iter().find(|a| &a.name == acquirer).ok_or(Reason::AcquirerUnknown)?;
        let random = app.hsm.random(15).await?;
        let (id, secret) = random.split_first_chunk::<5>().ok_or_else(|| OpError::internal("drawing a code", "short random"))?;
        let secret = secret.try_into().map_err(|error| OpError::internal("drawing a code", error))?;
        let code = ActivationCode::from_random(*id, secret);
        let mac = app.hsm.activation_mac(&code.expose_mac_message()).await?;
        let derivation_id = app.derivation_ids.next(app, acquirer).await?;
        let now = app.clock.now();
        let row = store::Activation {
            id: code.id().clone(),
            terminal: terminal.clone(),
            acquirer: acquirer.clone(),
            mac,
            derivation_id: derivation_id.0,
            ikid: Ikid::new(keys.bdk_data, derivation_id).0,
            state: ActivationState::Open,
            attempts: 0,
            created: now,
            expires: now.plus(app.settings.activation_seconds),
            used: None,
        };
        Ok(Self { code, row })
    }

    pub(super) fn ikid_fact(&self) -> crate::audit::Fact {
        crate::audit::Fact::hex(&self.row.ikid)
    }

    pub(super) fn show(&self, app: &App, supersedes: Option<ActivationId>) -> CreatedActivation {
        let pin = app.settings.authorities.root_pin();
        CreatedActivation {
            id: self.row.id.clone(),
            terminal: self.row.terminal.clone(),
            code: self.code.expose_groups().to_string(),
            qr: self.code.expose_qr_payload(&app.settings.device_url, &pin).to_string(),
            expires: UnixTime::rfc3339(self.row.expires),
            supersedes,
        }
    }
}
