//! Storage key block: how a key of a phone rests in the database.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `TWKB` |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | usage: 1 second secret |
//! | 6 | 1 | algorithm: 4 AES-256 |
//! | 7 | 1 | reserved, 0 |
//! | 8 | 2 | key length in bits, 256 |
//! | 10 | 2 | version of `storage-kek` and `storage-mac` |
//! | 12 | 4 | length of the wrapped key in bytes, 40 |
//! | 16 | 8 | identifier: IKID of the data key of the phone that it belongs to |
//! | 24 | 40 | key, AES-KWP (RFC 5649) under `storage-kek` |
//! | 64 | 16 | AES-CMAC (RFC 4493) under `storage-mac` over bytes 0 to 63 |
//!
//! Numbers are big endian. Parsing proves the form only; the MAC is verified on the token before anything is unwrapped.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ksn::Ikid;

const MAGIC: &[u8; 4] = b"TWKB";
const VERSION: u8 = 1;
const USAGE_SECOND_SECRET: u8 = 1;
const ALGORITHM_AES_256: u8 = 4;
const BITS: u16 = 256;

/// A wrapped AES-256: 32 bytes and KWP's 8.
pub const WRAPPED_LENGTH: usize = 40;
/// Header, wrapped key, CMAC.
pub const LENGTH: usize = 24 + WRAPPED_LENGTH + 16;

/// Why bytes are not a key block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyBlockError {
    /// Not the one length.
    #[error("a key block is {LENGTH} bytes long")]
    Length,
    /// A header field has a value that this version does not know.
    #[error("the key block's {field} is not known")]
    Header {
        /// Which field.
        field: &'static str,
    },
}

/// A second secret at rest. Holds ciphertext only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct KeyBlock {
    kek_version: u16,
    identifier: Ikid,
    wrapped: [u8; WRAPPED_LENGTH],
    mac: [u8; 16],
}

impl KeyBlock {
    /// Reads a key block. Its MAC is not verified here.
    ///
    /// # Errors
    /// [`KeyBlockError`] names the field.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyBlockError> {
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| KeyBlockError::Length)?;
        let (header, rest) = bytes.split_first_chunk::<24>().ok_or(KeyBlockError::Length)?;
        let (wrapped, mac) = rest.split_first_chunk::<WRAPPED_LENGTH>().ok_or(KeyBlockError::Length)?;
        let mac: &[u8; 16] = mac.try_into().map_err(|_| KeyBlockError::Length)?;
        let [m0, m1, m2, m3, version, usage, algorithm, reserved, b0, b1, k0, k1, l0, l1, l2, l3, identifier @ ..] = *header;
        let known = [
            ([m0, m1, m2, m3] == *MAGIC, "magic"),
            (version == VERSION, "version"),
            (usage == USAGE_SECOND_SECRET, "usage"),
            (algorithm == ALGORITHM_AES_256, "algorithm"),
            (reserved == 0, "reserved byte"),
            (u16::from_be_bytes([b0, b1]) == BITS, "key length"),
            (usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])) == Ok(WRAPPED_LENGTH), "wrapped length"),
        ];
        if let Some((_, field)) = known.into_iter().find(|(known, _)| !known) {
            return Err(KeyBlockError::Header { field });
        }
        Ok(Self { kek_version: u16::from_be_bytes([k0, k1]), identifier: Ikid(identifier), wrapped: *wrapped, mac: *mac })
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = authenticated(self.kek_version, self.identifier, &self.wrapped);
        bytes.extend(self.mac);
        bytes
    }

    /// Whose secret it is: IKID of the phone's data key.
    pub fn identifier(&self) -> Ikid {
        self.identifier
    }

    /// Version of the storage keys.
    pub fn kek_version(&self) -> u16 {
        self.kek_version
    }

    pub(crate) fn new(kek_version: u16, identifier: Ikid, wrapped: [u8; WRAPPED_LENGTH], mac: [u8; 16]) -> Self {
        Self { kek_version, identifier, wrapped, mac }
    }

    pub(crate) fn wrapped(&self) -> &[u8; WRAPPED_LENGTH] {
        &self.wrapped
    }

    pub(crate) fn mac(&self) -> &[u8; 16] {
        &self.mac
    }

    /// What the MAC covers.
    pub(crate) fn authenticated(&self) -> Vec<u8> {
        authenticated(self.kek_version, self.identifier, &self.wrapped)
    }
}

/// Header and wrapped key: what the MAC of a block is made over.
pub(crate) fn authenticated(kek_version: u16, identifier: Ikid, wrapped: &[u8; WRAPPED_LENGTH]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend(MAGIC);
    bytes.extend([VERSION, USAGE_SECOND_SECRET, ALGORITHM_AES_256, 0]);
    bytes.extend(BITS.to_be_bytes());
    bytes.extend(kek_version.to_be_bytes());
    bytes.extend([0, 0, 0, 40]);
    bytes.extend(identifier.0);
    bytes.extend(wrapped);
    bytes
}

impl TryFrom<Vec<u8>> for KeyBlock {
    type Error = KeyBlockError;
    fn try_from(bytes: Vec<u8>) -> Result<Self, KeyBlockError> {
        Self::parse(&bytes)
    }
}

impl From<KeyBlock> for Vec<u8> {
    fn from(block: KeyBlock) -> Self {
        block.to_bytes()
    }
}

impl fmt::Debug for KeyBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyBlock({}, kek {})", self.identifier, self.kek_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_block_parses_to_itself(version: u16, identifier: [u8; 8], key in proptest::collection::vec(any::<u8>(), 40), mac: [u8; 16]) {
            let block = KeyBlock::new(version, Ikid(identifier), key.try_into().expect("40"), mac);
            let bytes = block.to_bytes();
            prop_assert_eq!(bytes.len(), LENGTH);
            prop_assert_eq!(KeyBlock::parse(&bytes), Ok(block));
        }

        #[test]
        fn what_parses_is_written_back_byte_for_byte(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), header in any::<bool>()) {
            if header && bytes.len() == LENGTH {
                let good = authenticated(1, Ikid([0; 8]), &[0; WRAPPED_LENGTH]);
                bytes[..10].copy_from_slice(&good[..10]);
                bytes[12..16].copy_from_slice(&good[12..16]);
            }
            if let Ok(block) = KeyBlock::parse(&bytes) { prop_assert_eq!(block.to_bytes(), bytes); }
        }
    }

    #[test]
    fn every_other_header_value_is_refused() {
        let good = KeyBlock::new(1, Ikid([7; 8]), [9; WRAPPED_LENGTH], [3; 16]).to_bytes();
        let fixed: Vec<usize> = (0..10).chain(12..16).collect();
        for at in fixed {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(matches!(KeyBlock::parse(&bad), Err(KeyBlockError::Header { .. })), "byte {at}");
        }
        for length in (0..200).filter(|length| *length != LENGTH) {
            let mut bad = good.clone();
            bad.resize(length, 0);
            assert_eq!(KeyBlock::parse(&bad), Err(KeyBlockError::Length));
        }
    }
}
