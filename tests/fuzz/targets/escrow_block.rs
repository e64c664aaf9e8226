//! An escrow block from the database.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::escrow::{Escrow, owner};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(block) = Escrow::parse(bytes) {
        assert_eq!(block.to_bytes(), bytes, "one encoding");
        assert!(block.owner().is_some() && block.owner() == owner(block.label(), block.algorithm()));
    }
});
