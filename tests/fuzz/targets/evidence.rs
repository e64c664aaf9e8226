//! An attestation's body, and its evidence against a challenge that demands every claim and one that demands a single one.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::attestation::challenge::{Target, VerifiedChallenge};
use tillward_fuzz::attestation::evidence::Evidence;
use tillward_fuzz::attestation::request::AttestationRequest;
use tillward_fuzz::jose::Typ;
use tillward_fuzz::sent::Sent;
use tillward_fuzz::signer::{self, DEVICE, ISSUER, NOW};

static CHALLENGES: LazyLock<[VerifiedChallenge; 2]> = LazyLock::new(|| {
    let all = ["app_digest", "os_version", "patch_level", "debugger", "root", "emulator"];
    [&all[..], &["root"]].map(|demanded| {
        let jws = signer::jws(Typ::Challenge, signer::challenge_claims(demanded).to_string().as_bytes());
        let device = DEVICE.parse().expect("a device id");
        VerifiedChallenge::verify(jws, &signer::verifying_key(), ISSUER, Target::Attest(&device), NOW).expect("made for this")
    })
});

fuzz_target!(|body: &[u8]| {
    let Ok(request) = AttestationRequest::parse(body) else { return };
    let sent = Sent::read(body, if request.signature.is_some() { 4 } else { 3 });
    assert_eq!(sent.text("challenge"), request.challenge);
    sent.is_bytes("mac", &request.mac);
    if let Some(signature) = request.signature {
        sent.is_bytes("signature", &signature);
    }
    let mut parsed = 0;
    for challenge in &*CHALLENGES {
        let Ok(evidence) = Evidence::parse(&request.evidence, challenge) else { continue };
        parsed += 1;
        // The canonical form is evidence too, with the same canonical form and digest.
        let canonical = std::str::from_utf8(evidence.canonical()).expect("JSON");
        let again = format!(r#"{{"challenge":"a","evidence":{canonical},"mac":"AAAAAAAAAAAAAAAAAAAAAA"}}"#);
        let again = AttestationRequest::parse(again.as_bytes()).expect("parses");
        let again = Evidence::parse(&again.evidence, challenge).expect("its own canonical form");
        assert_eq!((again.canonical(), again.digest()), (evidence.canonical(), evidence.digest()));
    }
    assert!(parsed <= 1, "evidence answers one demand exactly");
});
