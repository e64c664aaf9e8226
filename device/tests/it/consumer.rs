//! The consumer's device: each reason to refuse a payment request.

use proptest::prelude::*;
use serde_json::{Value, json};
use tillward_device::certificate::CertificateError;
use tillward_device::consumer::{Acceptance, NotAccepted, VerifiedRequest, verify};
use tillward_device::jws::JwsError;
use tillward_device::payment_request::PaymentRequestClaims;
use tillward_device::phone::{Phone, PhoneError};
use tillward_device::trust::{MerchantCertificateError, StatementError};
use x509_cert::der::asn1::ObjectIdentifier;

use crate::enrolment::{attested, phone};
use crate::pki::{self, NOW, Spec};
use crate::service::{DEVICE, ISSUING, Service, statement};

fn request(phone: &Phone) -> String {
    phone.payment_request(1250.try_into().expect("amount"), "EUR".parse().expect("currency"), NOW).expect("signed")
}

fn claims(phone: &Phone) -> PaymentRequestClaims {
    let text = request(phone);
    let payload = text.split('.').nth(1).expect("payload");
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url")).expect("claims")
}

fn accept(service: &Service, request: &str) -> Result<VerifiedRequest, NotAccepted> {
    verify(request, &service.trust(), &Acceptance::default(), NOW)
}

/// The phone with another certificate over its own key, taken without a look.
fn with_leaf(service: &Service, spec: &Spec) -> (Phone, String) {
    let phone = attested(service);
    let key = service.trust().merchant(&phone.certificate_chain()[0].0, NOW).expect("leaf").key().to_owned();
    let leaf = service.leaf(&key, spec);
    let text = resigned(&phone, |header| header["x5c"][0] = json!(data_encoding::BASE64.encode(&leaf)));
    (phone, text)
}

/// The phone's request under a changed header, signed again with its key.
fn resigned(phone: &Phone, change: impl Fn(&mut Value)) -> String {
    let text = request(phone);
    let part = |place: usize| -> Value {
        let part = text.split('.').nth(place).expect("part");
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
    };
    let (mut header, claims) = (part(0), part(1));
    change(&mut header);
    crate::service::jws(&merchant_key(phone), &header, &claims)
}

fn merchant_key(phone: &Phone) -> p256::ecdsa::SigningKey {
    let secrets = phone.expose_known_secrets();
    let (_, scalar) = secrets.iter().find(|(name, _)| name == "merchant key").expect("known");
    p256::ecdsa::SigningKey::from_slice(scalar).expect("a key")
}

#[test]
fn an_honest_request_is_accepted() {
    let service = Service::new();
    let verified = accept(&service, &request(&attested(&service))).expect("accepted");
    assert_eq!(verified.identity.to_string(), crate::service::IDENTITY);
    assert_eq!((u64::from(verified.amount), verified.currency.to_string().as_str()), (1250, "EUR"));
    assert_eq!((verified.issued, verified.attested), (NOW, NOW));
}

#[test]
fn a_phone_that_was_never_attested_has_no_request_to_show() {
    let service = Service::new();
    let shown = phone(&service).payment_request(1.try_into().expect("amount"), "EUR".parse().expect("currency"), NOW);
    assert!(matches!(shown, Err(PhoneError::NotAttested)));
}

#[test]
fn a_request_is_a_jws_of_its_kind_with_a_chain_of_two() {
    let service = Service::new();
    let phone = attested(&service);
    let refused = |change: &dyn Fn(&mut Value)| accept(&service, &resigned(&phone, change)).expect_err("refused");
    assert!(accept(&service, &resigned(&phone, |_| ())).is_ok());
    assert!(matches!(refused(&|header| header["alg"] = json!("none")), NotAccepted::Malformed(JwsError::Algorithm)));
    assert!(matches!(refused(&|header| header["typ"] = json!("JWT")), NotAccepted::Malformed(JwsError::Typ(_))));
    assert!(matches!(refused(&|header| header["kid"] = json!("x")), NotAccepted::Malformed(JwsError::Header(_))));
    assert_eq!(refused(&|header| header["x5c"] = json!([])), NotAccepted::Chain);
    assert_eq!(refused(&|header| header["x5c"][0] = json!("_-_-")), NotAccepted::Chain);
    assert!(matches!(accept(&service, "a.b"), Err(NotAccepted::Malformed(JwsError::Shape))));
}

#[test]
fn a_certificate_of_another_service_is_not_trusted() {
    let (service, other) = (Service::new(), Service::new());
    let foreign = request(&attested(&other));
    assert_eq!(accept(&service, &foreign), Err(NotAccepted::NotTrusted(MerchantCertificateError::UnknownIssuer)));
}

