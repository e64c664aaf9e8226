//! Enrols a phone: the first secret authorises, the second secret is proven, the evidence is appraised, and in one transaction the code
//! is used up, the device and its certificate are recorded and the package is kept.
//!
//! The HSM writes nothing on the token for a device, so a crash anywhere before the commit leaves nothing; after it, the phone
//! asks again with the same request and gets the same package.

use p256::ecdsa::VerifyingKey;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use subtle::ConstantTimeEq as _;
use tillward_hsm::{HsmError, Ikid, KeyPurpose, OpenEnrolment, Refusal as HsmRefusal, SigningKey, TransportKind};

use super::challenge::sign;
use super::context::Context;
use super::design_keys::{DesignKey, demand};
use super::enrolment_parameters::transport_kind;
use super::error::{OpError, Refusal};
use super::issue_certificate::{Issued, issue_merchant_certificate};
use super::reason::Reason;
use super::{authorize, refuse, turn_away};
use crate::app::App;
use crate::attestation::appraisal::{Accepted, appraise};
use crate::attestation::challenge::{ExpiredChallenge, Target, VerifiedChallenge};
use crate::attestation::evidence::Evidence;
use crate::attestation::level::LevelPolicy;
use crate::attestation::proof::VerifiedEvidence;
use crate::audit::{AuditEvent, Fact};
use crate::authz::{Action, Caller, Permit, Phone, Resource};
use crate::clock::UnixTime;
use crate::enrolment::package::{InitialKeyAlgorithm, InitialKeyUsage, Personalization, WrappedInitialKey};
use crate::enrolment::request::EnrolmentRequest;
use crate::enrolment::state::{ActivationState, DeviceState};
use crate::enrolment::transcript::{MacVerified, Transcript, recognise};
use crate::id::DeviceId;
use crate::pki::request::ProvenRequest;
use crate::store::{self, SealedSecret, StoreError};

