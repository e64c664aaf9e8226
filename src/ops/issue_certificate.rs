//! Issues a merchant certificate: profile, lint, one signature in the HSM, verified before anybody gets it.

use const_oid::ObjectIdentifier;
use tillward_hsm::SigningKey;

use super::error::OpError;
use crate::app::App;
use crate::id::{DeviceId, MerchantId, TerminalId};
use crate::pki::certificate::{Certificate, Validity};
use crate::pki::names::{CrlUrl, DeviceUri};
use crate::pki::profile::Profile;
use crate::pki::request::VouchedRequest;
use crate::pki::serial::Serial;
use crate::pki::tbs::LintedTbs;
use crate::store;

/// A certificate that was issued and is not recorded yet.
pub(super) struct Issued {
    certificate: Certificate,
    serial: Serial,
}

impl Issued {
    /// DER.
    pub(super) fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// Its serial number.
    pub(super) fn serial(&self) -> &[u8; 16] {
        self.serial.as_bytes()
    }

    /// Its row.
    pub(super) fn row(&self, device: &DeviceId) -> store::Certificate {
        let validity = self.certificate.validity();
        store::Certificate {
            serial: self.serial.as_bytes().to_vec(),
            device: device.clone(),
            der: self.certificate.der().to_vec(),
            not_before: validity.from,
            not_after: validity.to,
            revoked: None,
        }
    }
}

/// Issues a certificate for the key that a phone has proven. A failed try is never asked for again with the same serial number.
pub(super) async fn issue_merchant_certificate(
    app: &App,
    merchant: &MerchantId,
    terminal: &TerminalId,
    device: &DeviceId,
    request: VouchedRequest,
) -> Result<Issued, OpError> {
    let settings = &app.settings;
    let uri = DeviceUri { merchant: merchant.clone(), terminal: terminal.clone(), device: device.clone() };
    let purpose =
        ObjectIdentifier::new(&settings.pki.merchant_key_usage).map_err(|error| OpError::internal("reading merchant_key_usage", error))?;
    let crl: Option<CrlUrl> =
        settings.pki.crl_url.as_deref().map(str::parse).transpose().map_err(|error| OpError::internal("reading crl_url", error))?;
    let profile = Profile::merchant(&uri, purpose, crl);
    let random: [u8; 16] =
        app.hsm.random(16).await?.try_into().map_err(|_| OpError::internal("drawing a serial number", "the HSM gave another length"))?;
    let serial = Serial::from_random(random);
    let now = app.clock.now();
    let issuing_ends = settings.authorities.issuing().validity().to;
    // Both ends belong to the validity (RFC 5280 §4.1.2.5), and it lies within that of its issuer.
    let to = now.plus(i64::from(settings.pki.merchant_hours) * 3600 - 1).min(issuing_ends);
    let tbs = LintedTbs::merchant(&profile, settings.authorities.issuer(), request, serial, Validity { from: now, to })
        .map_err(|error| OpError::internal("linting a merchant certificate", error))?;
    let signature = app.hsm.sign(SigningKey::IssuingCa, tbs.digest().as_ref()).await?;
    let certificate = tbs.attach(&signature).map_err(|error| OpError::internal("verifying a fresh certificate", error))?;
    Ok(Issued { certificate, serial })
}
