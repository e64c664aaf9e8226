//! Renews a phone's certificate: same key, fresh validity. The phone proves the second secret, and its last attestation must be
//! fresh and affirming. Earlier certificates run out by themselves; they are short.

use super::attest::{answered_wrongly, verify_device_mac};
use super::challenge::signed_challenge;
use super::clearance::fresh_result;
use super::context::Context;
use super::design_keys::{DesignKey, demand};
use super::enrol::enrolled_key;
use super::error::{OpError, Refusal};
use super::issue_certificate::issue_merchant_certificate;
use super::read_device::{load_own_device, not_active};
use super::reason::Reason;
use super::refuse;
use crate::app::App;
use crate::attestation::challenge::{Target, VerifiedChallenge};
use crate::attestation::request::RenewalRequest;
use crate::audit::{AuditEvent, Fact};
use crate::authz::Action;
use crate::enrolment::state::DeviceState;
use crate::enrolment::transcript::{MacVerified, Transcript};
use crate::id::DeviceId;
use crate::pki::request::{ProvenRequest, RequestError};
use crate::wire::b64url;

/// Issues a fresh certificate for the enrolled key; answers with the chain.
#[tracing::instrument(skip_all)]
pub async fn renew_certificate(app: &App, context: &Context, device: &DeviceId, body: &[u8]) -> Result<[String; 2], OpError> {
    let request = RenewalRequest::parse(body)?;
    let (row, permit) = load_own_device(app, context, device, Action::RenewCertificate).await?;
    if let Some(reason) = not_active(row.state) {
        return Err(refuse(app, context, permit, reason).await);
    }
    let permit = demand(app, context, permit, &[DesignKey::StorageKek, DesignKey::IssuingCa, DesignKey::AttestationSigning]).await?;
    let now = app.clock.now();
    let settings = &app.settings;
    let key = settings.authorities.attestation_key();
    let challenge = match VerifiedChallenge::verify(request.challenge.clone(), key, &settings.issuer, Target::Renew(&row.id), now) {
        Ok(challenge) => challenge,
        Err(error) => return Err(refuse(app, context, permit, Refusal::from(error)).await),
    };
    let transcript = Transcript::renewal(&challenge, &request.csr);
    match verify_device_mac(app, &row, transcript.digest(), &request.mac).await {
        Ok(()) => {}
        Err(OpError::Refused(refusal)) => return Err(answered_wrongly(app, context, permit, &row, &challenge, refusal).await),
        Err(error) => return Err(error),
    }
    let mac = MacVerified::by_hsm(transcript);
    let enrolled = enrolled_key(&row)?;
    let vouched = match ProvenRequest::prove(&request.csr).and_then(|proven| proven.at_renewal(&mac, &enrolled)) {
        Ok(vouched) => vouched,
        Err(error) => {
            let refusal = match error {
                RequestError::KeyChanged => Reason::CertificateKeyChanged.into(),
                other => Reason::RequestProofInvalid.with(other.to_string()),
            };
            return Err(answered_wrongly(app, context, permit, &row, &challenge, refusal).await);
        }
    };
    if fresh_result(app, &row).await?.is_none() {
        let mut refusal = Refusal::from(Reason::AttestationStale);
        refusal.challenge = Some(signed_challenge(app, Target::Attest(&row.id), row.ikid, &row.level).await?);
        return Err(answered_wrongly(app, context, permit, &row, &challenge, refusal).await);
    }
    let issued = issue_merchant_certificate(app, &row.merchant, &row.terminal, &row.id, vouched).await?;
    let mut tx = app.store.begin().await?;
    if !tx.use_challenge(challenge.nonce(), &row.id, now, challenge.expires()).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::ChallengeReplayed).await);
    }
    // A certificate for a phone that was retired since it was loaded would be one that nobody revokes.
    if !tx.hold_device(&row.id, DeviceState::Active).await? {
        drop(tx);
        return Err(refuse(app, context, permit, Reason::StateConflict).await);
    }
    tx.insert_certificate(&issued.row(&row.id)).await?;
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("certificate", Fact::hex(issued.serial()))).await?;
    // A certificate that a restored database does not know could not be revoked.
    app.anchor.note(&row.acquirer);
    Ok([b64url::encode(issued.der()), b64url::encode(settings.authorities.issuing_der())])
}
