//! What the root pin makes of a trust bundle (docs/protocol.md §2).

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXUPPER_PERMISSIVE};
use p256::ecdsa::VerifyingKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_cert::der::asn1::ObjectIdentifier;

use crate::certificate::{Certificate, CertificateError, IssuerKey};
use crate::crl::{Crl, CrlError};
use crate::encoding::Base64Url;
use crate::id::DeviceIdentity;
use crate::json::{self, JsonError, TRUST_LIMIT};
use crate::jws::{JwsError, Typ, Unverified, thumbprint};

/// SHA-256 of the root certificate's DER: the one thing that the maker puts on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootPin(pub [u8; 32]);

/// Not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a root pin has 64 hexadecimal digits")]
pub struct NotAPin;

impl FromStr for RootPin {
    type Err = NotAPin;
    fn from_str(text: &str) -> Result<Self, NotAPin> {
        let bytes = HEXUPPER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| NotAPin)?;
        bytes.try_into().map(Self).map_err(|_| NotAPin)
    }
}

impl fmt::Display for RootPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The trust bundle as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustBundle {
    /// The service's name, `iss` of what it signs.
    pub issuer: String,
    /// Root certificate.
    pub root: Base64Url,
    /// Issuing CAs.
    pub issuing: Vec<Base64Url>,
    /// Certificates of the service's signing keys.
    pub signing: Vec<Base64Url>,
    /// Revocation list.
    pub crl: Base64Url,
}

