//! What may stand in an entry's detail: ids, codes, numbers, fingerprints. Never a text from outside, never a secret:
//! there is no way in for one.

use crate::authz::PrincipalUri;
use crate::clock::UnixTime;
use crate::id::{AcquirerId, ActivationId, DeviceId, MerchantId, TerminalId};

/// One fact of an audit entry. At most 64 characters; what can be verified offline has bounds of its own, so that a plan with eight approvals fits
/// into one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact(String);

impl Fact {
    /// Bytes as upper-case hexadecimal: an IKID, a serial number, a fingerprint. Of more than 32 bytes, the first 32.
    pub fn hex(bytes: &[u8]) -> Self {
        Self(data_encoding::HEXUPPER.encode(bytes.get(..32).unwrap_or(bytes)))
    }

    /// A plan in its canonical text, at most 1024 characters: printable ASCII and line feeds are all that it holds.
    pub fn plan(canonical: &[u8]) -> Self {
        let fits = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n');
        Self(canonical.iter().copied().take_while(fits).take(PLAN).map(char::from).collect())
    }

    /// An officer's signature over a plan's hash: URI, blank, base64url (RFC 4648 §5) without padding; at most 342 characters.
    pub fn approval(officer: &PrincipalUri, signature: &[u8; 64]) -> Self {
        Self(format!("{officer} {}", data_encoding::BASE64URL_NOPAD.encode(signature)))
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

/// The longest plan: two key names and a URI.
const PLAN: usize = 1024;

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl From<&tillward_hsm::managed::KeyName> for Fact {
    fn from(name: &tillward_hsm::managed::KeyName) -> Self {
        Self(name.to_string())
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

    #[test]
    fn a_plan_with_eight_approvals_fits_into_an_entry() {
        // The CHECK of the database, less what a deed says beside it.
        const ROOM: usize = 4096 - 300;
        let officer = format!("urn:{}", "o".repeat(251)).parse().expect("a URI");
        let approval = Fact::approval(&officer, &[0xff; 64]);
        assert_eq!(approval.as_str().len(), 255 + 1 + 86);
        let deed = "deed export-key\nkey \nversion 4294967295\npurpose encrypt\nalgorithm hmac-sha256\nkek \nkek-version 4294967295\nform key-block\n";
        let plan =
            format!("tillward-plan 1\nid {}\nrequester {officer}\ncreated 1795381200\nexpires 1795467600\nquorum 8\n", "0".repeat(32));
        let plan = Fact::plan(format!("{plan}{deed}{}{}", "k".repeat(128), "0".repeat(73)).as_bytes());
        let mut detail = std::collections::BTreeMap::from([("plan".to_owned(), plan)]);
        detail.insert("plan_hash".to_owned(), Fact::hex(&[0; 32]));
        detail.extend((1..=8).map(|number| (format!("approval_{number}"), approval.clone())));
        let detail: std::collections::BTreeMap<_, _> = detail.iter().map(|(name, fact)| (name, fact.as_str())).collect();
        let length = serde_json::to_string(&detail).expect("JSON").len();
        assert!(length < ROOM, "{length}");
    }

    proptest! {
        #[test]
        fn a_plan_holds_no_surprise(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let fact = Fact::plan(&bytes);
            prop_assert!(fact.as_str().len() <= PLAN && fact.as_str().bytes().all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\n'));
        }

        #[test]
        fn no_fact_is_longer_than_64_characters(bytes in proptest::collection::vec(any::<u8>(), 0..200), number: u64, time: i64) {
            for fact in [Fact::hex(&bytes), Fact::from(number), Fact::from(UnixTime(time))] {
                prop_assert!(fact.as_str().len() <= 64, "{}", fact.as_str());
            }
        }
    }
}
