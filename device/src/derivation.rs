//! The one derivation (docs/protocol.md §5; ANSI X9.24-3:2017 §6.3).

use zeroize::Zeroizing;

use crate::key::AesKey;
use crate::ksn::Ikid;

/// What a derived key is for: X9.24-3:2017 table 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Key encryption.
    KeyEncryption,
    /// PIN encryption.
    Pin,
    /// Message authentication, from the phone to the host.
    MacGeneration,
    /// Message authentication, both ways.
    Mac,
    /// Data encryption, from the phone to the host.
    DataEncryption,
    /// Another step of the tree.
    Derivation,
}

impl Usage {
    pub(crate) fn indicator(self) -> u16 {
        match self {
            Self::KeyEncryption => 0x0002,
            Self::Pin => 0x1000,
            Self::MacGeneration => 0x2000,
            Self::Mac => 0x2002,
            Self::DataEncryption => 0x3000,
            Self::Derivation => 0x8000,
        }
    }
}

/// A key of the same algorithm as its parent.
pub fn derive(parent: &AesKey, usage: Usage, identifier: [u8; 8]) -> AesKey {
    let algorithm = parent.algorithm();
    let bytes = derive_bytes(parent, usage.indicator(), algorithm.indicator(), algorithm.key_length(), identifier);
    AesKey::new(algorithm, bytes).expect("the derivation gives the length that is asked for")
}

/// The identifier of every derivation of the tree: IKID\[4..8\] ‖ counter.
pub(crate) fn tree_identifier(ikid: Ikid, counter: u32) -> [u8; 8] {
    let derivation = u32::from_be_bytes(ikid.derivation_id());
    (u64::from(derivation) << 32 | u64::from(counter)).to_be_bytes()
}

/// AES-ECB(parent, block 1 \[‖ block 2\]) cut to `length` bytes, by indicators: X9.24-3 has more than [`Usage`] names.
pub(crate) fn derive_bytes(parent: &AesKey, usage: u16, algorithm: u16, length: usize, identifier: [u8; 8]) -> Zeroizing<Vec<u8>> {
    let bits = u16::try_from(length * 8).expect("no key is longer than 256 bits");
    let mut bytes = Zeroizing::new(Vec::with_capacity(32));
    for block in 1..=2 {
        if bytes.len() < length {
            let cipher = Zeroizing::new(parent.encrypt_block(derivation_data(block, usage, algorithm, bits, identifier)));
            bytes.extend_from_slice(cipher.as_slice());
        }
    }
    bytes.truncate(length);
    bytes
}

/// `01` ‖ block ‖ usage ‖ algorithm ‖ length in bits ‖ identifier (X9.24-3:2017 table 3).
fn derivation_data(block: u8, usage: u16, algorithm: u16, bits: u16, identifier: [u8; 8]) -> [u8; 16] {
    let [[u0, u1], [a0, a1], [b0, b1]] = [usage, algorithm, bits].map(u16::to_be_bytes);
    let [i0, i1, i2, i3, i4, i5, i6, i7] = identifier;
    [1, block, u0, u1, a0, a1, b0, b1, i0, i1, i2, i3, i4, i5, i6, i7]
}
