//! Enrolment, attestation, renewal and payment of one phone.

use std::path::Path;

use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};
use tillward_device::challenge::ChallengeError;
use tillward_device::code::ActivationCode;
use tillward_device::enrolment::{Enrolment, EnrolmentError, PendingEnrolment};
use tillward_device::evidence::EvidenceError;
use tillward_device::jws::JwsError;
use tillward_device::key::UnwrapError;
use tillward_device::ksn::TransactionCounter;
use tillward_device::message::CertificateAnswer;
use tillward_device::package::{ChainError, PackageError};
use tillward_device::payment::PaymentError;
use tillward_device::phone::{Phone, PhoneError};
use tillward_device::store::StoreError;
use tillward_device::transport_key::TransportError;
use tillward_device::trust::StatementError;

use crate::pki::{self, NOW};
use crate::service::{ACTIVATION, CODE, DEVICE, Service, b64, findings, statement, transport_claims};

pub(crate) fn code() -> ActivationCode {
    ActivationCode::parse(CODE).expect("a code")
}

pub(crate) fn pending(service: &Service) -> PendingEnrolment {
    let challenge = service.challenge(&Service::challenge_claims(ACTIVATION, "enrol"));
    Enrolment::new(code()).respond(&service.trust(), &service.parameters(), &challenge, &findings(), NOW).expect("a request")
}

pub(crate) fn phone(service: &Service) -> Phone {
    let pending = pending(service);
    let answer = service.package(&service.package_claims(pending.request()));
    pending.complete(&service.trust(), &answer, NOW).expect("a phone")
}

/// The phone with an affirming result.
pub(crate) fn attested(service: &Service) -> Phone {
    let mut phone = phone(service);
    let trust = service.trust();
    let attestation =
        phone.attest(&trust, &service.challenge(&Service::challenge_claims(DEVICE, "attest")), &findings(), NOW).expect("answered");
    phone.take_result(&trust, &attestation, &service.result(&Service::result_claims()), NOW).expect("taken");
    phone
}

/// The second secret's MAC key as the service has it.
fn mac_key(phone: &Phone) -> Vec<u8> {
    let secrets = phone.expose_known_secrets();
    let secret = secrets.iter().find(|(name, _)| name == "second secret").expect("known");
    let ikid = phone.data_ikid().bytes();
    crate::service::derive(&secret.1, 0x2002, &ikid)
}

fn changed(claims: &Value, pointer: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    *claims.pointer_mut(pointer).expect("a member") = value;
    claims
}

#[test]
fn a_phone_is_enrolled_with_what_the_package_says() {
    let service = Service::new();
    let phone = phone(&service);
    assert_eq!(phone.identity().to_string(), crate::service::IDENTITY);
    assert_eq!(phone.data_ikid().to_string(), crate::service::DATA_IKID);
    assert_eq!(phone.pin_ikid().to_string(), crate::service::PIN_IKID);
    assert_eq!(phone.configuration()["currency"], "EUR");
    assert_eq!(phone.attestation_policy().threshold, 600);
    assert!(phone.attestation_result().is_none());
}

#[test]
fn the_request_stays_the_same_byte_for_byte_even_after_a_crash() {
    let service = Service::new();
    let directory = tempfile::tempdir().expect("directory");
    let pending = pending(&service);
    let body = pending.body();
    assert_eq!(pending.body(), body);
    pending.save(directory.path()).expect("saved");
    drop(pending);
    let again = PendingEnrolment::load(directory.path()).expect("loaded");
    assert_eq!(again.body(), body);
    let answer = service.package(&service.package_claims(again.request()));
    let mut phone = again.complete(&service.trust(), &answer, NOW).expect("a phone");
    phone.save(directory.path()).expect("saved");
    assert!(!directory.path().join("pending.json").exists());
}

