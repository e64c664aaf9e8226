//! A certificate request, as it came and with a signature that fits it: what is proven has our form, our algorithm and our key.
#![no_main]

use der::{Decode, Encode};
use libfuzzer_sys::fuzz_target;
use tillward_fuzz::enrolment::request::MAX_CSR;
use tillward_fuzz::pki::request::ProvenRequest;
use tillward_fuzz::signer::{self, ECDSA_SHA256};
use x509_cert::request::CertReq;

fn prove(der: &[u8]) -> bool {
    let Ok(proven) = ProvenRequest::prove(der) else { return false };
    let request = CertReq::from_der(der).expect("it was proven");
    assert!(der.len() <= MAX_CSR);
    assert_eq!(request.to_der().expect("encodes"), der, "not DER");
    assert!(request.algorithm.oid == ECDSA_SHA256 && request.algorithm.parameters.is_none());
    assert!(request.info.public_key.subject_public_key.raw_bytes() == proven.key().to_sec1_point(false).as_bytes());
    true
}

fuzz_target!(|der: &[u8]| {
    prove(der);
    let Some(mut signed) = CertReq::from_der(der).ok().and_then(signer::signed_request) else { return };
    if prove(&signed) {
        let last = signed.last_mut().expect("not empty");
        *last ^= 1;
        assert!(!prove(&signed), "a changed signature proves nothing");
    }
});
