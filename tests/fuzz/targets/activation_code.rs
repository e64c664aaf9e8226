//! The activation code as a person types it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::enrolment::code::ActivationCode;

fuzz_target!(|typed: &str| {
    let Ok(code) = ActivationCode::parse(typed) else { return };
    let symbols = code.expose_symbols();
    assert_eq!((symbols.len(), &symbols[..7]), (24, code.id().as_str()));
    for again in [symbols.to_owned(), code.expose_groups().to_string(), symbols.to_lowercase()] {
        assert_eq!(ActivationCode::parse(&again).expect("its own text").expose_symbols(), symbols);
    }
    // Another check symbol never fits: the last one follows from the others.
    let other = if symbols.ends_with('0') { "1" } else { "0" };
    assert!(ActivationCode::parse(&format!("{}{other}", &symbols[..23])).is_err());
});