#[test]
fn rsa_oaep_with_sha256_is_used_where_the_parameters_say_so() {
    let service = Service::new();
    let mut parameters = service.parameters();
    parameters.parameters = statement(&service.attestation, "tillward-parameters+jwt", &service.parameter_claims("RSA-OAEP-256"));
    let challenge = service.challenge(&Service::challenge_claims(ACTIVATION, "enrol"));
    let pending = Enrolment::new(code()).respond(&service.trust(), &parameters, &challenge, &findings(), NOW).expect("a request");
    let rng: Option<&mut getrandom::SysRng> = None;
    let secret =
        rsa::traits::PaddingScheme::decrypt(rsa::Oaep::<sha2::Sha256>::new(), rng, &service.transport, &pending.request().wrapped_secret.0)
            .expect("OAEP");
    assert_eq!(secret, pending.expose_second_secret().expose_bytes());
}

/// The service's side of the key agreement by its parts: ECDH, X9.63 (published vectors are in the HSM's crate), AES-KWP.
fn unwrap_by_agreement(transport: &p256::SecretKey, wrapped: &[u8]) -> Vec<u8> {
    use aes::cipher::KeyInit as _;
    use sha2::Digest as _;
    let (point, blob) = wrapped.split_at(65);
    let point = p256::PublicKey::from_sec1_bytes(point).expect("a point");
    let agreed = p256::ecdh::diffie_hellman(transport.to_nonzero_scalar(), point.as_affine());
    let shared_info = data_encoding::HEXLOWER.decode(b"3015300b0609608648016503040130a206040400000100").expect("hex");
    let kek = sha2::Sha256::digest([agreed.raw_secret_bytes().as_slice(), &[0, 0, 0, 1], &shared_info].concat());
    let mut buffer = [0; 32];
    aes_kw::AesKwp::<aes::Aes256>::new_from_slice(&kek).expect("32 bytes").unwrap_key(blob, &mut buffer).expect("unwraps").to_vec()
}

#[test]
fn the_first_transport_key_of_a_known_algorithm_is_used() {
    let service = Service::new();
    let transport = p256::SecretKey::from_slice(&[7; 32]).expect("a scalar");
    let spki = transport.public_key().to_public_key_der().expect("encodes");
    let mut claims = service.parameter_claims("RSA-OAEP");
    let rsa = claims["transports"][0].clone();
    let ecdh = transport_claims(spki.as_bytes(), "ECDH-X963-SHA256-A256KWP");
    let later = transport_claims(b"of a later time", "ML-KEM-768");
    let challenge = service.challenge(&Service::challenge_claims(ACTIVATION, "enrol"));
    let mut respond = |transports: Value| {
        claims["transports"] = transports;
        let mut parameters = service.parameters();
        parameters.parameters = statement(&service.attestation, "tillward-parameters+jwt", &claims);
        Enrolment::new(code()).respond(&service.trust(), &parameters, &challenge, &findings(), NOW).expect("a request")
    };
    let pending = respond(json!([later, ecdh, rsa]));
    assert_eq!(pending.request().transport_kid, ecdh["kid"].as_str().expect("text"));
    let wrapped = &pending.request().wrapped_secret.0;
    assert_eq!((wrapped.len(), unwrap_by_agreement(&transport, wrapped)), (105, pending.expose_second_secret().expose_bytes().to_vec()));
    assert_ne!(respond(json!([ecdh, rsa])).request().wrapped_secret.0[..65], wrapped[..65], "another ephemeral key each time");
    let pending = respond(json!([later, rsa, ecdh]));
    assert_eq!(pending.request().transport_kid, rsa["kid"].as_str().expect("text"));
    assert_eq!(pending.request().wrapped_secret.0.len(), 384);
}