/// Why a trust bundle is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not the expected JSON.
    #[error("the trust bundle")]
    Json(#[from] JsonError),
    /// Another root than the maker's.
    #[error("the root certificate is not the pinned one")]
    Pin,
    /// The root certificate.
    #[error("the root certificate")]
    Root(#[source] CertificateError),
    /// A certificate of an issuing CA.
    #[error("certificate {0} of the issuing CAs")]
    Issuing(usize, #[source] CertificateError),
    /// A certificate of a signing key.
    #[error("certificate {0} of the signing keys")]
    Signing(usize, #[source] CertificateError),
    /// The revocation list.
    #[error("the revocation list")]
    Crl(#[from] CrlError),
}

/// Why a JWS of the service is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The JWS itself.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// No certificate of the bundle has the key.
    #[error("the signing key is not in the trust bundle")]
    UnknownKey,
    /// The key may sign other things.
    #[error("the signing key may not sign a {}", .0.as_str())]
    WrongService(Typ),
    /// The key's certificate is not valid now.
    #[error("the signing key's certificate")]
    Certificate(#[from] CertificateError),
}

/// Why a merchant certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MerchantCertificateError {
    /// The certificate itself.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No issuing CA of the bundle has signed it.
    #[error("the merchant certificate is not from an issuing CA of the trust bundle")]
    UnknownIssuer,
    /// The bundle's revocation list is another CA's, or not current: nothing is known about the certificate.
    #[error("no current revocation list says anything about the merchant certificate")]
    NoRevocationList,
    /// It is on the revocation list.
    #[error("the merchant certificate is revoked")]
    Revoked,
}

#[derive(Debug)]
struct IssuingCa {
    certificate: Certificate,
    key: VerifyingKey,
}

#[derive(Debug)]
struct SigningKey {
    certificate: Certificate,
    key: VerifyingKey,
    kid: String,
    service: Service,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Attestation,
    Personalization,
}

impl Service {
    fn parse(uri: &str) -> Option<Self> {
        match uri {
            "urn:tillward:service:attestation-signing" => Some(Self::Attestation),
            "urn:tillward:service:personalization-signing" => Some(Self::Personalization),
            _ => None,
        }
    }

    fn may_sign(self, typ: Typ) -> bool {
        match self {
            Self::Attestation => matches!(typ, Typ::Parameters | Typ::Challenge | Typ::Result),
            Self::Personalization => matches!(typ, Typ::Package),
        }
    }
}

/// A trust bundle whose every signature was verified from the root pin. What depends on the time is looked at again at
/// every use, because a bundle is kept.
#[derive(Debug)]
pub struct Trust {
    issuer: String,
    issuing: Vec<IssuingCa>,
    signing: Vec<SigningKey>,
    crl: Crl,
    crl_issuer: usize,
}

/// A merchant certificate that an issuing CA of the bundle has signed, valid at the time of asking.
#[derive(Debug, Clone)]
pub struct MerchantCertificate {
    certificate: Certificate,
    key: VerifyingKey,
    identity: DeviceIdentity,
    purpose: ObjectIdentifier,
    issuer: usize,
}

impl MerchantCertificate {
    /// Whose certificate it is.
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// Its one extended key usage.
    pub fn purpose(&self) -> ObjectIdentifier {
        self.purpose
    }

    /// Its key.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Its encoding.
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }
}

impl Trust {
    /// Verifies a bundle from the pin down.
    ///
    /// # Errors
    /// [`TrustError`] names the part that does not hold.
    pub fn verify(bundle: &[u8], pin: &RootPin, now: i64) -> Result<Self, TrustError> {
        let bundle: TrustBundle = json::parse(bundle, TRUST_LIMIT)?;
        if Sha256::digest(&bundle.root.0).as_slice() != pin.0 {
            return Err(TrustError::Pin);
        }
        let (root, root_key) = read_root(&bundle.root.0, now).map_err(TrustError::Root)?;
        let issued = |der: &[u8]| {
            let certificate = Certificate::parse(der)?;
            certificate.check_issued_by(root.subject(), IssuerKey::P384(&root_key))?;
            certificate.check_time(now)?;
            Ok(certificate)
        };
        let issuing =
            numbered(&bundle.issuing, |der| read_issuing(issued(der)?)).map_err(|(place, error)| TrustError::Issuing(place, error))?;
        let signing =
            numbered(&bundle.signing, |der| read_signing(issued(der)?)).map_err(|(place, error)| TrustError::Signing(place, error))?;
        let crl = Crl::parse(&bundle.crl.0)?;
        let crl_issuer = issuing
            .iter()
            .position(|ca| crl.is_signed_by(ca.certificate.subject(), IssuerKey::P256(&ca.key)))
            .ok_or(CrlError::Signature)?;
        crl.check_current(now)?;
        Ok(Self { issuer: bundle.issuer, issuing, signing, crl, crl_issuer })
    }

    /// The service's name. A JWS of the service has it as `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The claims of a JWS that the service signed.
    ///
    /// # Errors
    /// [`StatementError`] if it is not signed by a key of the bundle that may sign a `typ`, valid now.
    pub fn statement<T: DeserializeOwned>(&self, jws: &str, typ: Typ, now: i64) -> Result<T, StatementError> {
        let jws = Unverified::parse(jws)?;
        let kid = jws.kid(typ)?;
        let signer = self.signing.iter().find(|key| key.kid == kid).ok_or(StatementError::UnknownKey)?;
        if !signer.service.may_sign(typ) {
            return Err(StatementError::WrongService(typ));
        }
        signer.certificate.check_time(now)?;
        Ok(jws.claims(&signer.key)?)
    }

    /// A merchant certificate under an issuing CA of the bundle, valid now. Revocation is [`Self::check_revocation`].
    ///
    /// # Errors
    /// [`MerchantCertificateError`].
    pub fn merchant(&self, der: &[u8], now: i64) -> Result<MerchantCertificate, MerchantCertificateError> {
        let certificate = Certificate::parse(der)?;
        let signed_by = |ca: &IssuingCa| certificate.check_issued_by(ca.certificate.subject(), IssuerKey::P256(&ca.key)).is_ok();
        let issuer = self.issuing.iter().position(signed_by).ok_or(MerchantCertificateError::UnknownIssuer)?;
        self.issuing.get(issuer).map_or(Ok(()), |ca| ca.certificate.check_time(now))?;
        certificate.check_time(now)?;
        certificate.check_is_end_entity()?;
        let identity = DeviceIdentity::parse(&certificate.uri()?).ok_or(CertificateError::Extension("subjectAltName"))?;
        let named = certificate.subject().common_name().ok().flatten().is_some_and(|name| name.value() == identity.terminal.as_str());
        if !named {
            return Err(CertificateError::Subject.into());
        }
        Ok(MerchantCertificate { key: certificate.p256_key()?, purpose: certificate.purpose()?, identity, issuer, certificate })
    }

    /// The certificate's own CA says in a current list that it is not revoked.
    ///
    /// # Errors
    /// [`MerchantCertificateError::Revoked`], or [`MerchantCertificateError::NoRevocationList`] if there is no such list.
    pub fn check_revocation(&self, certificate: &MerchantCertificate, now: i64) -> Result<(), MerchantCertificateError> {
        if certificate.issuer != self.crl_issuer || self.crl.check_current(now).is_err() {
            return Err(MerchantCertificateError::NoRevocationList);
        }
        if self.crl.is_revoked(certificate.certificate.serial()) { Err(MerchantCertificateError::Revoked) } else { Ok(()) }
    }

    /// `der` is the certificate of the CA that issued `certificate`.
    pub fn is_issuer(&self, der: &[u8], certificate: &MerchantCertificate) -> bool {
        self.issuing.get(certificate.issuer).is_some_and(|ca| ca.certificate.der() == der)
    }
}

fn read_root(der: &[u8], now: i64) -> Result<(Certificate, p384::ecdsa::VerifyingKey), CertificateError> {
    let root = Certificate::parse(der)?;
    let key = root.p384_key()?;
    root.check_issued_by(root.subject(), IssuerKey::P384(&key))?;
    root.check_time(now)?;
    root.check_is_ca(None)?;
    Ok((root, key))
}

fn read_issuing(certificate: Certificate) -> Result<IssuingCa, CertificateError> {
    certificate.check_is_ca(Some(0))?;
    Ok(IssuingCa { key: certificate.p256_key()?, certificate })
}

fn read_signing(certificate: Certificate) -> Result<SigningKey, CertificateError> {
    certificate.check_is_end_entity()?;
    let service = Service::parse(&certificate.uri()?).ok_or(CertificateError::Extension("subjectAltName"))?;
    let key = certificate.p256_key()?;
    Ok(SigningKey { kid: thumbprint(&key), key, service, certificate })
}

fn numbered<T>(list: &[Base64Url], read: impl Fn(&[u8]) -> Result<T, CertificateError>) -> Result<Vec<T>, (usize, CertificateError)> {
    list.iter().enumerate().map(|(place, der)| read(&der.0).map_err(|error| (place, error))).collect()
}
