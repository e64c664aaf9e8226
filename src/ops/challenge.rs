//! Signs challenges. They are not kept: what makes them ours is the signature, what makes them single use is the row that their answer
//! leaves. So asking for one has no effect, and nobody can fill a table by asking.

use super::context::Context;
use super::design_keys::{DesignKey, demand};
use super::enrol::level_of;
use super::error::OpError;
use super::read_device::{load_own_device, not_active};
use super::reason::Reason;
use super::{authorize, refuse, turn_away};
use crate::app::App;
use crate::attestation::challenge::{Challenge, Target};
use crate::attestation::request::{ChallengeRequest, DevicePurpose};
use crate::audit::{AuditEvent, Fact};
use crate::authz::{Action, Caller, Permit, Phone, Resource};
use crate::enrolment::request::EnrolmentChallengeRequest;
use crate::enrolment::state::ActivationState;
use crate::id::DeviceId;
use crate::jose::Unsigned;
use crate::store;
use tillward_hsm::{Ikid, SigningKey};

/// A challenge for the holder of an activation code. It does not consume the code.
#[tracing::instrument(skip_all)]
pub async fn enrolment_challenge(app: &App, context: &Context, body: &[u8]) -> Result<String, OpError> {
    let request = EnrolmentChallengeRequest::parse(body)?;
    let caller = Caller::Phone(Phone::Activation(request.activation.clone()));
    let Some(activation) = app.store.read().await?.find_activation(&request.activation).await? else {
        let resource = Resource::activation(&request.activation, None);
        return Err(turn_away(app, context, &caller, Action::IssueChallenge, &resource, Reason::ActivationUnknown).await);
    };
    let resource = Resource::activation(&activation.id, &activation.acquirer);
    let permit = authorize(app, context, &caller, Action::IssueChallenge, &resource).await?;
    let refusal = match activation.state {
        ActivationState::Locked => Some(Reason::ActivationLocked),
        ActivationState::Revoked => Some(Reason::ActivationRevoked),
        ActivationState::Open if app.clock.now() >= activation.expires => Some(Reason::ActivationExpired),
        // A used code may still be asked about: the phone whose answer was lost gets it again by its first request.
        ActivationState::Open | ActivationState::Used => None,
    };
    if let Some(reason) = refusal {
        return Err(refuse(app, context, permit, reason).await);
    }
    let terminal = app.store.read().await?.find_terminal(&activation.terminal).await?;
    let level = terminal.ok_or_else(|| OpError::internal("loading the terminal of an activation", "the foreign key has no row"))?.level;
    let permit = demand(app, context, permit, &[DesignKey::AttestationSigning]).await?;
    let ikid = ikid_of_this_run(app, context, permit, &activation).await?;
    signed_challenge(app, Target::Enrol(&activation.id), ikid, &level).await
}

/// The IKID that the activation has reserved. One that an earlier process has given is replaced: after a restore, the database may not
/// know that it was used (docs/adr/0002).
async fn ikid_of_this_run(app: &App, context: &Context, permit: Permit, activation: &store::Activation) -> Result<[u8; 8], OpError> {
    if activation.state != ActivationState::Open || app.derivation_ids.is_of_this_run(&activation.acquirer, activation.derivation_id).await
    {
        return Ok(activation.ikid);
    }
    let keys = app.settings.acquirers.iter().find(|a| a.name == activation.acquirer).ok_or(Reason::AcquirerUnknown)?;
    let fresh = app.derivation_ids.next(app, &activation.acquirer).await?;
    let ikid = Ikid::new(keys.bdk_data, fresh).0;
    let mut tx = app.store.begin().await?;
    if !tx.renumber_activation(&activation.id, &activation.ikid, fresh.0, &ikid).await? {
        // Used, stopped or renumbered by another request in between: the phone asks again.
        drop(tx);
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    }
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("ikid", Fact::hex(&ikid))).await?;
    Ok(ikid)
}

/// A challenge for an enrolled phone.
#[tracing::instrument(skip_all)]
pub async fn device_challenge(app: &App, context: &Context, device: &DeviceId, body: &[u8]) -> Result<String, OpError> {
    let request = ChallengeRequest::parse(body)?;
    let (row, permit) = load_own_device(app, context, device, Action::IssueChallenge).await?;
    if let Some(reason) = not_active(row.state) {
        return Err(refuse(app, context, permit, reason).await);
    }
    let _permit = demand(app, context, permit, &[DesignKey::AttestationSigning]).await?;
    let target = match request.purpose {
        DevicePurpose::Attest => Target::Attest(&row.id),
        DevicePurpose::Renew => Target::Renew(&row.id),
    };
    signed_challenge(app, target, row.ikid, &row.level).await
}

/// Makes and signs a challenge.
pub(super) async fn signed_challenge(app: &App, target: Target<'_>, ikid: [u8; 8], level: &str) -> Result<String, OpError> {
    let level = level_of(app, level)?;
    let nonce: [u8; 32] =
        app.hsm.random(32).await?.try_into().map_err(|_| OpError::internal("drawing a nonce", "the HSM gave another length"))?;
    let challenge = Challenge { issuer: &app.settings.issuer, target, nonce, now: app.clock.now(), ikid, level };
    let unsigned =
        challenge.unsigned(app.settings.authorities.attestation_kid()).map_err(|error| OpError::internal("making a challenge", error))?;
    sign(app, SigningKey::Attestation, unsigned).await
}

/// Has a token signed in the HSM.
pub(super) async fn sign(app: &App, key: SigningKey, unsigned: Unsigned) -> Result<String, OpError> {
    let signature = app.hsm.sign(key, &unsigned.digest()).await?;
    let signature: &[u8; 64] = signature.as_slice().try_into().map_err(|error| OpError::internal("taking a signature", error))?;
    let jws = unsigned.attach(signature).map_err(|error| OpError::internal("attaching a signature", error))?;
    Ok(jws.into_string())
}
