//! Certificates and revocation lists of a test.

use p256::ecdsa::SigningKey as P256;
use p256::elliptic_curve::Generate;
use p384::ecdsa::SigningKey as P384;
use tillward_device::certificate::DOCUMENT_SIGNING;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder, CrlBuilder};
use x509_cert::certificate::{Certificate, TbsCertificate};
use x509_cert::crl::RevokedCert;
use x509_cert::der::asn1::{GeneralizedTime, Ia5String, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, CrlNumber, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{EncodePublicKey, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

/// The time of every test, unless it says otherwise.
pub(crate) const NOW: i64 = 1_763_823_600;

/// What a certificate of a test says.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) serial: u32,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) extensions: Vec<Extension>,
}

struct Plain {
    subject: Name,
    issuer: Name,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Plain {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }
    fn get_subject(&self) -> Name {
        self.subject.clone()
    }
    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

pub(crate) fn time(seconds: i64) -> Time {
    let since = std::time::Duration::from_secs(seconds.try_into().expect("after 1970"));
    GeneralizedTime::from_unix_duration(since).expect("before 10000").to_date_time().into()
}

pub(crate) fn extension(value: &(impl x509_cert::ext::Criticality + const_oid::AssociatedOid + Encode)) -> Extension {
    value.to_extension(&"CN=any".parse().expect("name"), &[]).expect("encodes")
}

pub(crate) fn ca(path_length: Option<u8>) -> Vec<Extension> {
    vec![
        extension(&BasicConstraints { ca: true, path_len_constraint: path_length }),
        extension(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)),
    ]
}

pub(crate) fn uri(text: &str) -> Extension {
    extension(&SubjectAltName(vec![GeneralName::UniformResourceIdentifier(Ia5String::new(text).expect("ASCII"))]))
}

pub(crate) fn signer_of(service: &str) -> Vec<Extension> {
    vec![extension(&KeyUsage(KeyUsages::DigitalSignature.into())), uri(&format!("urn:tillward:service:{service}"))]
}

pub(crate) fn purpose(oid: ObjectIdentifier) -> Extension {
    extension(&ExtendedKeyUsage(vec![oid]))
}

pub(crate) fn merchant(identity: &str) -> Vec<Extension> {
    vec![extension(&KeyUsage(KeyUsages::DigitalSignature.into())), uri(identity), purpose(DOCUMENT_SIGNING)]
}

impl Spec {
    pub(crate) fn new(serial: u32, subject: &str, issuer: &str, extensions: Vec<Extension>) -> Self {
        Self {
            serial,
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            not_before: NOW - 1000,
            not_after: NOW + 100_000,
            extensions,
        }
    }

    fn builder(&self, key: &impl EncodePublicKey) -> CertificateBuilder<Plain> {
        let profile = Plain {
            subject: self.subject.parse().expect("name"),
            issuer: self.issuer.parse().expect("name"),
            extensions: self.extensions.clone(),
        };
        let validity = Validity::new(time(self.not_before), time(self.not_after));
        let spki = SubjectPublicKeyInfoOwned::from_der(key.to_public_key_der().expect("encodes").as_bytes()).expect("decodes");
        CertificateBuilder::new(profile, SerialNumber::from(self.serial), validity, spki).expect("builder")
    }

    pub(crate) fn sign_p384(&self, key: &impl EncodePublicKey, issuer: &P384) -> Vec<u8> {
        self.builder(key).build::<_, p384::ecdsa::DerSignature>(issuer).expect("signed").to_der().expect("encodes")
    }

    pub(crate) fn sign_p256(&self, key: &impl EncodePublicKey, issuer: &P256) -> Vec<u8> {
        self.builder(key).build::<_, p256::ecdsa::DerSignature>(issuer).expect("signed").to_der().expect("encodes")
    }
}

/// A revocation list of the CA whose certificate is `issuer`.
pub(crate) fn crl(issuer: &[u8], key: &P256, revoked: &[u32], this_update: i64, next_update: Option<i64>) -> Vec<u8> {
    let issuer = Certificate::from_der(issuer).expect("certificate");
    let revoked = revoked.iter().map(|serial| RevokedCert {
        serial_number: SerialNumber::from(*serial),
        revocation_date: time(this_update),
        crl_entry_extensions: None,
    });
    let number = CrlNumber(x509_cert::der::asn1::Uint::new(&[1]).expect("number"));
    let mut builder =
        CrlBuilder::new_with_this_update(&issuer, number, time(this_update)).expect("builder").with_next_update(next_update.map(time));
    if revoked.len() > 0 {
        builder = builder.with_certificates(revoked);
    }
    builder.build::<_, p256::ecdsa::DerSignature>(key).expect("signed").to_der().expect("encodes")
}

pub(crate) fn p256() -> P256 {
    P256::generate()
}

pub(crate) fn p384() -> P384 {
    P384::try_generate_from_rng(&mut getrandom::SysRng).expect("random bytes")
}