/// Enrols a phone and answers with its personalization package.
#[tracing::instrument(skip_all)]
pub async fn enrol(app: &App, context: &Context, body: &[u8]) -> Result<String, OpError> {
    let request = EnrolmentRequest::parse(body)?;
    let (activation, permit) = check_code(app, context, &request).await?;
    if activation.state == ActivationState::Used {
        return answer_again(app, context, permit, &activation, &request).await;
    }
    let now = app.clock.now();
    if now >= activation.expires {
        return Err(refuse(app, context, permit, Reason::ActivationExpired).await);
    }
    let permit = demand(app, context, permit, &works_with(&activation)).await?;
    // Given out by an earlier process: the challenge endpoint gives the activation another one.
    if !app.derivation_ids.is_of_this_run(&activation.acquirer, activation.derivation_id).await {
        return Err(refuse(app, context, permit, Reason::ChallengeInvalid).await);
    }
    let parsed = match Parsed::parse(app, &activation, &request, now) {
        Ok(parsed) => parsed,
        Err(refusal) => return Err(refuse(app, context, permit, refusal).await),
    };

    // The HSM: unwraps the second secret, derives its MAC key, verifies the phone's CMAC, answers with the key block.
    let opened = app
        .hsm
        .open_enrolment(OpenEnrolment {
            transport: parsed.transport,
            wrapped_secret: request.wrapped_secret,
            ikid: Ikid(activation.ikid),
            transcript: *parsed.transcript.digest(),
            mac: request.mac,
        })
        .await;
    let secret = match opened {
        Ok(secret) => secret,
        Err(HsmError::Refused(HsmRefusal::MacMismatch)) => return Err(refuse(app, context, permit, Reason::EvidenceMacMismatch).await),
        Err(HsmError::Refused(HsmRefusal::UnwrapFailed)) => {
            return Err(refuse(app, context, permit, Reason::TransportUnwrapFailed).await);
        }
        Err(error) => return Err(error.into()),
    };
    let Parsed { evidence, transcript, proven, .. } = parsed;
    let mac = MacVerified::by_hsm(transcript);
    let verified = VerifiedEvidence::at_enrolment(evidence, &mac).map_err(|error| OpError::internal("matching the evidence", error))?;
    let terminal = app.store.read().await?.find_terminal(&activation.terminal).await?;
    let terminal = terminal.ok_or_else(|| OpError::internal("loading the terminal of an activation", "the foreign key has no row"))?;
    let level = level_of(app, &terminal.level)?;
    // The level was changed since the challenge: the phone fetches a new one.
    let Ok(appraisal) = appraise(verified, level, now) else { return Err(refuse(app, context, permit, Reason::ChallengeInvalid).await) };
    if let Err(refused) = Accepted::at_enrolment(appraisal) {
        let checks = refused.0.iter().map(|finding| finding.reason).collect::<Vec<_>>().join(", ");
        return Err(refuse(app, context, permit, Reason::EvidenceContraindicated.with(checks)).await);
    }
    let vouched = proven.at_enrolment(&mac).map_err(|error| OpError::internal("matching the certificate request", error))?;

    let device = DeviceId::from_random(
        app.hsm.random(16).await?.try_into().map_err(|_| OpError::internal("drawing a device id", "the HSM gave another length"))?,
    );
    let spki = spki_der(vouched.key())?;
    let certificate = issue_merchant_certificate(app, &terminal.merchant, &terminal.id, &device, vouched).await?;
    let keys = app.hsm.personalize(&secret, Ikid(activation.ikid), activation.acquirer.as_str()).await?;
    let package = package(app, &activation, &terminal, &device, mac.transcript(), &certificate, &keys, now).await?;

    let row = store::Device {
        id: device.clone(),
        terminal: terminal.id.clone(),
        merchant: terminal.merchant.clone(),
        acquirer: activation.acquirer.clone(),
        level: terminal.level.clone(),
        state: DeviceState::Active,
        state_reason: None,
        ikid: activation.ikid,
        derivation_id: activation.derivation_id,
        secret: SealedSecret(secret.to_bytes()),
        spki,
        transcript: *mac.transcript().digest(),
        enrolled: now,
        retired: None,
    };
    match commit(app, context, permit, &activation, &row, &package, &certificate).await? {
        Committed::Enrolled => Ok(package),
        Committed::Lost(permit) => lost(app, context, permit, &activation, mac.transcript().digest()).await,
    }
}

/// The keys without which nobody is enrolled.
fn works_with(activation: &store::Activation) -> [DesignKey<'_>; 8] {
    [
        DesignKey::ActivationMac,
        DesignKey::EnrollmentTransport,
        DesignKey::StorageKek,
        DesignKey::AttestationSigning,
        DesignKey::PersonalizationSigning,
        DesignKey::IssuingCa,
        DesignKey::BdkPin(&activation.acquirer),
        DesignKey::BdkData(&activation.acquirer),
    ]
}

/// The first secret: unknown, locked and revoked codes end here, a wrong secret is counted. What goes on has the right code.
async fn check_code(app: &App, context: &Context, request: &EnrolmentRequest) -> Result<(store::Activation, Permit), OpError> {
    let id = request.code.id();
    let caller = Caller::Phone(Phone::Activation(id.clone()));
    let Some(activation) = app.store.read().await?.find_activation(id).await? else {
        let resource = Resource::activation(id, None);
        return Err(turn_away(app, context, &caller, Action::Enrol, &resource, Reason::ActivationUnknown).await);
    };
    let permit = authorize(app, context, &caller, Action::Enrol, &Resource::activation(id, &activation.acquirer)).await?;
    match activation.state {
        ActivationState::Locked => return Err(refuse(app, context, permit, Reason::ActivationLocked).await),
        ActivationState::Revoked => return Err(refuse(app, context, permit, Reason::ActivationRevoked).await),
        ActivationState::Open | ActivationState::Used => {}
    }
    let mac = app.hsm.activation_mac(&request.code.expose_mac_message()).await?;
    if bool::from(mac.ct_eq(&activation.mac)) {
        return Ok((activation, permit));
    }
    let mut tx = app.store.begin().await?;
    tx.count_wrong_try(id).await?;
    tx.commit(AuditEvent::refused(permit, &context.occasion(app), Reason::ActivationCodeWrong.code())).await?;
    Err(Reason::ActivationCodeWrong.into())
}