#[test]
fn parameters_that_do_not_hold_are_refused() {
    let service = Service::new();
    let claims = service.parameter_claims("RSA-OAEP");
    let challenge = service.challenge(&Service::challenge_claims(ACTIVATION, "enrol"));
    let refused = |key, typ: &str, claims: &Value| {
        let mut parameters = service.parameters();
        parameters.parameters = statement(key, typ, claims);
        match Enrolment::new(code()).respond(&service.trust(), &parameters, &challenge, &findings(), NOW) {
            Err(EnrolmentError::Challenge(error)) => error,
            other => panic!("not refused: {other:?}"),
        }
    };
    let typ = "tillward-parameters+jwt";
    let key = &service.attestation;
    let stranger = pki::p256();
    assert_eq!(refused(key, typ, &changed(&claims, "/iss", json!("https://other.example"))), ChallengeError::Issuer);
    assert_eq!(refused(key, typ, &changed(&claims, "/exp", json!(NOW))), ChallengeError::NotCurrent);
    assert_eq!(refused(key, typ, &changed(&claims, "/iat", json!(NOW + 301))), ChallengeError::NotCurrent);
    assert!(matches!(refused(key, typ, &changed(&claims, "/transports/0/kid", json!(b64([0; 32])))), ChallengeError::Transport(_)));
    let transport = |error| ChallengeError::Transport(error);
    assert_eq!(refused(key, typ, &changed(&claims, "/transports/0/alg", json!("RSA1_5"))), transport(TransportError::NoneKnown));
    assert_eq!(refused(key, typ, &changed(&claims, "/transports", json!([]))), transport(TransportError::NoneKnown));
    assert_eq!(
        refused(key, typ, &changed(&claims, "/transports/0/alg", json!("ECDH-X963-SHA256-A256KWP"))),
        transport(TransportError::Key)
    );
    let ec = pki::p256().verifying_key().to_public_key_der().expect("encodes");
    let ec = transport_claims(ec.as_bytes(), "RSA-OAEP");
    assert_eq!(refused(key, typ, &changed(&claims, "/transports/0", ec)), transport(TransportError::Key));
    let mut first = claims.clone();
    first["transport"] = first["transports"][0].clone();
    first.as_object_mut().expect("an object").remove("transports");
    assert!(matches!(refused(key, typ, &first), ChallengeError::Statement(StatementError::Jws(JwsError::Payload(_)))));
    assert!(matches!(refused(&service.personalization, typ, &claims), ChallengeError::Statement(StatementError::WrongService(_))));
    assert_eq!(refused(&stranger, typ, &claims), ChallengeError::Statement(StatementError::UnknownKey));
    assert!(matches!(refused(key, "tillward-challenge+jwt", &claims), ChallengeError::Statement(StatementError::Jws(JwsError::Typ(_)))));
}

#[test]
fn challenges_that_do_not_hold_are_refused() {
    let service = Service::new();
    let claims = Service::challenge_claims(ACTIVATION, "enrol");
    let refused = |claims: &Value| {
        Enrolment::new(code())
            .respond(&service.trust(), &service.parameters(), &service.challenge(claims), &findings(), NOW)
            .expect_err("refused")
    };
    assert!(matches!(refused(&changed(&claims, "/iss", json!("x"))), EnrolmentError::Challenge(ChallengeError::Issuer)));
    assert!(matches!(refused(&changed(&claims, "/sub", json!("ABCDEFH"))), EnrolmentError::Challenge(ChallengeError::Subject)));
    assert!(matches!(refused(&changed(&claims, "/purpose", json!("attest"))), EnrolmentError::Challenge(ChallengeError::Purpose)));
    assert!(matches!(refused(&changed(&claims, "/nonce", json!(b64([1; 31])))), EnrolmentError::Challenge(ChallengeError::Nonce)));
    assert!(matches!(refused(&changed(&claims, "/format", json!("android-key"))), EnrolmentError::Evidence(EvidenceError::Format)));
    assert!(matches!(refused(&changed(&claims, "/claims", json!(["location"]))), EnrolmentError::Evidence(EvidenceError::Claim)));
    assert!(matches!(
        refused(&changed(&claims, "/ikid", json!("aabbccdd00000007"))),
        EnrolmentError::Challenge(ChallengeError::Statement(_))
    ));
}

