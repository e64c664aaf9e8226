//! A compact JWS: what parses has one text, and verifies for one kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::jose::{Compact, Thumbprint, Typ};
use tillward_fuzz::signer;
use tillward_fuzz::wire::b64url;

fuzz_target!(|text: &str| {
    let Ok(jws) = Compact::parse(text) else { return };
    let kid = jws.kid().to_string();
    assert_eq!(Thumbprint::parse(&kid).as_ref(), Some(jws.kid()));
    let parts: Vec<_> = text.split('.').collect();
    assert_eq!(parts.len(), 3);
    for part in parts {
        assert_eq!(b64url::encode(&b64url::decode(part).expect("base64url")), part, "two texts for one token");
    }
    let key = signer::verifying_key();
    let kinds = Typ::ALL.into_iter().filter(|typ| Compact::parse(text).is_ok_and(|jws| jws.verify(*typ, &key).is_ok()));
    assert!(kinds.count() <= 1);
});
