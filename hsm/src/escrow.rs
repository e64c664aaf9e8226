//! Escrow block: how the material of a key that may be exported rests in the database. Pure.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `TWEB` |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | algorithm: 2 AES-128, 4 AES-256 (X9.24-3 table 2) |
//! | 6 | 2 | key length in bits |
//! | 8 | 2 | version of `export-kek` and `storage-mac` |
//! | 10 | 1 | length of the label, `n` |
//! | 11 | 1 | length of the wrapped key, `w`: 24 or 40 |
//! | 12 | n | label of the key on the token, ASCII |
//! | 12 + n | w | key, AES-KWP (RFC 5649) under `export-kek` |
//! | 12 + n + w | 16 | AES-CMAC (RFC 4493) under `storage-mac` over everything before it |
//!
//! Numbers are big endian. The first four bytes keep what `storage-mac` says here apart from what it says of storage key blocks (`TWKB`). Parsing
//! proves the form only; the MAC is verified on the token before anything is unwrapped.

use std::fmt;

use crate::derivation::Algorithm;
use crate::ksn::BdkId;
use crate::managed::{KeyAlgorithm, KeyRef, Purpose};
use crate::model::KeyPurpose;

const MAGIC: &[u8; 4] = b"TWEB";
const VERSION: u8 = 1;
const HEADER: usize = 12;
const MAC: usize = 16;

/// Why bytes are not an escrow block. Never repeats them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an escrow block: {0}")]
pub struct EscrowError(pub &'static str);

/// The material of a key that may be exported, at rest. Holds ciphertext only.
#[derive(Clone, PartialEq, Eq)]
pub struct Escrow {
    label: String,
    algorithm: Algorithm,
    kek_version: u16,
    wrapped: Vec<u8>,
    mac: [u8; MAC],
}

impl Escrow {
    /// Reads an escrow block. Its MAC is not verified here.
    ///
    /// # Errors
    /// [`EscrowError`] names the field.
    pub fn parse(bytes: &[u8]) -> Result<Self, EscrowError> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(EscrowError("it is too short"))?;
        let [m0, m1, m2, m3, version, algorithm, b0, b1, k0, k1, label_length, wrapped_length] = *header;
        if [m0, m1, m2, m3] != *MAGIC {
            return Err(EscrowError("magic"));
        }
        if version != VERSION {
            return Err(EscrowError("version"));
        }
        let algorithm = match algorithm {
            2 => Algorithm::Aes128,
            4 => Algorithm::Aes256,
            _ => return Err(EscrowError("algorithm")),
        };
        if u16::from_be_bytes([b0, b1]) != algorithm.bits() {
            return Err(EscrowError("key length"));
        }
        if usize::from(wrapped_length) != wrapped_bytes(algorithm) {
            return Err(EscrowError("wrapped length"));
        }
        let (label, rest) = rest.split_at_checked(usize::from(label_length)).ok_or(EscrowError("label length"))?;
        let (wrapped, mac) = rest.split_at_checked(usize::from(wrapped_length)).ok_or(EscrowError("it is too short"))?;
        let mac = mac.try_into().map_err(|_| EscrowError("its length"))?;
        let label = std::str::from_utf8(label).map_err(|_| EscrowError("label"))?.to_owned();
        let kek_version = u16::from_be_bytes([k0, k1]);
        let escrow = Self { label, algorithm, kek_version, wrapped: wrapped.to_vec(), mac };
        if escrow.owner().is_some() { Ok(escrow) } else { Err(EscrowError("label")) }
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.authenticated();
        bytes.extend(self.mac);
        bytes
    }

    /// Label of the key on the token.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Type and length of the key.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Version of `export-kek` and `storage-mac`.
    pub fn kek_version(&self) -> u16 {
        self.kek_version
    }

    /// The key as a plan names it.
    pub fn owner(&self) -> Option<KeyRef> {
        owner(&self.label, self.algorithm)
    }

    /// A block around a wrapped key, once `authenticate` has made the MAC over header and key.
    ///
    /// # Errors
    /// What `authenticate` fails with; [`EscrowError`] where label, length and algorithm are not those of a key that can be exported.
    pub(crate) fn seal<E: From<EscrowError>>(
        label: &str,
        algorithm: Algorithm,
        kek_version: u16,
        wrapped: Vec<u8>,
        authenticate: impl FnOnce(&[u8]) -> Result<[u8; MAC], E>,
    ) -> Result<Self, E> {
        let mut escrow = Self { label: label.to_owned(), algorithm, kek_version, wrapped, mac: [0; MAC] };
        if escrow.owner().is_none() || escrow.wrapped.len() != wrapped_bytes(algorithm) {
            return Err(EscrowError("label").into());
        }
        escrow.mac = authenticate(&escrow.authenticated())?;
        Ok(escrow)
    }

    pub(crate) fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    pub(crate) fn mac(&self) -> &[u8; MAC] {
        &self.mac
    }

    /// What the MAC covers.
    pub(crate) fn authenticated(&self) -> Vec<u8> {
        // A label that has an owner is shorter than 256 bytes, as is a wrapped key.
        let length = |part: usize| u8::try_from(part).unwrap_or(u8::MAX);
        let mut bytes = MAGIC.to_vec();
        bytes.extend([VERSION, if self.algorithm == Algorithm::Aes128 { 2 } else { 4 }]);
        bytes.extend(self.algorithm.bits().to_be_bytes());
        bytes.extend(self.kek_version.to_be_bytes());
        bytes.extend([length(self.label.len()), length(self.wrapped.len())]);
        bytes.extend(self.label.as_bytes());
        bytes.extend(&self.wrapped);
        bytes
    }
}

impl fmt::Debug for Escrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Escrow({}, {})", self.label, self.algorithm.name())
    }
}