/// The request, with everything verified that needs no HSM.
struct Parsed {
    evidence: Evidence,
    transcript: Transcript,
    proven: ProvenRequest,
    transport: TransportKind,
}

impl Parsed {
    fn parse(app: &App, activation: &store::Activation, request: &EnrolmentRequest, now: UnixTime) -> Result<Self, Refusal> {
        let settings = &app.settings;
        let target = Target::Enrol(&activation.id);
        let key = settings.authorities.attestation_key();
        let challenge = VerifiedChallenge::verify(request.challenge.clone(), key, &settings.issuer, target, now)?;
        if challenge.ikid() != &activation.ikid {
            return Err(Reason::ChallengeInvalid.into());
        }
        let Some(algorithm) = settings.transport.algorithm_of(&request.transport_kid) else {
            return Err(Reason::TransportKeyUnknown.into());
        };
        let proven = ProvenRequest::prove(&request.csr).map_err(|error| Reason::RequestProofInvalid.with(error.to_string()))?;
        let evidence = Evidence::parse(&request.evidence, &challenge)?;
        let transcript = Transcript::enrolment(request, &challenge, &evidence);
        Ok(Self { evidence, transcript, proven, transport: transport_kind(algorithm) })
    }
}

/// A used code: the same request gets the same package, any other is refused.
async fn answer_again(
    app: &App,
    context: &Context,
    permit: Permit,
    activation: &store::Activation,
    request: &EnrolmentRequest,
) -> Result<String, OpError> {
    let Some(used) = &activation.used else { return Err(OpError::internal("answering a used activation again", "it has no device")) };
    // The challenge was good when the phone enrolled; its expiry since then does not make the request another one.
    let settings = &app.settings;
    let key = settings.authorities.attestation_key();
    let transcript = ExpiredChallenge::verify(request.challenge.clone(), key, &settings.issuer, &activation.id, app.clock.now())
        .ok()
        .and_then(|challenge| recognise(request, &challenge).ok());
    match transcript {
        Some(transcript) if bool::from(transcript.ct_eq(&used.transcript)) => kept_package(app, &used.device).await,
        _ => Err(refuse(app, context, permit, Reason::ActivationUsed).await),
    }
}

/// The package as it was answered the first time.
async fn kept_package(app: &App, device: &DeviceId) -> Result<String, OpError> {
    let package = app.store.read().await?.find_package(device).await?;
    package.ok_or_else(|| OpError::internal("reading a package", "the foreign key has no row"))
}

#[expect(clippy::too_many_arguments, reason = "a package holds this much")]
async fn package(
    app: &App,
    activation: &store::Activation,
    terminal: &store::Terminal,
    device: &DeviceId,
    transcript: &Transcript,
    certificate: &Issued,
    keys: &[tillward_hsm::WrappedInitialKey],
    now: UnixTime,
) -> Result<String, OpError> {
    let settings = &app.settings;
    let level = level_of(app, &terminal.level)?;
    let wrapped = |purpose: KeyPurpose, usage: InitialKeyUsage| {
        keys.iter().find(|key| key.usage == purpose).map(|key| WrappedInitialKey {
            usage,
            ikid: key.ikid.0,
            algorithm: if key.algorithm.bits() == 128 { InitialKeyAlgorithm::Aes128 } else { InitialKeyAlgorithm::Aes256 },
            wrapped: key.wrapped.clone(),
            kcv: key.kcv,
        })
    };
    let (Some(pin), Some(data)) = (wrapped(KeyPurpose::Pin, InitialKeyUsage::Pin), wrapped(KeyPurpose::Data, InitialKeyUsage::Data)) else {
        return Err(OpError::internal("personalizing", "the HSM gave other keys than a PIN key and a data key"));
    };
    let unsigned = Personalization {
        issuer: &settings.issuer,
        now,
        device,
        transcript,
        activation: &activation.id,
        merchant: &terminal.merchant,
        terminal: &terminal.id,
        configuration: &terminal.configuration,
        certificate_chain: [certificate.der(), settings.authorities.issuing_der()],
        initial_keys: [&pin, &data],
        level,
    }
    .unsigned(settings.authorities.personalization_kid())
    .map_err(|error| OpError::internal("making a package", error))?;
    sign(app, SigningKey::Personalization, unsigned).await
}

