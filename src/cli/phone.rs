//! The simulated phone's way through the protocol: what `tillward device`, the demo and the load of the benchmark share.

use std::path::Path;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tillward_device::code::ActivationCode;
use tillward_device::enrolment::{Enrolment, PendingEnrolment};
use tillward_device::evidence::Findings;
use tillward_device::http::{HttpError, Transport};
use tillward_device::message::Purpose;
use tillward_device::phone::Phone;
use tillward_device::result::{ResultClaims, Status};
use tillward_device::trust::{RootPin, Trust};

use super::failure::Advice;
use crate::clock::Clock;

/// The application build that the simulated phone says it is; the example policy allows it.
pub const SIMULATED_BUILD: &str = "tillward simulated phone, build 1";

/// A phone that nothing is wrong with.
pub fn sound_findings() -> Findings {
    Findings {
        app_digest: Sha256::digest(SIMULATED_BUILD).into(),
        os_version: 15,
        patch_level: "2026-10".to_owned(),
        debugger: false,
        root: false,
        emulator: false,
    }
}

/// The device listener with the root pin: what a phone's application is shipped with.
#[derive(Debug, Clone)]
pub struct Line {
    /// The transport.
    pub transport: Transport,
    /// SHA-256 of the root certificate.
    pub pin: RootPin,
}

impl Line {
    /// A line to a device listener; `ca` is the authority of its TLS certificate.
    ///
    /// # Errors
    /// `ca` is missing or is not PEM, or `url` is not one.
    pub fn open(url: &str, ca: &Path, pin: RootPin) -> anyhow::Result<Self> {
        let pem = std::fs::read(ca).with_context(|| {
            Advice::new(format!("cannot read {}", ca.display()), "name the authority of the device listener's certificate, PEM.")
        })?;
        let client = reqwest::Client::builder()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?)
            .timeout(std::time::Duration::from_secs(30))
            .build()?;
        Ok(Self { transport: Transport::new(client, url)?, pin })
    }

    /// The trust bundle, verified from the pin.
    ///
    /// # Errors
    /// No answer, or a bundle that does not verify.
    pub async fn trust(&self) -> anyhow::Result<Trust> {
        Ok(Trust::verify(&self.transport.trust().await?, &self.pin, now())?)
    }

    /// Parameters and challenge, and the phone's answer to them: everything of an enrolment but the sending.
    ///
    /// # Errors
    /// Not a code, no answer, a refusal, or parameters or a challenge that do not verify.
    pub async fn prepare(&self, trust: &Trust, code: &str, findings: &Findings) -> anyhow::Result<PendingEnrolment> {
        let enrolment = Enrolment::new(ActivationCode::parse(code)?);
        let parameters = self.transport.parameters().await?;
        let challenge = self.transport.enrolment_challenge(&enrolment.challenge_request()).await?;
        Ok(enrolment.respond(trust, &parameters, &challenge, findings, now())?)
    }

    /// A whole enrolment.
    ///
    /// # Errors
    /// As [`Self::prepare`]; and a package that is not this phone's.
    pub async fn enrol(&self, trust: &Trust, code: &str, findings: &Findings) -> anyhow::Result<Phone> {
        let pending = self.prepare(trust, code, findings).await?;
        let package = self.transport.enrol(&pending).await?;
        pending.complete(trust, &package, now()).map_err(|(_, error)| error.into())
    }

    /// A whole attestation round.
    ///
    /// # Errors
    /// No answer, a refusal, or a challenge or a result that does not verify.
    pub async fn attest(&self, trust: &Trust, phone: &mut Phone, findings: &Findings) -> anyhow::Result<ResultClaims> {
        let challenge = self.transport.device_challenge(phone.device(), Purpose::Attest).await?;
        let attestation = phone.attest(trust, &challenge, findings, now())?;
        let answer = self.transport.attest(phone.device(), &attestation.request).await?;
        Ok(phone.take_result(trust, &attestation, &answer, now())?)
    }

    /// A whole certificate renewal.
    ///
    /// # Errors
    /// No answer, a refusal, or a certificate that is not this phone's.
    pub async fn renew(&self, trust: &Trust, phone: &mut Phone) -> anyhow::Result<()> {
        let challenge = self.transport.device_challenge(phone.device(), Purpose::Renew).await?;
        let request = phone.renew(trust, &challenge, now())?;
        let answer = self.transport.renew(phone.device(), &request).await?;
        phone.take_certificate(trust, answer, now())?;
        Ok(())
    }
}

/// Seconds since 1970, as the phone's core wants it.
pub fn now() -> i64 {
    Clock::system().now().0
}

/// The one status of an attestation result.
pub fn status(result: &ResultClaims) -> &'static str {
    let worst = result.submods.values().map(|appraisal| appraisal.status).max_by_key(|status| match status {
        Status::None => 0,
        Status::Affirming => 1,
        Status::Warning => 2,
        Status::Contraindicated => 3,
    });
    match worst {
        Some(Status::Affirming) => "affirming",
        Some(Status::Warning) => "warning",
        Some(Status::Contraindicated) => "contraindicated",
        Some(Status::None) | None => "none",
    }
}

/// The reason code of a refusal; anything else is an error of the line.
///
/// # Errors
/// It was not refused, or there was no answer.
pub fn refusal<T>(outcome: Result<T, HttpError>) -> anyhow::Result<String> {
    match outcome {
        Ok(_) => bail!("this should have been refused"),
        Err(error) => error.refusal().map(|refusal| refusal.reason.clone()).ok_or_else(|| error.into()),
    }
}
