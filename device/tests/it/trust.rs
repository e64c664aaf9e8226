//! Trust bundles, certificates and revocation lists that do not hold.

use proptest::prelude::*;
use serde_json::{Value, json};
use tillward_device::certificate::{Certificate, CertificateError};
use tillward_device::crl::{Crl, CrlError};
use tillward_device::trust::{RootPin, Trust, TrustError};
use x509_cert::der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::ext::Extension;

use crate::pki::{self, NOW, Spec};
use crate::service::{ISSUING, ROOT, Service, b64};

fn verify(service: &Service, bundle: &Value) -> Result<Trust, TrustError> {
    Trust::verify(bundle.to_string().as_bytes(), &service.pin(), NOW)
}

fn good(service: &Service) -> Value {
    service.bundle(&service.crl(&[]))
}

#[test]
fn a_good_bundle_holds_and_every_member_is_needed() {
    let service = Service::new();
    let bundle = good(&service);
    assert!(verify(&service, &bundle).is_ok());
    for member in ["issuer", "root", "issuing", "signing", "crl"] {
        let mut lacking = bundle.clone();
        lacking.as_object_mut().expect("object").remove(member);
        assert!(matches!(verify(&service, &lacking), Err(TrustError::Json(_))), "{member}");
    }
    let mut more = bundle.clone();
    more["more"] = json!(1);
    assert!(matches!(verify(&service, &more), Err(TrustError::Json(_))));
}

#[test]
fn another_root_is_refused_by_its_pin() {
    let (service, other) = (Service::new(), Service::new());
    assert!(matches!(Trust::verify(good(&other).to_string().as_bytes(), &service.pin(), NOW), Err(TrustError::Pin)));
    let flipped = RootPin({
        let mut pin = service.pin().0;
        pin[31] ^= 1;
        pin
    });
    assert!(matches!(Trust::verify(good(&service).to_string().as_bytes(), &flipped, NOW), Err(TrustError::Pin)));
}

/// A bundle whose root is another certificate, with the pin that fits.
fn with_root(service: &Service, root: &[u8]) -> Result<Trust, TrustError> {
    let mut service_of = good(service);
    service_of["root"] = json!(b64(root));
    let pin = RootPin(<sha2::Sha256 as sha2::Digest>::digest(root).into());
    Trust::verify(service_of.to_string().as_bytes(), &pin, NOW)
}