#[test]
fn packages_that_do_not_hold_are_refused_and_the_enrolment_can_go_on() {
    let service = Service::new();
    let mut pending = pending(&service);
    let claims = service.package_claims(pending.request());
    let other_leaf = service.leaf(pki::p256().verifying_key(), &Service::leaf_spec());
    let mut other_device = Service::leaf_spec();
    other_device.extensions = pki::merchant("urn:tillward:device:m-1:t-1:dev_00000000000000000000000000");
    let other_device = service.leaf(&Service::proven_key(&pending.request().csr.0), &other_device);
    let same_ikid = changed(&claims, "/initial_keys/0/ikid", json!(crate::service::DATA_IKID));
    let keys = &claims["initial_keys"];
    let mut wrong_length = changed(&claims, "/initial_keys/0/algorithm", json!("AES-256"));
    wrong_length["initial_keys"][0]["kcv"] = keys[0]["kcv"].clone();
    for (claims, refused) in [
        (changed(&claims, "/iss", json!("x")), PackageError::Issuer),
        (changed(&claims, "/transcript", json!(b64([0; 32]))), PackageError::Transcript),
        (changed(&claims, "/activation", json!("ABCDEFH")), PackageError::Transcript),
        (changed(&claims, "/terminal", json!("t-2")), PackageError::Certificate(ChainError::OtherDevice)),
        (changed(&claims, "/certificate_chain/0", json!(b64(other_leaf))), PackageError::Certificate(ChainError::OtherKey)),
        (changed(&claims, "/certificate_chain/0", json!(b64(other_device))), PackageError::Certificate(ChainError::OtherDevice)),
        (changed(&claims, "/certificate_chain/1", json!(b64(&service.root_certificate))), PackageError::Certificate(ChainError::Shape)),
        (changed(&claims, "/certificate_chain", json!([])), PackageError::Certificate(ChainError::Shape)),
        (changed(&claims, "/initial_keys", json!([])), PackageError::Keys),
        (changed(&claims, "/initial_keys", json!([keys[0], keys[0]])), PackageError::Keys),
        (same_ikid, PackageError::Keys),
        (changed(&claims, "/initial_keys/0/ikid", json!("1122334400000008")), PackageError::Keys),
        (changed(&claims, "/initial_keys/1/ikid", json!("AABBCCDE00000007")), PackageError::Keys),
        (changed(&claims, "/initial_keys/1/algorithm", json!("AES-192")), PackageError::Keys),
        (changed(&claims, "/initial_keys/1/wrapped", json!(b64([0; 40]))), PackageError::Unwrap(UnwrapError::Integrity)),
        (changed(&claims, "/initial_keys/1/kcv", json!("0000000000")), PackageError::CheckValue),
    ] {
        let (back, error) = pending.complete(&service.trust(), &service.package(&claims), NOW).expect_err("refused");
        assert_eq!(error, refused);
        pending = *back;
    }
    let (back, error) = pending.complete(&service.trust(), &service.package(&wrong_length), NOW).expect_err("refused");
    assert!(matches!(error, PackageError::Unwrap(UnwrapError::Length(_))));
    let mut by_attestation = service.package(&claims);
    by_attestation.package = statement(&service.attestation, "tillward-package+jwt", &claims);
    let (back, error) = back.complete(&service.trust(), &by_attestation, NOW).expect_err("refused");
    assert!(matches!(error, PackageError::Statement(StatementError::WrongService(_))));
    let turned = changed(&claims, "/initial_keys", json!([keys[1], keys[0]]));
    assert!(back.complete(&service.trust(), &service.package(&turned), NOW).is_ok());
}

