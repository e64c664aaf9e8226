//! A partner's public key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::partner::PartnerKey;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = PartnerKey::parse(bytes) {
        assert!(key.modulus.len() >= 384 && key.modulus.len() <= 1024 && key.modulus[0] != 0 && key.exponent[0] != 0);
        assert!(key.modulus.last().is_some_and(|last| last % 2 == 1) && key.exponent.last().is_some_and(|last| last % 2 == 1));
    }
});