#[test]
fn the_leaf_must_be_a_merchants() {
    let service = Service::new();
    let spec = Service::leaf_spec();
    let refused = |change: &dyn Fn(&mut Spec)| {
        let mut spec = spec.clone();
        change(&mut spec);
        accept(&service, &with_leaf(&service, &spec).1).expect_err("refused")
    };
    let not_trusted = |error| NotAccepted::NotTrusted(MerchantCertificateError::Certificate(error));
    assert_eq!(refused(&|spec| spec.not_after = NOW - 1), NotAccepted::Expired(CertificateError::Expired));
    assert_eq!(refused(&|spec| spec.not_before = NOW + 1), NotAccepted::Expired(CertificateError::NotYetValid));
    assert_eq!(
        refused(&|spec| spec.extensions[2] = pki::purpose(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"))),
        NotAccepted::WrongPurpose
    );
    assert_eq!(refused(&|spec| drop(spec.extensions.remove(2))), not_trusted(CertificateError::Extension("extendedKeyUsage")));
    assert_eq!(
        refused(&|spec| spec.extensions.push(pki::ca(None).remove(0))),
        not_trusted(CertificateError::Extension("basicConstraints"))
    );
    assert_eq!(refused(&|spec| drop(spec.extensions.remove(0))), not_trusted(CertificateError::Extension("keyUsage")));
    assert_eq!(
        refused(&|spec| spec.extensions[1] = pki::uri("urn:tillward:device:m-1:t-1")),
        not_trusted(CertificateError::Extension("subjectAltName"))
    );
    assert_eq!(refused(&|spec| "CN=t-2".clone_into(&mut spec.subject)), not_trusted(CertificateError::Subject));
    assert_eq!(refused(&|spec| "CN=other".clone_into(&mut spec.issuer)), NotAccepted::NotTrusted(MerchantCertificateError::UnknownIssuer));
    let other = "urn:tillward:device:m-1:t-1:dev_00000000000000000000000000";
    assert_eq!(refused(&|spec| spec.extensions[1] = pki::uri(other)), NotAccepted::WrongDevice);
}

#[test]
fn a_revoked_certificate_is_refused_and_so_is_one_nobody_vouches_for() {
    let service = Service::new();
    let text = request(&attested(&service));
    let with = |crl: &[u8], now| verify(&text, &service.trust_with(crl), &Acceptance { skew: 100_000, ..Acceptance::default() }, now);
    assert!(with(&service.crl(&[76, 78]), NOW).is_ok());
    assert_eq!(with(&service.crl(&[76, 77]), NOW), Err(NotAccepted::Revoked));
    // The list of the kept bundle has run out in the meantime.
    assert_eq!(with(&service.crl(&[]), NOW + 5000), Err(NotAccepted::RevocationUnknown));
    // The list is that of another issuing CA of the same root.
    let second = pki::p256();
    let certificate = Spec::new(5, "CN=second", crate::service::ROOT, pki::ca(Some(0))).sign_p384(second.verifying_key(), &service.root);
    let mut bundle = service.bundle(&pki::crl(&certificate, &second, &[], NOW, Some(NOW + 10)));
    bundle["issuing"].as_array_mut().expect("list").push(json!(crate::service::b64(&certificate)));
    let trust = tillward_device::trust::Trust::verify(bundle.to_string().as_bytes(), &service.pin(), NOW).expect("trusted");
    assert_eq!(verify(&text, &trust, &Acceptance::default(), NOW), Err(NotAccepted::RevocationUnknown));
}

#[test]
fn a_request_under_another_key_is_refused() {
    let service = Service::new();
    let (one, other) = (attested(&service), attested(&service));
    let chain = other.certificate_chain()[0].clone();
    let text = resigned(&one, |header| header["x5c"][0] = json!(data_encoding::BASE64.encode(&chain.0)));
    assert_eq!(accept(&service, &text), Err(NotAccepted::WrongSignature));
}

#[test]
fn a_request_names_its_own_merchant_terminal_and_device() {
    let service = Service::new();
    let phone = attested(&service);
    let honest = claims(&phone);
    let refused = |change: &dyn Fn(&mut PaymentRequestClaims)| {
        let mut claims = honest.clone();
        change(&mut claims);
        accept(&service, &phone.sign_payment_request(&claims)).expect_err("refused")
    };
    assert_eq!(refused(&|claims| claims.merchant = "m-2".parse().expect("id")), NotAccepted::WrongDevice);
    assert_eq!(refused(&|claims| claims.terminal = "t-2".parse().expect("id")), NotAccepted::WrongDevice);
    assert_eq!(refused(&|claims| claims.device = "dev_00000000000000000000000000".parse().expect("id")), NotAccepted::WrongDevice);
    assert_eq!(refused(&|claims| claims.iat = NOW - 121), NotAccepted::Stale);
    assert_eq!(refused(&|claims| claims.iat = NOW + 121), NotAccepted::Stale);
    assert_eq!(refused(&|claims| claims.iat = i64::MIN), NotAccepted::Stale);
    assert!(matches!(refused(&|claims| claims.nonce.0.clear()), NotAccepted::Malformed(_)));
}

#[test]
fn the_attestation_result_is_looked_at_in_every_way() {
    let service = Service::new();
    let phone = attested(&service);
    let mut honest = claims(&phone);
    let base = Service::result_claims();
    let mut shown = |result: String| {
        honest.attestation = result;
        accept(&service, &phone.sign_payment_request(&honest))
    };
    let changed = |pointer: &str, value: Value| {
        let mut claims = base.clone();
        *claims.pointer_mut(pointer).expect("member") = value;
        service.result(&claims).result
    };
    assert!(shown(changed("/iat", json!(NOW + 120))).is_ok());
    assert_eq!(shown(changed("/iat", json!(NOW + 121))), Err(NotAccepted::AttestationFromFuture));
    assert_eq!(shown(changed("/exp", json!(NOW))), Err(NotAccepted::AttestationExpired));
    assert_eq!(shown(changed("/sub", json!("dev_00000000000000000000000000"))), Err(NotAccepted::AttestationOfOtherDevice));
    assert_eq!(shown(changed("/iss", json!("x"))), Err(NotAccepted::AttestationForeign));
    assert_eq!(shown(changed("/eat_profile", json!("x"))), Err(NotAccepted::AttestationForeign));
    for status in ["none", "warning", "contraindicated"] {
        assert_eq!(shown(changed("/submods/phone/ear.status", json!(status))), Err(NotAccepted::NotAffirming), "{status}");
    }
    assert_eq!(shown(changed("/submods/phone/ear.trustworthiness-vector/executables", json!(32))), Err(NotAccepted::NotAffirming));
    assert_eq!(shown(changed("/submods", json!({}))), Err(NotAccepted::NotAffirming));
    let mut two = base.clone();
    two["submods"]["secure-element"] = changed_submodule(&base, "warning");
    assert_eq!(shown(service.result(&two).result), Err(NotAccepted::NotAffirming));
    let by_personalization = statement(&service.personalization, "ear+jwt", &base);
    assert!(matches!(shown(by_personalization), Err(NotAccepted::AttestationNotTrusted(StatementError::WrongService(_)))));
    let challenge = service.challenge(&Service::challenge_claims(DEVICE, "attest")).challenge;
    assert!(matches!(shown(challenge), Err(NotAccepted::AttestationNotTrusted(StatementError::Jws(JwsError::Typ(_))))));
    assert_eq!(shown(statement(&pki::p256(), "ear+jwt", &base)), Err(NotAccepted::AttestationNotTrusted(StatementError::UnknownKey)));
}

fn changed_submodule(base: &Value, status: &str) -> Value {
    let mut submodule = base["submods"]["phone"].clone();
    submodule["ear.status"] = json!(status);
    submodule
}

#[test]
fn a_copied_phone_still_needs_its_own_result() {
    // A thief shows an affirming result of the victim under a certificate of its own.
    let service = Service::new();
    let own = "urn:tillward:device:m-1:t-1:dev_00000000000000000000000000";
    let mut spec = Spec::new(79, "CN=t-1", ISSUING, pki::merchant(own));
    spec.not_after = NOW + 10;
    let (phone, _) = with_leaf(&service, &spec);
    let mut thief = claims(&phone);
    thief.device = "dev_00000000000000000000000000".parse().expect("id");
    let leaf = service.leaf(merchant_key(&phone).verifying_key(), &spec);
    let header = json!({"alg": "ES256", "typ": "tillward-payment-request+jwt",
        "x5c": [data_encoding::BASE64.encode(&leaf), data_encoding::BASE64.encode(&service.issuing_certificate)]});
    let text = crate::service::jws(&merchant_key(&phone), &header, &serde_json::to_value(&thief).expect("JSON"));
    assert_eq!(accept(&service, &text), Err(NotAccepted::AttestationOfOtherDevice));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_changed_character_is_refused(place: prop::sample::Index, other in "[A-Za-z0-9_.-]") {
        thread_local!(static ONE: (Service, String) = { let service = Service::new(); let text = request(&attested(&service)); (service, text) });
        ONE.with(|(service, text)| {
            let place = place.index(text.len());
            prop_assume!(text[place..=place] != other);
            let changed = format!("{}{other}{}", &text[..place], &text[place + 1..]);
            prop_assert!(accept(service, &changed).is_err());
            Ok(())
        })?;
    }
}
