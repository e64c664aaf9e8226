//! What may stand in an entry's detail: ids, codes, numbers, fingerprints. Never a text from outside, never a secret:
//! there is no way in for one.

use crate::clock::UnixTime;
use crate::id::{AcquirerId, ActivationId, DeviceId, MerchantId, TerminalId};

/// One fact of an audit entry. At most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact(String);

impl Fact {
    /// Bytes as upper-case hexadecimal: an IKID, a serial number, a fingerprint. Of more than 32 bytes, the first 32.
    pub fn hex(bytes: &[u8]) -> Self {
        Self(data_encoding::HEXUPPER.encode(bytes.get(..32).unwrap_or(bytes)))
    }

    /// The fact as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A code of our own: a state, a purpose, a level's status. More than 64 characters are cut.
impl From<&'static str> for Fact {
    fn from(code: &'static str) -> Self {
        Self(code.chars().take(64).collect())
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl From<UnixTime> for Fact {
    fn from(time: UnixTime) -> Self {
        Self(time.rfc3339())
    }
}

impl From<&MerchantId> for Fact {
    fn from(id: &MerchantId) -> Self {
        Self(id.to_string())
    }
}

impl From<&TerminalId> for Fact {
    fn from(id: &TerminalId) -> Self {
        Self(id.to_string())
    }
}

impl From<&AcquirerId> for Fact {
    fn from(id: &AcquirerId) -> Self {
        Self(id.to_string())
    }
}

impl From<&DeviceId> for Fact {
    fn from(id: &DeviceId) -> Self {
        Self(id.to_string())
    }
}

impl From<&ActivationId> for Fact {
    fn from(id: &ActivationId) -> Self {
        Self(id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_fact_is_longer_than_64_characters(bytes in proptest::collection::vec(any::<u8>(), 0..200), number: u64, time: i64) {
            for fact in [Fact::hex(&bytes), Fact::from(number), Fact::from(UnixTime(time))] {
                prop_assert!(fact.as_str().len() <= 64, "{}", fact.as_str());
            }
        }
    }
}
