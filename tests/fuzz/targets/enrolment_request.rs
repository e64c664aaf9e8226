//! The body that a phone sends to enrol.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::enrolment::code::ActivationCode;
use tillward_fuzz::enrolment::request::EnrolmentRequest;
use tillward_fuzz::sent::Sent;

fuzz_target!(|body: &[u8]| {
    let Ok(request) = EnrolmentRequest::parse(body) else { return };
    let sent = Sent::read(body, 7);
    let code = ActivationCode::parse(sent.text("code")).expect("it parsed before");
    assert_eq!(code.expose_symbols(), request.code.expose_symbols());
    assert_eq!(sent.text("challenge"), request.challenge);
    sent.is_bytes("transport_kid", &request.transport_kid);
    sent.is_bytes("wrapped_secret", &request.wrapped_secret);
    sent.is_bytes("csr", &request.csr);
    sent.is_bytes("mac", &request.mac);
    assert!(matches!(request.wrapped_secret.len(), 105 | 384 | 512));
    assert!(!format!("{request:?}").contains(&request.code.expose_symbols()[7..]), "Debug shows the secret");
});
