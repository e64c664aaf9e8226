//! The small bodies of the device listener: both challenge requests and the certificate renewal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::attestation::request::{ChallengeRequest, DevicePurpose, RenewalRequest};
use tillward_fuzz::enrolment::request::EnrolmentChallengeRequest;
use tillward_fuzz::sent::Sent;

fuzz_target!(|body: &[u8]| {
    if let Ok(request) = EnrolmentChallengeRequest::parse(body) {
        assert_eq!(Sent::read(body, 1).text("activation"), request.activation.as_str());
    }
    if let Ok(request) = ChallengeRequest::parse(body) {
        let sent = Sent::read(body, 1);
        assert_eq!(sent.text("purpose"), if request.purpose == DevicePurpose::Attest { "attest" } else { "renew" });
    }
    if let Ok(request) = RenewalRequest::parse(body) {
        let sent = Sent::read(body, 3);
        assert_eq!(sent.text("challenge"), request.challenge);
        sent.is_bytes("csr", &request.csr);
        sent.is_bytes("mac", &request.mac);
    }
});
