//! One AES key and what the protocol does with it.

use aes::cipher::{Block, BlockCipherEncrypt, BlockModeEncrypt, KeyInit, KeyIvInit, block_padding::Pkcs7};
use aes::{Aes128, Aes192, Aes256};
use aes_kw::AesKwp;
use cmac::{Cmac, Mac};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// AES by key length, with X9.24-3's algorithm indicator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// 128 bits.
    #[serde(rename = "AES-128")]
    Aes128,
    /// 192 bits. No initial key of this protocol has it; X9.24-3 does.
    #[serde(rename = "AES-192")]
    Aes192,
    /// 256 bits.
    #[serde(rename = "AES-256")]
    Aes256,
}

impl Algorithm {
    /// Key length in bytes.
    pub fn key_length(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// X9.24-3:2017 table 5: algorithm indicator.
    pub fn indicator(self) -> u16 {
        match self {
            Self::Aes128 => 0x0002,
            Self::Aes192 => 0x0003,
            Self::Aes256 => 0x0004,
        }
    }
}

/// The bytes are not of the algorithm's key length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the key length of {algorithm:?}")]
pub struct WrongKeyLength {
    algorithm: Algorithm,
}

/// Why a wrapped key does not come out of its wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// RFC 5649 §3: the integrity check of the unwrapping failed.
    #[error("the wrapped key does not unwrap under this key")]
    Integrity,
    /// It unwraps to another length than the algorithm's.
    #[error("the wrapped key is")]
    Length(#[from] WrongKeyLength),
}

/// An AES key. Wiped when dropped, never shown, never cloned.
pub struct AesKey {
    algorithm: Algorithm,
    bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for AesKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AesKey({:?}, not shown)", self.algorithm)
    }
}

/// `$use` with the cipher type of a key's algorithm.
macro_rules! with_cipher {
    ($key:expr, $cipher:ident => $use:expr) => {
        match $key.algorithm {
            Algorithm::Aes128 => {
                type $cipher = Aes128;
                $use
            }
            Algorithm::Aes192 => {
                type $cipher = Aes192;
                $use
            }
            Algorithm::Aes256 => {
                type $cipher = Aes256;
                $use
            }
        }
    };
}

const LENGTH_HOLDS: &str = "an AesKey has the length of its algorithm";

impl AesKey {
    /// A key of `algorithm`.
    ///
    /// # Errors
    /// [`WrongKeyLength`] if `bytes` are not as long as the algorithm's keys.
    pub fn new(algorithm: Algorithm, bytes: Zeroizing<Vec<u8>>) -> Result<Self, WrongKeyLength> {
        if bytes.len() == algorithm.key_length() { Ok(Self { algorithm, bytes }) } else { Err(WrongKeyLength { algorithm }) }
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key itself.
    pub fn expose_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// One block under AES-ECB.
    pub(crate) fn encrypt_block(&self, block: [u8; 16]) -> [u8; 16] {
        with_cipher!(self, Cipher => {
            let mut block = Block::<Cipher>::from(block);
            Cipher::new_from_slice(&self.bytes).expect(LENGTH_HOLDS).encrypt_block(&mut block);
            block.into()
        })
    }

    /// AES-CMAC (RFC 4493, NIST SP 800-38B) over the parts, one after the other.
    pub fn cmac(&self, parts: &[&[u8]]) -> [u8; 16] {
        with_cipher!(self, Cipher => {
            let mut mac = <Cmac<Cipher> as KeyInit>::new_from_slice(&self.bytes).expect(LENGTH_HOLDS);
            for part in parts {
                mac.update(part);
            }
            mac.finalize().into_bytes().into()
        })
    }

    /// Check value of an AES key (X9.24-1:2017): the first five bytes of the CMAC of a zero block.
    pub fn check_value(&self) -> [u8; 5] {
        *self.cmac(&[&[0; 16]]).first_chunk().expect("a MAC has 16 bytes")
    }

    /// AES-CBC with PKCS #7 padding (RFC 5652 §6.3): always at least one byte of padding.
    pub fn encrypt_cbc(&self, iv: &[u8; 16], plaintext: &[u8]) -> Vec<u8> {
        let mut buffer = plaintext.to_vec();
        buffer.resize((plaintext.len() / 16 + 1) * 16, 0);
        with_cipher!(self, Cipher => {
            let encryptor = cbc::Encryptor::<Cipher>::new_from_slices(&self.bytes, iv).expect(LENGTH_HOLDS);
            encryptor.encrypt_padded::<Pkcs7>(&mut buffer, plaintext.len()).expect("the buffer has room for the padding");
        });
        buffer
    }

    /// Wraps key bytes under this key by AES-KWP (RFC 5649 §4.1).
    pub(crate) fn wrap(&self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; bytes.len().next_multiple_of(8) + 8];
        with_cipher!(self, Cipher => {
            let kwp = AesKwp::<Cipher>::new_from_slice(&self.bytes).expect(LENGTH_HOLDS);
            kwp.wrap_key(bytes, &mut buffer).expect("a key is not empty").to_vec()
        })
    }

