//! The socket between the service and the HSM host.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tillward_fuzz::hsm_wire::check(bytes));