enum Committed {
    Enrolled,
    Lost(Permit),
}

/// One transaction: the code is used up, device and certificate are there. Either all of it, or another request was first.
async fn commit(
    app: &App,
    context: &Context,
    permit: Permit,
    activation: &store::Activation,
    device: &store::Device,
    package: &str,
    certificate: &Issued,
) -> Result<Committed, OpError> {
    let mut tx = app.store.begin().await?;
    match tx.insert_device(device, package).await {
        Ok(()) => {}
        Err(StoreError::Conflict(_)) => return Ok(Committed::Lost(permit)),
        Err(error) => return Err(error.into()),
    }
    if !tx.use_activation(&activation.id, &device.transcript, &device.id, device.enrolled).await? {
        return Ok(Committed::Lost(permit));
    }
    tx.insert_certificate(&certificate.row(&device.id)).await?;
    let event = AuditEvent::effect(permit, &context.occasion(app))
        .with("device", &device.id)
        .with("terminal", &device.terminal)
        .with("ikid", Fact::hex(&device.ikid))
        .with("certificate", Fact::hex(certificate.serial()));
    tx.commit(event).await?;
    app.anchor.note(&device.acquirer);
    Ok(Committed::Enrolled)
}

/// Another request was first: with the same transcript it was the same phone asking twice, and it gets the package.
async fn lost(
    app: &App,
    context: &Context,
    permit: Permit,
    activation: &store::Activation,
    transcript: &[u8; 32],
) -> Result<String, OpError> {
    let current = app.store.read().await?.find_activation(&activation.id).await?;
    let Some(current) = current else { return Err(OpError::internal("looking at a lost activation", "it is gone")) };
    if let Some(used) = &current.used
        && bool::from(used.transcript.ct_eq(transcript))
    {
        return kept_package(app, &used.device).await;
    }
    let reason = match current.state {
        ActivationState::Used => Reason::ActivationUsed,
        ActivationState::Locked => Reason::ActivationLocked,
        ActivationState::Revoked => Reason::ActivationRevoked,
        ActivationState::Open if app.store.read().await?.find_live_device_of_terminal(&current.terminal).await?.is_some() => {
            Reason::TerminalOccupied
        }
        ActivationState::Open => Reason::KeyAlreadyEnrolled,
    };
    Err(refuse(app, context, permit, reason).await)
}

/// The policy of a level that a terminal or a device has. One that was removed from the policy file stops what it is on.
pub(super) fn level_of<'a>(app: &'a App, name: &str) -> Result<&'a LevelPolicy, OpError> {
    let name = name.parse().map_err(|error| OpError::internal("reading a level", error))?;
    app.settings.policy.level(&name).ok_or_else(|| Reason::LevelUnknown.into())
}

fn spki_der(key: &VerifyingKey) -> Result<Vec<u8>, OpError> {
    Ok(key.to_public_key_der().map_err(|error| OpError::internal("encoding a public key", error))?.into_vec())
}

/// The enrolled public key of a device.
pub(super) fn enrolled_key(device: &store::Device) -> Result<VerifyingKey, OpError> {
    VerifyingKey::from_public_key_der(&device.spki).map_err(|error| OpError::internal("reading an enrolled public key", error))
}
