//! What the tests of several modules share.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::key::{AesKey, Algorithm};

/// Bytes of an upper-case hexadecimal text.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXUPPER.decode(text.as_bytes()).expect("upper-case hexadecimal")
}

/// An AES key of 16, 24 or 32 bytes.
pub(crate) fn aes_key(text: &str) -> AesKey {
    let bytes = Zeroizing::new(hex(text));
    let algorithm =
        [Algorithm::Aes128, Algorithm::Aes192, Algorithm::Aes256].into_iter().find(|algorithm| algorithm.key_length() == bytes.len());
    AesKey::new(algorithm.expect("an AES key length"), bytes).expect("length fits")
}

/// A file of the shared vectors: from `TILLWARD_VECTORS`, else from beside the workspace. A missing file is said loudly.
pub(crate) fn vectors(name: &str) -> Option<Value> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors");
    let directory = configured("TILLWARD_VECTORS").unwrap_or_else(|| beside.to_owned());
    let path = std::path::Path::new(&directory).join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).expect("the vectors are JSON")),
        Err(error) => {
            eprintln!("SKIPPED: no vectors at {}: {error}", path.display());
            None
        }
    }
}

/// A variable of the test run.
#[expect(clippy::disallowed_methods, reason = "a test run has no configuration file")]
pub(crate) fn configured(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
