//! The one derivation (ANSI X9.24-3:2017 §6.3): key = AES-ECB(parent, block 1 [| block 2]) cut to length.

use serde::{Deserialize, Serialize};

use crate::ksn::Ikid;

/// Size of an AES key; the algorithm indicator of X9.24-3 table 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// AES-128.
    #[serde(rename = "AES-128")]
    Aes128,
    /// AES-192.
    #[serde(rename = "AES-192")]
    Aes192,
    /// AES-256.
    #[serde(rename = "AES-256")]
    Aes256,
}

impl Algorithm {
    /// The algorithm with keys of `bits` bits.
    pub fn of_bits(bits: u16) -> Option<Self> {
        [Self::Aes128, Self::Aes192, Self::Aes256].into_iter().find(|algorithm| algorithm.bits() == bits)
    }

    /// Key length in bits.
    pub fn bits(self) -> u16 {
        match self {
            Self::Aes128 => 128,
            Self::Aes192 => 192,
            Self::Aes256 => 256,
        }
    }

    /// Key length in bytes.
    pub fn bytes(self) -> usize {
        usize::from(self.bits() / 8)
    }

    /// The name in a personalization package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128 => "AES-128",
            Self::Aes192 => "AES-192",
            Self::Aes256 => "AES-256",
        }
    }

    fn indicator(self) -> u16 {
        match self {
            Self::Aes128 => 2,
            Self::Aes192 => 3,
            Self::Aes256 => 4,
        }
    }
}

/// What a derived key is for; the key usage indicator of X9.24-3 table 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Usage {
    /// 0002: key encryption.
    KeyEncryption,
    /// 1000: PIN encryption.
    PinEncryption,
    /// 2000: MAC, made by the device (request direction).
    MacGeneration,
    /// 2001: MAC, verified by the device (response direction).
    MacVerification,
    /// 2002: MAC, both directions.
    MacBoth,
    /// 3000: data, encrypted by the device (request direction).
    DataEncryption,
    /// 3001: data, decrypted by the device (response direction).
    DataDecryption,
    /// 3002: data, both directions.
    DataBoth,
    /// 8000: a key of the tree.
    Derivation,
    /// 8001: an initial key from a BDK.
    InitialKey,
}

impl Usage {
    /// The indicator.
    pub fn indicator(self) -> u16 {
        match self {
            Self::KeyEncryption => 0x0002,
            Self::PinEncryption => 0x1000,
            Self::MacGeneration => 0x2000,
            Self::MacVerification => 0x2001,
            Self::MacBoth => 0x2002,
            Self::DataEncryption => 0x3000,
            Self::DataDecryption => 0x3001,
            Self::DataBoth => 0x3002,
            Self::Derivation => 0x8000,
            Self::InitialKey => 0x8001,
        }
    }
}

/// Derivation data for a key of `algorithm`: one block, or two where the key is longer than a block.
pub fn derivation_data(usage: Usage, algorithm: Algorithm, identifier: [u8; 8]) -> Vec<u8> {
    let blocks = if algorithm.bytes() > 16 { 1..=2_u8 } else { 1..=1 };
    let mut data = Vec::with_capacity(32);
    for block in blocks {
        data.extend([1, block]);
        data.extend(usage.indicator().to_be_bytes());
        data.extend(algorithm.indicator().to_be_bytes());
        data.extend(algorithm.bits().to_be_bytes());
        data.extend(identifier);
    }
    data
}

/// The identifier below the initial key: derivation id | working counter.
pub fn transaction_identifier(ikid: Ikid, counter: u32) -> [u8; 8] {
    Ikid::new(crate::ksn::BdkId(ikid.derivation().0.to_be_bytes()), crate::ksn::DerivationId(counter)).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXUPPER;

    #[test]
    fn derivation_data_is_that_of_the_published_vectors() {
        // X9.24-3 supplement, AES-128 and AES-256 suites, IKID 1234567890123456.
        let ikid: Ikid = "1234567890123456".parse().expect("parses");
        let initial = derivation_data(Usage::InitialKey, Algorithm::Aes128, ikid.0);
        assert_eq!(HEXUPPER.encode(&initial), "01018001000200801234567890123456");
        let data = derivation_data(Usage::DataEncryption, Algorithm::Aes256, transaction_identifier(ikid, 1));
        assert_eq!(HEXUPPER.encode(&data), "0101300000040100901234560000000101023000000401009012345600000001");
    }

    #[test]
    fn bits_name_an_algorithm() {
        for algorithm in [Algorithm::Aes128, Algorithm::Aes192, Algorithm::Aes256] {
            assert_eq!(Algorithm::of_bits(algorithm.bits()), Some(algorithm));
        }
        assert_eq!(Algorithm::of_bits(64), None);
    }
}