#[test]
fn a_pinned_root_must_still_be_a_p384_ca_that_signed_itself() {
    let service = Service::new();
    let root = |spec: Spec| spec.sign_p384(service.root.verifying_key(), &service.root);
    assert!(with_root(&service, &root(Spec::new(9, ROOT, ROOT, pki::ca(None)))).is_ok());
    let refused = |root: Vec<u8>| match with_root(&service, &root) {
        Err(TrustError::Root(error)) => error,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(refused(root(Spec::new(9, ROOT, ROOT, pki::ca(None).split_off(1)))), CertificateError::Extension("basicConstraints"));
    assert_eq!(refused(root(Spec::new(9, ROOT, "CN=other", pki::ca(None)))), CertificateError::Issuer);
    let p256 = pki::p256();
    assert_eq!(refused(Spec::new(9, ROOT, ROOT, pki::ca(None)).sign_p256(p256.verifying_key(), &p256)), CertificateError::Key);
    assert_eq!(
        refused(Spec::new(9, ROOT, ROOT, pki::ca(None)).sign_p384(service.root.verifying_key(), &pki::p384())),
        CertificateError::Signature
    );
    let mut old = Spec::new(9, ROOT, ROOT, pki::ca(None));
    old.not_after = NOW - 1;
    assert_eq!(refused(root(old)), CertificateError::Expired);
}

fn refused(service: &Service, list: &str, certificate: &[u8]) -> CertificateError {
    let mut bundle = good(service);
    bundle[list][0] = json!(b64(certificate));
    match verify(service, &bundle) {
        Err(TrustError::Issuing(0, error) | TrustError::Signing(0, error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn issuing_certificates_are_cas_of_the_root_for_one_step() {
    let service = Service::new();
    let key = service.issuing.verifying_key();
    let refused = |spec: Spec| refused(&service, "issuing", &spec.sign_p384(key, &service.root));
    let spec = |extensions| Spec::new(9, ISSUING, ROOT, extensions);
    assert_eq!(refused(spec(pki::ca(None))), CertificateError::Extension("basicConstraints"));
    assert_eq!(refused(spec(pki::ca(Some(1)))), CertificateError::Extension("basicConstraints"));
    assert_eq!(refused(spec(pki::signer_of("attestation-signing"))), CertificateError::Extension("basicConstraints"));
    let mut late = spec(pki::ca(Some(0)));
    (late.not_before, late.not_after) = (NOW + 1, NOW + 2);
    assert_eq!(refused(late), CertificateError::NotYetValid);
    let mut other = spec(pki::ca(Some(0)));
    "CN=other".clone_into(&mut other.issuer);
    assert_eq!(refused(other), CertificateError::Issuer);
    let forged = spec(pki::ca(Some(0))).sign_p384(key, &pki::p384());
    assert_eq!(self::refused(&service, "issuing", &forged), CertificateError::Signature);
    let by_p256 = spec(pki::ca(Some(0))).sign_p256(key, &pki::p256());
    assert_eq!(self::refused(&service, "issuing", &by_p256), CertificateError::Signature);
}

#[test]
fn signing_certificates_name_one_service_and_are_no_cas() {
    let service = Service::new();
    let refused = |extensions| {
        refused(&service, "signing", &Spec::new(9, "CN=s", ROOT, extensions).sign_p384(service.attestation.verifying_key(), &service.root))
    };
    let mut ca = pki::signer_of("attestation-signing");
    ca.extend(pki::ca(Some(0)).into_iter().take(1));
    assert_eq!(refused(ca), CertificateError::Extension("basicConstraints"));
    assert_eq!(refused(pki::signer_of("everything")), CertificateError::Extension("subjectAltName"));
    assert_eq!(refused(pki::signer_of("attestation-signing").into_iter().take(1).collect()), CertificateError::Extension("subjectAltName"));
    assert_eq!(refused(pki::signer_of("attestation-signing").into_iter().skip(1).collect()), CertificateError::Extension("keyUsage"));
    let unknown = Extension {
        extn_id: ObjectIdentifier::new_unwrap("1.2.3.4"),
        critical: true,
        extn_value: OctetString::new([5, 0]).expect("short"),
    };
    let with_unknown = [pki::signer_of("attestation-signing"), vec![unknown]].concat();
    assert_eq!(refused(with_unknown), CertificateError::Extension("that is critical and unknown"));
    let twice = [pki::signer_of("attestation-signing"), pki::signer_of("attestation-signing")].concat();
    assert_eq!(refused(twice), CertificateError::Extension("that is there twice"));
}

#[test]
fn a_revocation_list_is_current_and_of_an_issuing_ca() {
    let service = Service::new();
    let refused = |crl: Vec<u8>| match verify(&service, &service.bundle(&crl)) {
        Err(TrustError::Crl(error)) => error,
        other => panic!("not refused: {other:?}"),
    };
    let (ca, key) = (&service.issuing_certificate, &service.issuing);
    assert_eq!(refused(pki::crl(ca, key, &[], NOW + 1, Some(NOW + 2))), CrlError::NotCurrent);
    assert_eq!(refused(pki::crl(ca, key, &[], NOW - 2, Some(NOW))), CrlError::NotCurrent);
    assert_eq!(refused(pki::crl(ca, key, &[], NOW - 2, None)), CrlError::NotDer);
    assert_eq!(refused(pki::crl(ca, &pki::p256(), &[], NOW - 2, Some(NOW + 2))), CrlError::Signature);
    assert_eq!(refused(pki::crl(&service.root_certificate, key, &[], NOW - 2, Some(NOW + 2))), CrlError::Signature);
    assert!(verify(&service, &service.bundle(&pki::crl(ca, key, &[1, 2], NOW, Some(NOW + 1)))).is_ok());
}

#[test]
fn a_pin_reads_in_both_cases_and_prints_in_lower() {
    let text = "00ff".repeat(16);
    assert_eq!(text.to_uppercase().parse::<RootPin>().expect("reads").to_string(), text);
    for bad in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
        assert!(bad.parse::<RootPin>().is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        prop_assert!(Certificate::parse(&bytes).is_err());
        prop_assert!(Crl::parse(&bytes).is_err());
        prop_assert!(Trust::verify(&bytes, &RootPin([0; 32]), NOW).is_err());
    }
}

/// Changes of one byte, at every place of a certificate and a list: none is taken for the original.
#[test]
fn every_changed_byte_of_certificates_and_list_is_found() {
    let service = Service::new();
    let bundle = good(&service);
    for member in ["issuing", "signing", "crl"] {
        let text = bundle[member].as_str().or_else(|| bundle[member][0].as_str()).expect("text").to_owned();
        let der = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url");
        for place in 0..der.len() {
            let mut changed = der.clone();
            changed[place] ^= 1 << (place % 8);
            let mut bundle = bundle.clone();
            if member == "crl" {
                bundle[member] = json!(b64(&changed));
            } else {
                bundle[member][0] = json!(b64(&changed));
            }
            assert!(verify(&service, &bundle).is_err(), "{member}, byte {place}");
        }
        let mut longer = bundle.clone();
        let trailing = b64([der, vec![0]].concat());
        if member == "crl" {
            longer[member] = json!(trailing);
        } else {
            longer[member][0] = json!(trailing);
        }
        assert!(verify(&service, &longer).is_err(), "{member}, a trailing byte");
    }
}
