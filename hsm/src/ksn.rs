//! Identifiers and counter of AES DUKPT (ANSI X9.24-3:2017 §6.2): KSN = BDK id (4 bytes) | derivation id (4) | counter (4).

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXUPPER;
use serde::{Deserialize, Serialize};

/// Why a text or bytes are not a DUKPT identifier. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KsnError {
    /// Wrong number of digits, or a digit that is not upper-case hexadecimal.
    #[error("not {digits} upper-case hexadecimal digits")]
    Hex {
        /// How many digits it takes.
        digits: usize,
    },
    /// X9.24-3 §6.2.3.
    #[error("a transaction counter is not zero and has at most 16 bits set")]
    Counter,
}

fn hex<const N: usize>(text: &str) -> Result<[u8; N], KsnError> {
    let bytes = HEXUPPER.decode(text.as_bytes()).map_err(|_| KsnError::Hex { digits: 2 * N })?;
    bytes.try_into().map_err(|_| KsnError::Hex { digits: 2 * N })
}

/// The first four bytes, and the others.
fn split<const N: usize, const REST: usize>(bytes: [u8; N]) -> ([u8; 4], [u8; REST]) {
    const { assert!(N == REST + 4) };
    let (mut bytes, mut first) = (bytes.into_iter(), [0; 4]);
    first.fill_with(|| bytes.next().unwrap_or_default());
    let mut rest = [0; REST];
    rest.fill_with(|| bytes.next().unwrap_or_default());
    (first, rest)
}

/// One after the other.
fn join<const N: usize, const M: usize, const SUM: usize>(one: [u8; N], other: [u8; M]) -> [u8; SUM] {
    const { assert!(SUM == N + M) };
    let (mut joined, mut bytes) = ([0; SUM], one.into_iter().chain(other));
    joined.fill_with(|| bytes.next().unwrap_or_default());
    joined
}

/// Names a base derivation key: the first four bytes of every KSN under it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BdkId(pub [u8; 4]);

/// Names one device under a BDK. Zero is never given, none is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DerivationId(pub u32);

/// Names an initial key: BDK id | derivation id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ikid(pub [u8; 8]);

/// Key serial number: initial key and transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ksn {
    ikid: Ikid,
    counter: Counter,
}

/// A transaction counter: not zero, at most 16 bits set (X9.24-3 §6.2.3); so the last is 0xFFFF0000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Counter(u32);

/// The counter register after each set bit from the top: the path through the tree from the initial key (X9.24-3 §6.3.2).
pub fn path(counter: u32) -> impl Iterator<Item = u32> {
    (0..32).rev().filter(move |bit| counter >> bit & 1 == 1).map(move |bit| counter >> bit << bit)
}

impl Ikid {
    /// The initial key of `derivation` under `bdk`.
    pub fn new(bdk: BdkId, derivation: DerivationId) -> Self {
        Self(join(bdk.0, derivation.0.to_be_bytes()))
    }

    /// The BDK it is derived from.
    pub fn bdk(self) -> BdkId {
        BdkId(split::<8, 4>(self.0).0)
    }

    /// The device under that BDK.
    pub fn derivation(self) -> DerivationId {
        DerivationId(u32::from_be_bytes(split(self.0).1))
    }
}

impl Counter {
    /// The first transaction of a device.
    pub const FIRST: Self = Self(1);

    /// A counter, if the rule admits it.
    ///
    /// # Errors
    /// [`KsnError::Counter`].
    pub fn new(value: u32) -> Result<Self, KsnError> {
        if value == 0 || value.count_ones() > 16 { Err(KsnError::Counter) } else { Ok(Self(value)) }
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The next transaction's counter; none after 0xFFFF0000.
    pub fn next(self) -> Option<Self> {
        let mut value = self.0.checked_add(1)?;
        while value.count_ones() > 16 {
            value = value.checked_add(1 << value.trailing_zeros())?;
        }
        Some(Self(value))
    }
}

impl Ksn {
    /// A transaction of a device.
    pub fn new(ikid: Ikid, counter: Counter) -> Self {
        Self { ikid, counter }
    }

    /// Reads the 12 bytes.
    ///
    /// # Errors
    /// [`KsnError::Counter`].
    pub fn from_bytes(bytes: [u8; 12]) -> Result<Self, KsnError> {
        let (bdk, rest) = split(bytes);
        let (derivation, counter) = split::<8, 4>(rest);
        Ok(Self { ikid: Ikid(join(bdk, derivation)), counter: Counter::new(u32::from_be_bytes(counter))? })
    }

    /// The 12 bytes.
    pub fn to_bytes(self) -> [u8; 12] {
        join(self.ikid.0, self.counter.0.to_be_bytes())
    }

    /// The initial key.
    pub fn ikid(self) -> Ikid {
        self.ikid
    }

