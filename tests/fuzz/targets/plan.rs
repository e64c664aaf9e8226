//! A plan as it is signed, from the database, a bundle or the socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::plan::Plan;

fuzz_target!(|bytes: &[u8]| {
    let Ok(plan) = Plan::parse(bytes) else { return };
    assert_eq!(plan.to_bytes(), bytes, "one encoding");
    assert!(plan.quorum >= 2 && plan.created < plan.expires);
    assert_eq!(Plan::parse(&plan.to_bytes()).map(|again| again.hash()), Ok(plan.hash()));
});