/// An AES key of that length under KWP: RFC 5649 §4.1 adds eight bytes.
pub fn wrapped_bytes(algorithm: Algorithm) -> usize {
    algorithm.bytes().saturating_add(8)
}

/// The AES key that a managed key is. `None` for a key that cannot be exported or imported: key pairs, whose private half stays where it was made, and
/// HMAC secrets, because `storage-kek` holds what it unwraps to AES.
pub fn travels_as(key: &KeyRef) -> Option<Algorithm> {
    let algorithm = match key.algorithm {
        KeyAlgorithm::Aes128 => Algorithm::Aes128,
        KeyAlgorithm::Aes256 => Algorithm::Aes256,
        _ => return None,
    };
    // A key that wraps would open, at the partner's, what others wrapped under it here.
    matches!(key.purpose, Purpose::Mac | Purpose::Encrypt | Purpose::Derive).then_some(algorithm)
}

/// The key that a label on the token names, as a plan names it. A base derivation key has a label of its own class, and is named
/// `bdk-pin.<acquirer>` or `bdk-data.<acquirer>`, version 1, purpose derive; no managed key may have such a name ([`KeyRef::parse`]).
pub fn owner(label: &str, algorithm: Algorithm) -> Option<KeyRef> {
    if let Some(key) = KeyRef::parse(label) {
        return (travels_as(&key) == Some(algorithm)).then_some(key);
    }
    let mut parts = label.split(':');
    let (class, acquirer, id) = (parts.next()?, parts.next()?, parts.next()?);
    let purpose = match class {
        "bdk-pin" => KeyPurpose::Pin,
        "bdk-data" => KeyPurpose::Data,
        _ => return None,
    };
    id.parse::<BdkId>().ok()?;
    if parts.next().is_some() {
        return None;
    }
    bdk(purpose, acquirer, algorithm)
}

/// An acquirer's base derivation key as a plan names it.
pub fn bdk(purpose: KeyPurpose, acquirer: &str, algorithm: Algorithm) -> Option<KeyRef> {
    let class = match purpose {
        KeyPurpose::Pin => "bdk-pin",
        KeyPurpose::Data => "bdk-data",
    };
    let algorithm = match algorithm {
        Algorithm::Aes128 => KeyAlgorithm::Aes128,
        Algorithm::Aes256 => KeyAlgorithm::Aes256,
        Algorithm::Aes192 => return None,
    };
    let first = acquirer.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    // 36: as long as an acquirer's name is.
    let name = (first && acquirer.len() <= 36).then(|| format!("{class}.{acquirer}").parse().ok())??;
    Some(KeyRef { name, version: 1, purpose: Purpose::Derive, algorithm })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good(label: &str, algorithm: Algorithm) -> Escrow {
        let wrapped = vec![9; wrapped_bytes(algorithm)];
        Escrow::seal(label, algorithm, 1, wrapped, |_| Ok::<_, EscrowError>([3; 16])).expect("a block")
    }

    const LABELS: [(&str, Algorithm); 4] = [
        ("key:acme:3:mac:aes-128", Algorithm::Aes128),
        ("key:a.b-c_d:12:encrypt:aes-256", Algorithm::Aes256),
        ("bdk-pin:acme:AC000001", Algorithm::Aes256),
        ("bdk-data:bolt:B0000002", Algorithm::Aes128),
    ];

    #[test]
    fn a_block_parses_to_itself_and_knows_its_key() {
        for (label, algorithm) in LABELS {
            let block = good(label, algorithm);
            assert_eq!(Escrow::parse(&block.to_bytes()), Ok(block));
        }
        let bdk = good("bdk-pin:acme:AC000001", Algorithm::Aes256).owner().expect("a key");
        assert_eq!((bdk.name.as_str(), bdk.version, bdk.purpose), ("bdk-pin.acme", 1, Purpose::Derive));
    }

    #[test]
    fn no_managed_key_has_the_name_of_a_base_derivation_key() {
        assert_eq!(owner("key:bdk-pin.acme:1:derive:aes-256", Algorithm::Aes256), None);
        assert_eq!(KeyRef::parse("key:bdk-pin.acme:1:derive:aes-256"), None);
        assert_eq!(KeyRef::parse("key:bdk-data.acme:2:mac:aes-256"), None);
    }

    #[test]
    fn only_labels_of_keys_that_travel_are_read() {
        for label in [
            "storage-kek",
            "key:acme:1:wrap:aes-256",
            "key:acme:1:sign:ec-p256",
            "key:acme:1:mac:hmac-sha256",
            "key:acme:1:mac:aes-128",
            "kek:acme:1:kwp",
            "bdk-pin:acme:AC000001:",
            "bdk-pin::AC000001",
            "bdk-pin:-a:AC000001",
            "bdk-pin:acme:ac000001",
            "",
        ] {
            assert_eq!(owner(label, Algorithm::Aes256), None, "{label}");
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        for (label, algorithm) in LABELS {
            let bytes = good(label, algorithm).to_bytes();
            for cut in 0..bytes.len() {
                assert!(Escrow::parse(&bytes[..cut]).is_err(), "{cut}");
            }
            assert!(Escrow::parse(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_written_back_byte_for_byte(which in 0_usize..4, at in 0_usize..150, byte: u8, more in proptest::collection::vec(any::<u8>(), 0..40)) {
            let (label, algorithm) = LABELS[which];
            let mut bytes = good(label, algorithm).to_bytes();
            let length = bytes.len();
            bytes[at % length] = byte;
            if let Ok(block) = Escrow::parse(&bytes) { prop_assert_eq!(block.to_bytes(), bytes); }
            if let Ok(block) = Escrow::parse(&more) { prop_assert_eq!(block.to_bytes(), more); }
        }
    }
}
