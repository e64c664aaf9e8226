//! Verifies an AES DUKPT MAC of a phone's message, on the token.

use serde::Serialize;
use tillward_hsm::ksn::Ksn;

use super::context::Context;
use super::design_keys::{DesignKey, demand};
use super::error::OpError;
use super::key_sets::demand_of_set;
use super::read_device::not_active;
use super::reason::Reason;
use super::{authorize, for_real, refuse, turn_away};
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::{Action, Permit, Resource};
use crate::id::{AcquirerId, DeviceId};
use crate::payment::message::MacRequest;
use crate::store;
use tillward_hsm::{HsmError, Refusal as HsmRefusal};

/// The MAC verifies.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Verified {
    /// Always true: anything else is a refusal.
    pub verified: bool,
    /// The device whose key made it.
    pub device: DeviceId,
}

/// Verifies the MAC (key usage 2000, AES-CMAC) over the data.
#[tracing::instrument(skip_all)]
pub async fn verify_mac(app: &App, context: &Context, body: &[u8]) -> Result<Verified, OpError> {
    verify_mac_of(app, context, MacRequest::parse(body)?, None).await
}

/// The same for a request that is parsed, held to a key set where one is named.
pub(super) async fn verify_mac_of(
    app: &App,
    context: &Context,
    request: MacRequest,
    set: Option<&AcquirerId>,
) -> Result<Verified, OpError> {
    let ksn = parse_ksn(request.ksn)?;
    if let Some(set) = set {
        demand_of_set(app, context, set, ksn, Action::VerifyMac).await?;
    }
    let (device, permit) = load_by_ksn(app, context, ksn, Action::VerifyMac).await?;
    let permit = demand(app, context, permit, &[DesignKey::BdkData(&device.acquirer)]).await?;
    match app.hsm.dukpt_verify_mac(ksn, request.data, request.mac).await {
        Ok(()) => {}
        Err(HsmError::Refused(HsmRefusal::MacMismatch)) => return Err(refuse(app, context, permit, Reason::MacMismatch).await),
        Err(error) => return Err(error.into()),
    }
    app.store.record(AuditEvent::effect(permit, &context.occasion(app)).with("ksn", Fact::hex(&ksn.to_bytes()))).await?;
    Ok(Verified { verified: true, device: device.id })
}

/// A KSN whose counter AES DUKPT has.
pub(super) fn parse_ksn(bytes: [u8; 12]) -> Result<Ksn, OpError> {
    Ksn::from_bytes(bytes).map_err(|error| Reason::Malformed.with(format!("ksn: {error}")).into())
}

/// The active device whose data key a KSN belongs to.
pub(super) async fn load_by_ksn(app: &App, context: &Context, ksn: Ksn, action: Action) -> Result<(store::Device, Permit), OpError> {
    let caller = context.caller()?;
    let ikid = ksn.ikid();
    let Some(row) = app.store.read().await?.find_device_by_ikid(&ikid.0).await? else {
        let resource = Resource::ksn(ikid.0);
        return Err(turn_away(app, context, caller, action, &resource, Reason::KsnUnknown).await);
    };
    let permit = authorize(app, context, caller, action, &Resource::device(&row.id, &row.acquirer)).await?;
    if let Some(reason) = not_active(row.state) {
        return Err(refuse(app, context, permit, reason).await);
    }
    Ok((row, for_real(permit)?))
}