    /// The transaction.
    pub fn counter(self) -> Counter {
        self.counter
    }
}

impl FromStr for BdkId {
    type Err = KsnError;
    fn from_str(text: &str) -> Result<Self, KsnError> {
        hex(text).map(Self)
    }
}

impl FromStr for Ikid {
    type Err = KsnError;
    fn from_str(text: &str) -> Result<Self, KsnError> {
        hex(text).map(Self)
    }
}

impl FromStr for Ksn {
    type Err = KsnError;
    fn from_str(text: &str) -> Result<Self, KsnError> {
        Self::from_bytes(hex(text)?)
    }
}

impl fmt::Display for BdkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXUPPER.encode(&self.0))
    }
}

impl fmt::Display for Ikid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXUPPER.encode(&self.0))
    }
}

impl fmt::Display for Ksn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXUPPER.encode(&self.to_bytes()))
    }
}

impl fmt::Debug for BdkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BdkId({self})")
    }
}

impl fmt::Debug for Ikid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ikid({self})")
    }
}

impl fmt::Debug for Ksn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ksn({self})")
    }
}

impl TryFrom<String> for BdkId {
    type Error = KsnError;
    fn try_from(text: String) -> Result<Self, KsnError> {
        text.parse()
    }
}

impl TryFrom<String> for Ikid {
    type Error = KsnError;
    fn try_from(text: String) -> Result<Self, KsnError> {
        text.parse()
    }
}

impl TryFrom<String> for Ksn {
    type Error = KsnError;
    fn try_from(text: String) -> Result<Self, KsnError> {
        text.parse()
    }
}

impl From<BdkId> for String {
    fn from(id: BdkId) -> Self {
        id.to_string()
    }
}

impl From<Ikid> for String {
    fn from(id: Ikid) -> Self {
        id.to_string()
    }
}

impl From<Ksn> for String {
    fn from(ksn: Ksn) -> Self {
        ksn.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_ksn_prints_and_parses_to_itself(ikid: [u8; 8], counter: u32) {
            match Counter::new(counter) {
                Ok(counter) => {
                    let ksn = Ksn::new(Ikid(ikid), counter);
                    prop_assert_eq!(ksn.to_string().parse::<Ksn>(), Ok(ksn));
                    prop_assert_eq!(Ksn::from_bytes(ksn.to_bytes()), Ok(ksn));
                    prop_assert_eq!(Ikid::new(ksn.ikid().bdk(), ksn.ikid().derivation()), ksn.ikid());
                }
                Err(error) => {
                    prop_assert_eq!(error, KsnError::Counter);
                    prop_assert!(counter == 0 || counter.count_ones() > 16);
                }
            }
        }

        #[test]
        fn no_text_panics_and_what_parses_prints_itself(text in "[0-9A-Fa-fg ]{0,26}") {
            if let Ok(ksn) = text.parse::<Ksn>() { prop_assert_eq!(ksn.to_string(), text.as_str()); }
            if let Ok(ikid) = text.parse::<Ikid>() { prop_assert_eq!(ikid.to_string(), text.as_str()); }
            if let Ok(bdk) = text.parse::<BdkId>() { prop_assert_eq!(bdk.to_string(), text); }
        }

        #[test]
        fn the_next_counter_is_the_least_admissible_above(counter: u32) {
            if let Ok(counter) = Counter::new(counter)
                && let Some(next) = counter.next()
            {
                prop_assert!(next > counter && Counter::new(next.get()).is_ok());
                let gap = counter.get() + 1..next.get();
                prop_assert!(gap.take(100_000).all(|skipped| Counter::new(skipped).is_err()));
            }
        }

        #[test]
        fn the_path_ends_at_the_counter(counter in 1_u32..) {
            let path: Vec<_> = path(counter).collect();
            prop_assert_eq!(path.len(), usize::try_from(counter.count_ones()).expect("small"));
            prop_assert_eq!(path.last().copied(), Some(counter));
        }
    }

    #[test]
    fn the_corners_of_the_counter() {
        // X9.24-3 §6.2.3 and its reference list: after 1FFFE comes 20000, the last is FFFF0000.
        assert_eq!(Counter(0x0001_FFFE).next(), Some(Counter(0x0002_0000)));
        assert_eq!(Counter(0xFFFF_0000).next(), None);
        assert_eq!(Counter::new(0), Err(KsnError::Counter));
        assert_eq!(Counter::new(u32::MAX), Err(KsnError::Counter));
        assert_eq!(path(0b1101).collect::<Vec<_>>(), [0b1000, 0b1100, 0b1101]);
    }

    #[test]
    fn lower_case_and_other_lengths_are_refused() {
        assert_eq!("abcdef0123456789".parse::<Ikid>(), Err(KsnError::Hex { digits: 16 }));
        assert_eq!("ABCDEF01234567".parse::<Ikid>(), Err(KsnError::Hex { digits: 16 }));
        assert_eq!("123456789012345600000000".parse::<Ksn>(), Err(KsnError::Counter));
    }
}
