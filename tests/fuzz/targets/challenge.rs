//! The claims of a challenge, under a signature that fits: the content that an attacker with the signing key's blind eye would send.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::attestation::challenge::{Purpose, Target, VerifiedChallenge};
use tillward_fuzz::id::DeviceId;
use tillward_fuzz::jose::Typ;
use tillward_fuzz::signer::{self, DEVICE, ISSUER, NOW};
use tillward_fuzz::wire::hex;

fuzz_target!(|claims: &[u8]| {
    let device: DeviceId = DEVICE.parse().expect("a device id");
    let jws = signer::jws(Typ::Challenge, claims);
    let key = signer::verifying_key();
    let Ok(challenge) = VerifiedChallenge::verify(jws.clone(), &key, ISSUER, Target::Attest(&device), NOW) else { return };
    assert_eq!((challenge.text(), challenge.purpose()), (jws.as_str(), Purpose::Attest));
    assert!(challenge.expires() > NOW);
    let sent: serde_json::Value = serde_json::from_slice(claims).expect("what verifies is JSON");
    assert_eq!(sent["sub"], DEVICE);
    assert_eq!(sent["ikid"], hex::encode(challenge.ikid()).as_str());
    assert_eq!(sent["nonce"], tillward_fuzz::wire::b64url::encode(challenge.nonce()).as_str());
    assert_eq!(sent["claims"].as_array().map(Vec::len), Some(challenge.claims().iter().count()));
    // One challenge is for one purpose, and over at its end.
    assert!(VerifiedChallenge::verify(jws.clone(), &key, ISSUER, Target::Renew(&device), NOW).is_err());
    assert!(VerifiedChallenge::verify(jws, &key, ISSUER, Target::Attest(&device), challenge.expires()).is_err());
});
