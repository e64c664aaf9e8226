//! A key block that a partner sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::block::Block;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(block) = Block::parse(bytes) {
        assert_eq!(block.to_text().as_bytes(), bytes, "one encoding");
        assert!(block.label().is_none_or(|label| label.bytes().all(|byte| byte.is_ascii_graphic())));
    }
});