#[test]
fn an_attestation_answers_the_challenge_with_mac_and_signature() {
    let service = Service::new();
    let phone = phone(&service);
    let trust = service.trust();
    let claims = Service::challenge_claims(DEVICE, "attest");
    let key = trust.merchant(&phone.certificate_chain()[0].0, NOW).expect("leaf").key().to_owned();
    let mac_key = mac_key(&phone);
    let signed = phone.attest(&trust, &service.challenge(&claims), &findings(), NOW).expect("answered").request;
    assert_eq!(Service::attestation_holds(&signed, &mac_key, &key), (true, Some(true)));
    let plain = phone
        .attest(&trust, &service.challenge(&changed(&claims, "/signature", json!(false))), &findings(), NOW)
        .expect("answered")
        .request;
    assert_eq!(Service::attestation_holds(&plain, &mac_key, &key), (true, None));
    assert!(serde_json::to_value(&plain).expect("JSON").get("signature").is_none());
    let mut tampered = signed.clone();
    tampered.evidence.claims.insert("os_version".to_owned(), json!(99));
    assert_eq!(Service::attestation_holds(&tampered, &mac_key, &key), (false, Some(false)));
    for wrong in [changed(&claims, "/sub", json!("dev_00000000000000000000000000")), changed(&claims, "/purpose", json!("renew"))] {
        assert!(matches!(phone.attest(&trust, &service.challenge(&wrong), &findings(), NOW), Err(PhoneError::Challenge(_))));
    }
}

#[test]
fn a_result_is_taken_only_as_the_answer_to_its_challenge() {
    let service = Service::new();
    let mut phone = phone(&service);
    let trust = service.trust();
    let attestation =
        phone.attest(&trust, &service.challenge(&Service::challenge_claims(DEVICE, "attest")), &findings(), NOW).expect("answered");
    let claims = Service::result_claims();
    for (pointer, value) in [
        ("/eat_nonce", json!(b64([8; 32]))),
        ("/sub", json!("dev_00000000000000000000000000")),
        ("/iss", json!("x")),
        ("/eat_profile", json!("x")),
    ] {
        let wrong = service.result(&changed(&claims, pointer, value));
        assert!(matches!(phone.take_result(&trust, &attestation, &wrong, NOW), Err(PhoneError::OtherResult)), "{pointer}");
    }
    assert!(phone.attestation_result().is_none());
    let contraindicated = changed(&claims, "/submods/phone/ear.status", json!("contraindicated"));
    let taken = phone.take_result(&trust, &attestation, &service.result(&contraindicated), NOW).expect("taken whatever the verdict");
    assert!(!taken.is_affirming());
    assert!(phone.attestation_result().is_some());
}

#[test]
fn a_certificate_is_renewed_over_the_same_key() {
    let service = Service::new();
    let mut phone = phone(&service);
    let trust = service.trust();
    let request = phone.renew(&trust, &service.challenge(&Service::challenge_claims(DEVICE, "renew")), NOW).expect("answered");
    assert!(Service::renewal_holds(&request, &mac_key(&phone)));
    let key = Service::proven_key(&request.csr.0);
    let before = phone.certificate_chain().to_vec();
    let answer = |leaf: Vec<u8>| CertificateAnswer { certificate_chain: vec![leaf.into(), service.issuing_certificate.clone().into()] };
    let foreign = answer(service.leaf(pki::p256().verifying_key(), &Service::leaf_spec()));
    assert!(matches!(phone.take_certificate(&trust, foreign, NOW), Err(PhoneError::Certificate(ChainError::OtherKey))));
    assert_eq!(phone.certificate_chain(), before);
    let mut spec = Service::leaf_spec();
    spec.serial = 78;
    phone.take_certificate(&trust, answer(service.leaf(&key, &spec)), NOW).expect("taken");
    assert_ne!(phone.certificate_chain(), before);
}

#[test]
fn the_back_end_reads_what_the_phone_paid_and_nothing_that_was_changed() {
    let service = Service::new();
    let mut phone = phone(&service);
    for length in [0, 1, 15, 16, 17, 8191] {
        let account = vec![b'4'; length];
        let message = phone.pay(&account, b"order 7").expect("paid");
        assert_eq!(service.decrypt(&message), Some(account));
        let mut changed = message.clone();
        changed.aad = b"order 8".into();
        assert_eq!(service.decrypt(&changed), None);
        let mut changed = message.clone();
        changed.ciphertext.0[0] ^= 1;
        assert_eq!(service.decrypt(&changed), None);
    }
    assert_eq!(phone.last_counter().map(TransactionCounter::get), Some(6));
    assert!(matches!(phone.pay(&[0; 8192], b""), Err(PhoneError::Payment(PaymentError::TooLong))));
    assert!(matches!(phone.pay(b"", &[0; 1025]), Err(PhoneError::Payment(PaymentError::AdditionalDataTooLong))));
    assert!(matches!(phone.pin_block("12", "4111111111111111"), Err(PhoneError::PinBlock(_))));
    assert_eq!(phone.last_counter().map(TransactionCounter::get), Some(6), "a refused payment spends no counter");
    let block = phone.pin_block("1234", "4111111111111111").expect("made");
    assert_eq!(block.ksn.to_string(), format!("{}00000007", crate::service::PIN_IKID));
}

