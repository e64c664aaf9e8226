//! A key block from the database.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::keyblock::{KeyBlock, LENGTH};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(block) = KeyBlock::parse(bytes) {
        assert_eq!((bytes.len(), block.to_bytes().as_slice()), (LENGTH, bytes));
        assert_eq!(bytes[16..24], block.identifier().0);
    }
});
