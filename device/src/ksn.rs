//! Key serial numbers and the counter of AES DUKPT (ANSI X9.24-3:2017 §6.4).

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXUPPER;

/// Why a text or number is no KSN, IKID or counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KsnError {
    /// Not exactly so many upper-case hexadecimal digits.
    #[error("not {0} upper-case hexadecimal digits")]
    Digits(usize),
    /// Zero, or more than 16 bits set.
    #[error("not a transaction counter: 1 to 16 bits are set")]
    Counter,
}

/// Identifier of an initial key: BDK id ‖ derivation id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ikid([u8; 8]);

impl Ikid {
    /// From its eight bytes.
    pub fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The eight bytes.
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }

    /// Identifier of the base derivation key.
    pub fn bdk_id(self) -> [u8; 4] {
        let [id @ .., _, _, _, _] = self.0;
        id
    }

    /// Identifier of the derivation: the same for the PIN and the data key of one phone.
    pub fn derivation_id(self) -> [u8; 4] {
        let [_, _, _, _, id @ ..] = self.0;
        id
    }
}

/// A transaction counter: 1 to 16 bits set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionCounter(u32);

/// X9.24-3:2017 §6.4: no counter has more bits set.
const MAX_SET_BITS: u32 = 16;

impl TransactionCounter {
    /// The first.
    pub const FIRST: Self = Self(1);

    /// The last.
    pub const LAST: Self = Self(0xFFFF_0000);

    /// The counter as a number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The counter after this one; `None` after the last.
    pub fn next(self) -> Option<Self> {
        let mut value = self.0.checked_add(1)?;
        while value.count_ones() > MAX_SET_BITS {
            // Skip rule: everything up to the next carry has as many bits set, or more.
            value = value.checked_add(1 << value.trailing_zeros())?;
        }
        Some(Self(value))
    }

    /// The counter before this one; `None` before the first.
    pub fn previous(self) -> Option<Self> {
        let mut value = self.0.checked_sub(1)?;
        while value.count_ones() > MAX_SET_BITS {
            value &= value - 1;
        }
        Self::try_from(value).ok()
    }
}

impl TryFrom<u32> for TransactionCounter {
    type Error = KsnError;
    fn try_from(value: u32) -> Result<Self, KsnError> {
        if (1..=MAX_SET_BITS).contains(&value.count_ones()) { Ok(Self(value)) } else { Err(KsnError::Counter) }
    }
}

/// Key serial number: IKID ‖ counter, 12 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ksn {
    /// The initial key.
    pub ikid: Ikid,
    /// The transaction.
    pub counter: TransactionCounter,
}

impl Ksn {
    /// The twelve bytes.
    pub fn bytes(self) -> [u8; 12] {
        let value = u128::from(u64::from_be_bytes(self.ikid.0)) << 32 | u128::from(self.counter.0);
        let [_, _, _, _, bytes @ ..] = value.to_be_bytes();
        bytes
    }
}

fn digits<const N: usize>(text: &str) -> Result<[u8; N], KsnError> {
    HEXUPPER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(KsnError::Digits(N * 2))
}

impl FromStr for Ikid {
    type Err = KsnError;
    fn from_str(text: &str) -> Result<Self, KsnError> {
        digits(text).map(Self)
    }
}

impl FromStr for Ksn {
    type Err = KsnError;
    fn from_str(text: &str) -> Result<Self, KsnError> {
        let bytes = digits::<12>(text)?;
        let [ikid @ .., _, _, _, _] = bytes;
        let [_, _, _, _, _, _, _, _, counter @ ..] = bytes;
        Ok(Self { ikid: Ikid(ikid), counter: u32::from_be_bytes(counter).try_into()? })
    }
}

/// Text forms through one door: upper-case hexadecimal.
macro_rules! hexadecimal {
    ($name:ident, $bytes:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let bytes: fn(&$name) -> Vec<u8> = $bytes;
                f.write_str(&HEXUPPER.encode(&bytes(self)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = KsnError;
            fn try_from(text: String) -> Result<Self, KsnError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

hexadecimal!(Ikid, |ikid| ikid.0.to_vec());
hexadecimal!(Ksn, |ksn| ksn.bytes().to_vec());

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counter(value: u32) -> TransactionCounter {
        value.try_into().expect("a counter")
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_prints_itself(text in "[0-9A-Fa-f]{0,26}") {
            if let Ok(ksn) = text.parse::<Ksn>() { prop_assert_eq!(ksn.to_string(), text.as_str()); }
            if let Ok(ikid) = text.parse::<Ikid>() { prop_assert_eq!(ikid.to_string(), text); }
        }

        #[test]
        fn a_ksn_survives_its_text(ikid: [u8; 8], value: u32) {
            prop_assume!((1..=16).contains(&value.count_ones()));
            let ksn = Ksn { ikid: Ikid(ikid), counter: counter(value) };
            prop_assert_eq!(ksn.to_string().parse::<Ksn>(), Ok(ksn));
        }

        #[test]
        fn next_skips_nothing_that_is_allowed(value in 1_u32..=0xFFFF_0000) {
            prop_assume!(value.count_ones() <= 16);
            let next = counter(value).next();
            // Counting one by one is the rule itself; the skip rule must land on the same number.
            let counted = (value..=u32::MAX).skip(1).find(|candidate| candidate.count_ones() <= 16);
            prop_assert_eq!(next.map(TransactionCounter::get), counted);
            if let Some(next) = next { prop_assert_eq!(next.previous(), Some(counter(value))); }
        }
    }

    #[test]
    fn the_sequence_begins_skips_and_ends_where_the_standard_says() {
        let first: Vec<u32> =
            std::iter::successors(Some(TransactionCounter::FIRST), |c| c.next()).take(5).map(TransactionCounter::get).collect();
        assert_eq!(first, [1, 2, 3, 4, 5]);
        assert_eq!(counter(0x0001_FFFE).next(), Some(counter(0x0002_0000)));
        assert_eq!(counter(0xFFFF_0000).next(), None);
        assert_eq!(counter(0xFFFE_8000).next(), Some(counter(0xFFFF_0000)));
        assert_eq!(TransactionCounter::FIRST.previous(), None);
    }

    #[test]
    fn zero_and_seventeen_bits_are_no_counters() {
        assert_eq!(TransactionCounter::try_from(0), Err(KsnError::Counter));
        assert_eq!(TransactionCounter::try_from(0x0001_FFFF), Err(KsnError::Counter));
        assert_eq!("123456789012345600000000".parse::<Ksn>(), Err(KsnError::Counter));
        assert_eq!("12345678901234560000000a".parse::<Ksn>(), Err(KsnError::Digits(24)));
        assert_eq!("1234567890123456".parse::<Ksn>(), Err(KsnError::Digits(24)));
    }
}
