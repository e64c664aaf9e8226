//! Takes a phone's evidence, appraises it, and answers with a signed attestation result. A contraindicated result suspends the device in
//! the same transaction. Each challenge is good for one answer, a wrong one included.

use tillward_hsm::keyblock::KeyBlock;
use tillward_hsm::{HsmError, Ikid, Refusal as HsmRefusal, SigningKey};

use super::challenge::sign;
use super::context::Context;
use super::design_keys::{DesignKey, demand};
use super::enrol::{enrolled_key, level_of};
use super::error::{OpError, Refusal};
use super::read_device::{load_own_device, not_active};
use super::reason::Reason;
use super::refuse;
use crate::app::App;
use crate::attestation::appraisal::appraise;
use crate::attestation::challenge::{Target, VerifiedChallenge};
use crate::attestation::evidence::Evidence;
use crate::attestation::proof::VerifiedEvidence;
use crate::attestation::request::AttestationRequest;
use crate::attestation::result::AttestationResult;
use crate::audit::AuditEvent;
use crate::authz::{Action, Permit};
use crate::enrolment::state::DeviceState;
use crate::enrolment::transcript::{MacVerified, Transcript};
use crate::id::DeviceId;
use crate::store;

/// The state reason of a device that its own evidence has stopped.
const CONTRAINDICATED: &str = "contraindicated";

/// Appraises a phone's evidence.
#[tracing::instrument(skip_all)]
pub async fn attest(app: &App, context: &Context, device: &DeviceId, body: &[u8]) -> Result<String, OpError> {
    let request = AttestationRequest::parse(body)?;
    let (row, permit) = load_own_device(app, context, device, Action::Attest).await?;
    if let Some(reason) = not_active(row.state) {
        return Err(refuse(app, context, permit, reason).await);
    }
    let permit = demand(app, context, permit, &[DesignKey::StorageKek, DesignKey::AttestationSigning]).await?;
    let now = app.clock.now();
    let settings = &app.settings;
    let key = settings.authorities.attestation_key();
    let challenge = match VerifiedChallenge::verify(request.challenge, key, &settings.issuer, Target::Attest(&row.id), now) {
        Ok(challenge) => challenge,
        Err(error) => return Err(refuse(app, context, permit, Refusal::from(error)).await),
    };
    let evidence = match Evidence::parse(&request.evidence, &challenge) {
        Ok(evidence) => evidence,
        Err(error) => return Err(answered_wrongly(app, context, permit, &row, &challenge, error.into()).await),
    };
    let transcript = Transcript::attestation(&challenge, &evidence);
    match verify_device_mac(app, &row, transcript.digest(), &request.mac).await {
        Ok(()) => {}
        Err(OpError::Refused(refusal)) => return Err(answered_wrongly(app, context, permit, &row, &challenge, refusal).await),
        Err(error) => return Err(error),
    }
    let mac = MacVerified::by_hsm(transcript);
    let Ok(verified) = VerifiedEvidence::at_attestation(evidence, &mac, request.signature.as_ref(), &enrolled_key(&row)?) else {
        let refusal = Reason::EvidenceSignatureMismatch.into();
        return Err(answered_wrongly(app, context, permit, &row, &challenge, refusal).await);
    };
    let level = level_of(app, &row.level)?;
    // The policy was changed since the challenge: the phone fetches a new one.
    let Ok(appraisal) = appraise(verified, level, now) else {
        return Err(answered_wrongly(app, context, permit, &row, &challenge, Reason::ChallengeInvalid.into()).await);
    };
    let result = AttestationResult::new(&settings.issuer, &row.id, &appraisal, env!("CARGO_PKG_VERSION"));
    let unsigned = result
        .unsigned(settings.authorities.attestation_kid())
        .map_err(|error| OpError::internal("making an attestation result", error))?;
    let jws = sign(app, SigningKey::Attestation, unsigned).await?;

    let mut tx = app.store.begin().await?;
    if !tx.use_challenge(challenge.nonce(), &row.id, now, challenge.expires()).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::ChallengeReplayed).await);
    }
    if !tx.hold_device(&row.id, DeviceState::Active).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    }
    tx.insert_result(&store::NewResult {
        device: row.id.clone(),
        status: appraisal.status().name(),
        issued: now,
        expires: now.plus(i64::from(level.result_validity())),
        policy: appraisal.policy_id().to_owned(),
        evidence: String::from_utf8_lossy(appraisal.evidence().canonical()).into_owned(),
        result: jws.clone(),
    })
    .await?;
    let mut event = AuditEvent::effect(permit, &context.occasion(app)).with("status", appraisal.status().name());
    if appraisal.is_contraindicated() {
        if !tx.move_device(&row.id, DeviceState::Active, DeviceState::Suspended, CONTRAINDICATED, now).await? {
            return Err(Reason::StateConflict.into());
        }
        event = event.with("to", DeviceState::Suspended.name());
    }
    tx.commit(event).await?;
    if appraisal.is_contraindicated() {
        app.anchor.note(&row.acquirer);
    }
    Ok(jws)
}

/// Has the HSM verify a phone's CMAC.
pub(super) async fn verify_device_mac(app: &App, device: &store::Device, message: &[u8; 32], mac: &[u8; 16]) -> Result<(), OpError> {
    let secret = KeyBlock::parse(&device.secret.0).map_err(|error| OpError::internal("reading a device's key block", error))?;
    match app.hsm.verify_device_mac(&secret, Ikid(device.ikid), message, mac).await {
        Ok(()) => Ok(()),
        Err(HsmError::Refused(HsmRefusal::MacMismatch)) => Err(Reason::EvidenceMacMismatch.into()),
        Err(error) => Err(error.into()),
    }
}

/// A wrong answer uses the challenge up as well: there is one guess a challenge.
pub(super) async fn answered_wrongly(
    app: &App,
    context: &Context,
    permit: Permit,
    device: &store::Device,
    challenge: &VerifiedChallenge,
    refusal: Refusal,
) -> OpError {
    let used = async {
        let mut tx = app.store.begin().await?;
        if !tx.use_challenge(challenge.nonce(), &device.id, app.clock.now(), challenge.expires()).await? {
            drop(tx);
            return Ok(refuse(app, context, permit, Reason::ChallengeReplayed).await);
        }
        tx.commit(AuditEvent::refused(permit, &context.occasion(app), refusal.reason.code())).await?;
        Ok(refusal.into())
    };
    used.await.unwrap_or_else(|error: OpError| error)
}