#[test]
fn a_kept_phone_counts_on_after_a_restart() {
    let service = Service::new();
    let directory = tempfile::tempdir().expect("directory");
    let mut phone = attested(&service);
    phone.pay(b"4111", b"").expect("paid");
    phone.save(directory.path()).expect("saved");
    phone.pay(b"4111", b"").expect("paid");
    assert!(matches!(Phone::load(directory.path()), Err(StoreError::InUse(_))));
    assert!(matches!(phone.save(directory.path()), Err(StoreError::InUse(_))));
    let (chain, result) = (phone.certificate_chain().to_vec(), phone.attestation_result().map(str::to_owned));
    drop(phone);
    let mut phone = Phone::load(directory.path()).expect("loaded");
    let message = phone.pay(b"4111", b"").expect("paid");
    assert_eq!(message.ksn.counter.get(), 3);
    assert_eq!(service.decrypt(&message).as_deref(), Some(&b"4111"[..]));
    assert_eq!(phone.certificate_chain(), chain);
    assert_eq!(phone.attestation_result().map(str::to_owned), result);
}

fn copy(from: &Path, to: &Path, names: &[&str]) {
    for name in names {
        std::fs::copy(from.join(name), to.join(name)).expect("copied");
    }
}

#[test]
fn a_second_secret_copied_onto_another_phone_makes_another_mac_key() {
    let service = Service::new();
    let (ours, theirs) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let (mut one, mut other) = (phone(&service), phone(&service));
    let expected = mac_key(&one);
    one.save(ours.path()).expect("saved");
    other.save(theirs.path()).expect("saved");
    drop(one);
    copy(theirs.path(), ours.path(), &["second-secret"]);
    let thief = Phone::load(ours.path()).expect("loaded");
    let trust = service.trust();
    let request =
        thief.attest(&trust, &service.challenge(&Service::challenge_claims(DEVICE, "attest")), &findings(), NOW).expect("answered").request;
    let key = trust.merchant(&thief.certificate_chain()[0].0, NOW).expect("leaf").key().to_owned();
    assert_eq!(Service::attestation_holds(&request, &expected, &key), (false, Some(true)));
}

#[test]
fn known_secrets_are_what_the_phone_used() {
    let service = Service::new();
    let mut phone = phone(&service);
    for _ in 0..3 {
        phone.pay(b"4111", b"").expect("paid");
    }
    let secrets = phone.expose_known_secrets();
    let find = |name: &str| secrets.iter().find(|(known, _)| known == name).map(|(_, secret)| secret.to_vec());
    assert_eq!(find("data initial key").as_deref(), Some(&[0xDA; 32][..]));
    assert_eq!(find("PIN initial key").as_deref(), Some(&[0x91; 16][..]));
    assert_eq!(find("K_mac"), Some(mac_key(&phone)));
    for counter in 1..=3 {
        assert!(find(&format!("data working key of {}{counter:08X}", crate::service::DATA_IKID)).is_some());
        assert!(find(&format!("MAC working key of {}{counter:08X}", crate::service::DATA_IKID)).is_some());
    }
    let distinct: std::collections::HashSet<Vec<u8>> = secrets.iter().map(|(_, secret)| secret.to_vec()).collect();
    // Counter 3 = 11 in binary goes through the transaction key of counter 2, once in each tree.
    assert_eq!(distinct.len() + 2, secrets.len());
    assert!(!format!("{phone:?}").contains("218"), "no key byte is printed");
}
