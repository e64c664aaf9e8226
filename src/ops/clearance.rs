//! Says whether a phone may take a payment now. Given if its last attestation is affirming and younger than its level's threshold
//! (EP4009261); else refused, with the challenge for a fresh one. Fails closed.

use serde::{Deserialize, Serialize};

use super::challenge::signed_challenge;
use super::context::Context;
use super::design_keys::{DesignKey, demand};
use super::enrol::level_of;
use super::error::{OpError, Refusal};
use super::read_device::{load_device, not_active};
use super::reason::Reason;
use super::{for_real, refuse};
use crate::app::App;
use crate::attestation::appraisal::Tier;
use crate::attestation::challenge::Target;
use crate::attestation::level::LevelPolicy;
use crate::audit::AuditEvent;
use crate::authz::Action;
use crate::clock::UnixTime;
use crate::enrolment::state::DeviceState;
use crate::id::DeviceId;
use crate::schema;
use crate::store::{self, ClearanceId, Purpose};
use crate::wire::word;

/// Body of the request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClearanceBody {
    /// The device.
    pub device: DeviceId,
    /// payment, or pin: asked again before PIN entry.
    #[serde(deserialize_with = "word")]
    pub purpose: Purpose,
}

/// A clearance that was given.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Clearance {
    /// Its id, to be kept with the payment.
    pub clearance: String,
    /// The device.
    pub device: DeviceId,
    /// What for.
    pub purpose: Purpose,
    /// When the phone was last found intact, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub attested: String,
    /// Until when this holds, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub expires: String,
}

/// Gives a clearance, or says that a fresh attestation is needed.
#[tracing::instrument(skip_all)]
pub async fn give_clearance(app: &App, context: &Context, body: &ClearanceBody) -> Result<Clearance, OpError> {
    let (row, permit) = load_device(app, context, &body.device, Action::Clear).await?;
    if let Some(reason) = not_active(row.state) {
        return Err(refuse(app, context, permit, reason).await);
    }
    let permit = demand(app, context, permit, &[DesignKey::AttestationSigning]).await?;
    if fresh_result(app, &row).await?.is_none() {
        let mut refusal = Refusal::from(Reason::AttestationStale);
        // Signing one is a use of a key.
        if !context.dry_run {
            refusal.challenge = Some(signed_challenge(app, Target::Attest(&row.id), row.ikid, &row.level).await?);
        }
        return Err(refuse(app, context, permit, refusal).await);
    }
    let permit = for_real(permit)?;
    let random: [u8; 16] =
        app.hsm.random(16).await?.try_into().map_err(|_| OpError::internal("drawing a clearance id", "the HSM gave another length"))?;
    let id = ClearanceId(random);
    let now = app.clock.now();
    let mut tx = app.store.begin().await?;
    // One that was stopped since it was loaded gets none; nor one that was resumed since, or has attested with another verdict.
    let held = tx.hold_device(&row.id, DeviceState::Active).await?;
    let last = tx.find_last_result(&row.id).await?.filter(|_| held);
    let Some((result, expires)) = last.and_then(|last| fresh(level_of(app, &row.level).ok()?, last, now)) else {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    };
    let clearance = store::Clearance { id, device: row.id.clone(), purpose: body.purpose, given: now, expires, result: result.id };
    tx.insert_clearance(&clearance).await?;
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("expires", expires)).await?;
    Ok(Clearance {
        clearance: id.to_string(),
        device: row.id,
        purpose: body.purpose,
        attested: result.issued.rfc3339(),
        expires: expires.rfc3339(),
    })
}

/// The device's last result, if it is affirming and younger than the threshold of its level, and until when it is.
pub(super) async fn fresh_result(app: &App, device: &store::Device) -> Result<Option<(store::AttestationResult, UnixTime)>, OpError> {
    let level = level_of(app, &device.level)?;
    let last = app.store.read().await?.find_last_result(&device.id).await?;
    Ok(last.and_then(|last| fresh(level, last, app.clock.now())))
}

fn fresh(level: &LevelPolicy, last: store::AttestationResult, now: UnixTime) -> Option<(store::AttestationResult, UnixTime)> {
    let expires = last.issued.plus(i64::from(level.threshold()));
    (last.status == Tier::Affirming.name() && level.is_fresh(last.issued, now)).then_some((last, expires))
}