    /// Unwraps a key of `algorithm` that is wrapped under this one by AES-KWP (RFC 5649 §4.2, NIST SP 800-38F §6.3).
    ///
    /// # Errors
    /// [`UnwrapError`] if the wrapping fails its own check, or the key has another length.
    pub fn unwrap_key(&self, wrapped: &[u8], algorithm: Algorithm) -> Result<Self, UnwrapError> {
        let mut buffer = Zeroizing::new(vec![0; wrapped.len()]);
        let bytes = with_cipher!(self, Cipher => {
            let kwp = AesKwp::<Cipher>::new_from_slice(&self.bytes).expect(LENGTH_HOLDS);
            Zeroizing::new(kwp.unwrap_key(wrapped, &mut buffer).map_err(|_| UnwrapError::Integrity)?.to_vec())
        });
        Ok(Self::new(algorithm, bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{aes_key, hex};
    use proptest::prelude::*;

    #[test]
    fn cmac_gives_the_values_of_rfc_4493() {
        let key = aes_key("2B7E151628AED2A6ABF7158809CF4F3C");
        let message = hex(
            "6BC1BEE22E409F96E93D7E117393172AAE2D8A571E03AC9C9EB76FAC45AF8E5130C81C46A35CE411E5FBC1191A0A52EFF69F2445DF4F9B17AD2B417BE66C3710",
        );
        for (length, mac) in [
            (0, "BB1D6929E95937287FA37D129B756746"),
            (16, "070A16B46B4D4144F79BDD9DD04A287C"),
            (40, "DFA66747DE9AE63030CA32611497C827"),
            (64, "51F0BEBF7E3B9D92FC49741779363CFE"),
        ] {
            assert_eq!(key.cmac(&[&message[..length]]).to_vec(), hex(mac), "{length} bytes");
        }
        assert_eq!(key.cmac(&[&message[..7], &message[7..40]]), key.cmac(&[&message[..40]]));
    }

    #[test]
    fn unwrapping_gives_the_values_of_rfc_5649() {
        let kek = aes_key("5840DF6E29B02AF1AB493B705BF16EA1AE8338F4DCC176A8");
        let mut buffer = vec![0; 32];
        let kwp = AesKwp::<Aes192>::new_from_slice(kek.expose_bytes()).expect("24 bytes");
        let twenty = hex("138BDEAA9B8FA7FC61F97742E72248EE5AE6AE5360D1AE6A5F54F373FA543B6A");
        assert_eq!(kwp.unwrap_key(&twenty, &mut buffer).expect("RFC 5649 §6"), hex("C37B7E6492584340BED12207808941155068F738"));
        assert_eq!(
            kek.unwrap_key(&twenty, Algorithm::Aes128).err(),
            Some(UnwrapError::Length(WrongKeyLength { algorithm: Algorithm::Aes128 }))
        );
        let seven = hex("AFBEB0F07DFBF5419200F2CCB50BB24F");
        assert_eq!(kwp.unwrap_key(&seven, &mut buffer).expect("RFC 5649 §6"), hex("466F7250617369"));
    }

    #[test]
    fn check_values_are_those_of_x9_24_1() {
        for (key, value) in [
            ("3F419E1CB7079442AA37474C2EFBF8B8", "08793E25AB"),
            ("FEDCBA9876543210F1F1F1F1F1F1F1F1", "FF0BD7C455"),
            ("FEDCBA9876543210F1F1F1F1F1F1F1F1FEDCBA9876543210", "67AAE1AF6D"),
            ("FEDCBA9876543210F1F1F1F1F1F1F1F1FEDCBA9876543210F1F1F1F1F1F1F1F1", "410EDFCA2A"),
        ] {
            assert_eq!(aes_key(key).check_value().to_vec(), hex(value), "{key}");
        }
    }

    #[test]
    fn cbc_gives_the_values_of_sp_800_38a_and_pads_a_whole_block() {
        let key = aes_key("2B7E151628AED2A6ABF7158809CF4F3C");
        let iv = hex("000102030405060708090A0B0C0D0E0F").try_into().expect("16 bytes");
        let cipher = key.encrypt_cbc(&iv, &hex("6BC1BEE22E409F96E93D7E117393172A"));
        assert_eq!(cipher[..16], hex("7649ABAC8119B246CEE98E9B12E9197D"));
        assert_eq!(cipher.len(), 32);
        assert_eq!(key.encrypt_cbc(&iv, b"").len(), 16);
    }

    proptest! {
        #[test]
        fn a_wrapped_key_unwraps_and_a_changed_one_does_not(kek: [u8; 32], key: [u8; 32], place in 0_usize..40, bit in 0_u32..8) {
            let kek = AesKey::new(Algorithm::Aes256, Zeroizing::new(kek.to_vec())).expect("32 bytes");
            let mut buffer = [0; 40];
            let kwp = AesKwp::<Aes256>::new_from_slice(kek.expose_bytes()).expect("32 bytes");
            let mut wrapped = kwp.wrap_key(&key, &mut buffer).expect("wraps").to_vec();
            let unwrapped = kek.unwrap_key(&wrapped, Algorithm::Aes256).expect("unwraps");
            prop_assert_eq!(unwrapped.expose_bytes(), key);
            wrapped[place] ^= 1 << bit;
            prop_assert_eq!(kek.unwrap_key(&wrapped, Algorithm::Aes256).err(), Some(UnwrapError::Integrity));
        }

        #[test]
        fn no_wrapped_bytes_panic(wrapped: Vec<u8>) {
            let kek = aes_key("2B7E151628AED2A6ABF7158809CF4F3C");
            prop_assert!(kek.unwrap_key(&wrapped, Algorithm::Aes128).is_err());
        }
    }

    #[test]
    fn a_key_shows_nothing() {
        assert_eq!(format!("{:?}", aes_key("2B7E151628AED2A6ABF7158809CF4F3C")), "AesKey(Aes128, not shown)");
    }
}
