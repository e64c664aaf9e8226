//! The PKCS#11 URI of the configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::uri::Pkcs11Uri;

fuzz_target!(|text: &str| {
    let Ok(uri) = text.parse::<Pkcs11Uri>() else { return };
    assert!(uri.module_path().is_absolute() && uri.pin_path().is_absolute());
    assert!((1..=32).contains(&uri.token().len()));
    assert_eq!(uri.to_string().parse(), Ok(uri.clone()), "its own text");
    assert_eq!(Pkcs11Uri::new(uri.token(), uri.module_path(), uri.pin_path()), Ok(uri), "its own parts");
});
