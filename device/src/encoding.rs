//! Encodings of docs/protocol.md §1: base64url without padding, upper-case hexadecimal, length prefixes.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes that travel as base64url without padding (RFC 4648 §5). Reading is canonical: unused bits must be zero.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Base64Url(pub Vec<u8>);

impl Base64Url {
    /// Reads the canonical text.
    pub fn parse(text: &str) -> Option<Self> {
        BASE64URL_NOPAD.decode(text.as_bytes()).ok().map(Self)
    }

    /// The bytes, if there are exactly `N`.
    pub fn array<const N: usize>(&self) -> Option<[u8; N]> {
        self.0.as_slice().try_into().ok()
    }
}

impl std::fmt::Display for Base64Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl std::fmt::Debug for Base64Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Base64Url({} bytes)", self.0.len())
    }
}

impl<T: AsRef<[u8]>> From<T> for Base64Url {
    fn from(bytes: T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

impl Serialize for Base64Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Base64Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not canonical base64url without padding"))
    }
}

/// `LP(x)` for every part, one after the other: the length as unsigned 32-bit big endian, then the part.
pub fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        let length = u32::try_from(part.len()).expect("no part of a message comes near 4 GiB");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_survive_base64url(bytes: Vec<u8>) {
            let text = Base64Url(bytes.clone()).to_string();
            prop_assert_eq!(Base64Url::parse(&text), Some(Base64Url(bytes)));
        }

        #[test]
        fn a_text_that_reads_is_the_only_text_of_its_bytes(text in "[A-Za-z0-9_=+/-]{0,12}") {
            if let Some(bytes) = Base64Url::parse(&text) {
                prop_assert_eq!(bytes.to_string(), text);
            }
        }

        #[test]
        fn different_splits_of_the_same_bytes_differ_under_lp(bytes in proptest::collection::vec(any::<u8>(), 1..40), a: prop::sample::Index, b: prop::sample::Index) {
            let (a, b) = (a.index(bytes.len()), b.index(bytes.len()));
            prop_assume!(a != b);
            let split = |at: usize| length_prefixed(&[&bytes[..at], &bytes[at..]]);
            prop_assert_ne!(split(a), split(b));
        }
    }

    #[test]
    fn padding_the_other_alphabet_and_unused_bits_are_refused() {
        assert_eq!(Base64Url::parse("AA").expect("canonical").0, [0]);
        for bad in ["AA==", "AB", "A", "+/8", "A A", "AA\n"] {
            assert_eq!(Base64Url::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn lp_is_a_big_endian_length_and_the_bytes() {
        assert_eq!(length_prefixed(&[b"", b"abc"]), [0, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'c']);
    }
}
