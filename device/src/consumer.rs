//! The consumer's device: offline verification of a payment request (docs/protocol.md §8).

use data_encoding::BASE64;
use x509_cert::der::asn1::ObjectIdentifier;

use crate::certificate::{CertificateError, DOCUMENT_SIGNING};
use crate::encoding::Base64Url;
use crate::id::DeviceIdentity;
use crate::jws::{JwsError, Typ, Unverified};
use crate::payment_request::{Amount, Currency, PaymentRequestClaims};
use crate::result::{PROFILE, ResultClaims};
use crate::trust::{MerchantCertificate, MerchantCertificateError, StatementError, Trust};

/// What the consumer's device accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptance {
    /// The extended key usage of merchant certificates.
    pub purpose: ObjectIdentifier,
    /// Seconds that a request's time may lie before or after the device's own.
    pub skew: i64,
}

impl Default for Acceptance {
    fn default() -> Self {
        Self { purpose: DOCUMENT_SIGNING, skew: 120 }
    }
}

/// Why a payment request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// Not a payment request at all.
    #[error("not a payment request")]
    Malformed(#[source] JwsError),
    /// `x5c` is not two certificates in standard base64.
    #[error("the certificate chain of the payment request is not a leaf and its issuing CA")]
    Chain,
    /// No issuing CA of the bundle has signed the certificate, or it is not a merchant's.
    #[error("the merchant certificate is not to be trusted")]
    NotTrusted(#[source] MerchantCertificateError),
    /// The merchant certificate is not valid yet, or no longer.
    #[error("the merchant certificate is not valid now")]
    Expired(#[source] CertificateError),
    /// The certificate is for another purpose.
    #[error("the merchant certificate is for another purpose")]
    WrongPurpose,
    /// The phone was retired, or its certificate replaced after a loss.
    #[error("the merchant certificate is revoked")]
    Revoked,
    /// The bundle's revocation list says nothing about the certificate: fetch the bundle again.
    #[error("it is not known whether the merchant certificate is revoked")]
    RevocationUnknown,
    /// The certificate's key did not sign the request.
    #[error("the payment request is not signed by the merchant's key")]
    WrongSignature,
    /// Merchant, terminal or device are not the certificate's.
    #[error("the payment request names another merchant, terminal or device than its certificate")]
    WrongDevice,
    /// Made too long ago, or too far in the future.
    #[error("the payment request is not from now")]
    Stale,
    /// The attestation result is not the service's.
    #[error("the attestation result is not to be trusted")]
    AttestationNotTrusted(#[source] StatementError),
    /// The attestation result is of another issuer or profile.
    #[error("the attestation result is from another service or of another kind")]
    AttestationForeign,
    /// The attestation result is another device's.
    #[error("the attestation result is another device's")]
    AttestationOfOtherDevice,
    /// The attestation result is over.
    #[error("the attestation result has expired")]
    AttestationExpired,
    /// The attestation result is from the future.
    #[error("the attestation result is from the future")]
    AttestationFromFuture,
    /// The phone is not affirmed in every part.
    #[error("the phone was not found in order")]
    NotAffirming,
}

/// A payment request that comes from an enrolled, recently attested merchant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedRequest {
    /// Who asks.
    pub identity: DeviceIdentity,
    /// What is to be paid.
    pub amount: Amount,
    /// In which currency.
    pub currency: Currency,
    /// The request's nonce.
    pub nonce: [u8; 16],
    /// When the request was made.
    pub issued: i64,
    /// When the phone was attested.
    pub attested: i64,
}

/// Verifies a payment request against a trust bundle.
///
/// # Errors
/// [`NotAccepted`] gives the one reason.
pub fn verify(request: &str, trust: &Trust, acceptance: &Acceptance, now: i64) -> Result<VerifiedRequest, NotAccepted> {
    let jws = Unverified::parse(request).map_err(NotAccepted::Malformed)?;
    let chain = jws.chain(Typ::PaymentRequest).map_err(NotAccepted::Malformed)?;
    let certificate = verify_chain(&chain, trust, acceptance, now)?;
    let claims: PaymentRequestClaims = jws.claims(certificate.key()).map_err(|error| match error {
        JwsError::Signature => NotAccepted::WrongSignature,
        other => NotAccepted::Malformed(other),
    })?;
    let nonce = claims.nonce.array().ok_or(NotAccepted::Malformed(JwsError::Shape))?;
    let identity = DeviceIdentity { merchant: claims.merchant, terminal: claims.terminal, device: claims.device };
    if identity != *certificate.identity() {
        return Err(NotAccepted::WrongDevice);
    }
    if now.abs_diff(claims.iat) > acceptance.skew.unsigned_abs() {
        return Err(NotAccepted::Stale);
    }
    let result = verify_result(&claims.attestation, trust, &identity, acceptance, now)?;
    Ok(VerifiedRequest { identity, amount: claims.amount, currency: claims.currency, nonce, issued: claims.iat, attested: result.iat })
}

/// Only the leaf of `x5c` is used: what it is signed with comes from the bundle.
fn verify_chain(chain: &[String], trust: &Trust, acceptance: &Acceptance, now: i64) -> Result<MerchantCertificate, NotAccepted> {
    let [leaf, _issuing] = chain else { return Err(NotAccepted::Chain) };
    let leaf = BASE64.decode(leaf.as_bytes()).map(Base64Url).map_err(|_| NotAccepted::Chain)?;
    let certificate = trust.merchant(&leaf.0, now).map_err(|error| match error {
        MerchantCertificateError::Certificate(time @ (CertificateError::Expired | CertificateError::NotYetValid)) => {
            NotAccepted::Expired(time)
        }
        other => NotAccepted::NotTrusted(other),
    })?;
    if certificate.purpose() != acceptance.purpose {
        return Err(NotAccepted::WrongPurpose);
    }
    match trust.check_revocation(&certificate, now) {
        Ok(()) => Ok(certificate),
        Err(MerchantCertificateError::Revoked) => Err(NotAccepted::Revoked),
        Err(_) => Err(NotAccepted::RevocationUnknown),
    }
}

fn verify_result(
    result: &str,
    trust: &Trust,
    identity: &DeviceIdentity,
    acceptance: &Acceptance,
    now: i64,
) -> Result<ResultClaims, NotAccepted> {
    let result: ResultClaims = trust.statement(result, Typ::Result, now).map_err(NotAccepted::AttestationNotTrusted)?;
    if result.iss != trust.issuer() || result.eat_profile != PROFILE {
        return Err(NotAccepted::AttestationForeign);
    }
    if result.sub != identity.device {
        return Err(NotAccepted::AttestationOfOtherDevice);
    }
    if result.iat > now.saturating_add(acceptance.skew) {
        return Err(NotAccepted::AttestationFromFuture);
    }
    if now >= result.exp {
        return Err(NotAccepted::AttestationExpired);
    }
    if result.is_affirming() { Ok(result) } else { Err(NotAccepted::NotAffirming) }
}
