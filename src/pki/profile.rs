//! The four profiles of the merchant PKI (docs/protocol.md §2). Whatever is not here is not in a certificate.

use const_oid::ObjectIdentifier;
use der::asn1::{Ia5String, OctetString};
use der::flagset::FlagSet;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;

use super::key::Curve;
use super::names::{CommonName, CrlUrl, DeviceUri, Service};

/// id-kp-documentSigning (RFC 9336): the merchant certificate's purpose unless the operator configured another.
pub const DOCUMENT_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.36");

const DAY: i64 = 86_400;

/// Which of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// P-384, signs itself, the issuing CA and the service certificates.
    Root,
    /// P-256, signs merchant certificates and the revocation list.
    IssuingCa,
    /// P-256, signs what the service says.
    Service,
    /// P-256, signs payment requests.
    Merchant,
}

/// What a certificate holds beside key, serial number and validity.
#[derive(Debug, Clone)]
pub struct Profile {
    kind: Kind,
    subject: Name,
    uri: Option<String>,
    purpose: Option<ObjectIdentifier>,
    crl: Option<CrlUrl>,
}

impl Profile {
    /// The root.
    pub fn root(name: &CommonName) -> Self {
        Self { kind: Kind::Root, subject: name.to_name(), uri: None, purpose: None, crl: None }
    }

    /// An issuing CA.
    pub fn issuing_ca(name: &CommonName) -> Self {
        Self { kind: Kind::IssuingCa, subject: name.to_name(), uri: None, purpose: None, crl: None }
    }

    /// A signing key of the service.
    pub fn service(name: &CommonName, service: Service) -> Self {
        Self { kind: Kind::Service, subject: name.to_name(), uri: Some(service.to_string()), purpose: None, crl: None }
    }

    /// A phone's merchant key; `purpose` is [`DOCUMENT_SIGNING`] unless configured otherwise.
    pub fn merchant(uri: &DeviceUri, purpose: ObjectIdentifier, crl: Option<CrlUrl>) -> Self {
        let subject = CommonName::from(&uri.terminal).to_name();
        Self { kind: Kind::Merchant, subject, uri: Some(uri.to_string()), purpose: Some(purpose), crl }
    }

    /// Which of the four.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn subject(&self) -> &Name {
        &self.subject
    }

    pub(super) fn uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }

    pub(super) fn purpose(&self) -> Option<ObjectIdentifier> {
        self.purpose
    }

    pub(super) fn crl(&self) -> Option<&CrlUrl> {
        self.crl.as_ref()
    }

    /// `Some(pathLenConstraint)` for a CA. Root 1: one CA below it; issuing CA 0: none.
    pub(super) fn path_length(&self) -> Option<u8> {
        match self.kind {
            Kind::Root => Some(1),
            Kind::IssuingCa => Some(0),
            Kind::Service | Kind::Merchant => None,
        }
    }

    /// The curve of the certified key.
    pub(super) fn curve(&self) -> Curve {
        if self.kind == Kind::Root { Curve::P384 } else { Curve::P256 }
    }

    /// The curve and the path length of who signs it.
    pub(super) fn issuer(&self) -> (Curve, u8) {
        if self.kind == Kind::Merchant { (Curve::P256, 0) } else { (Curve::P384, 1) }
    }

    /// The longest validity. The operator configures shorter ones; this is where a slip of the pen ends.
    pub(super) fn longest(&self) -> i64 {
        DAY * match self.kind {
            Kind::Root => 30 * 366,
            Kind::IssuingCa => 15 * 366,
            Kind::Service => 5 * 366,
            Kind::Merchant => 366,
        }
    }

    pub(super) fn key_usage(&self) -> FlagSet<KeyUsages> {
        match self.kind {
            Kind::Root | Kind::IssuingCa => KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            Kind::Service | Kind::Merchant => KeyUsages::DigitalSignature.into(),
        }
    }

    /// Every extension, in the order they are encoded.
    pub(super) fn extensions(&self, subject_key: [u8; 20], issuer_key: [u8; 20]) -> der::Result<Vec<Extension>> {
        let mut list = Vec::new();
        if let Some(length) = self.path_length() {
            let constraints = BasicConstraints { ca: true, path_len_constraint: Some(length) };
            list.push((true, &constraints).to_extension(&self.subject, &[])?);
        }
        list.push((true, &KeyUsage(self.key_usage())).to_extension(&self.subject, &[])?);
        if let Some(purpose) = self.purpose {
            list.push((false, &ExtendedKeyUsage(vec![purpose])).to_extension(&self.subject, &[])?);
        }
        if let Some(uri) = &self.uri {
            let names = vec![GeneralName::UniformResourceIdentifier(Ia5String::new(uri)?)];
            list.push((false, &SubjectAltName(names)).to_extension(&self.subject, &[])?);
        }
        let subject_key = SubjectKeyIdentifier(OctetString::new(subject_key)?);
        list.push((false, &subject_key).to_extension(&self.subject, &[])?);
        let authority = AuthorityKeyIdentifier { key_identifier: Some(OctetString::new(issuer_key)?), ..Default::default() };
        list.push((false, &authority).to_extension(&self.subject, &[])?);
        if let Some(url) = &self.crl {
            list.push((false, &CrlDistributionPoints(vec![distribution_point(url)?])).to_extension(&self.subject, &[])?);
        }
        Ok(list)
    }
}

/// RFC 5280 §4.2.1.13: one full name, no reasons, the CRL issuer is the certificate's.
pub(super) fn distribution_point(url: &CrlUrl) -> der::Result<DistributionPoint> {
    let name = GeneralName::UniformResourceIdentifier(Ia5String::new(url.as_str())?);
    Ok(DistributionPoint { distribution_point: Some(DistributionPointName::FullName(vec![name])), reasons: None, crl_issuer: None })
}
