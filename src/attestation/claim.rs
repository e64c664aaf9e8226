//! The names that a level may demand in evidence (docs/protocol.md §6).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A name in the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// SHA-256 of the installed application build.
    AppDigest,
    /// Major version of the operating system.
    OsVersion,
    /// Security patch level.
    PatchLevel,
    /// A debugger is attached or was found.
    Debugger,
    /// Signs of root or jailbreak.
    Root,
    /// Signs of an emulator.
    Emulator,
}

impl Claim {
    /// Every claim, in the order of the protocol's table.
    pub const ALL: [Self; 6] = [Self::AppDigest, Self::OsVersion, Self::PatchLevel, Self::Debugger, Self::Root, Self::Emulator];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::AppDigest => "app_digest",
            Self::OsVersion => "os_version",
            Self::PatchLevel => "patch_level",
            Self::Debugger => "debugger",
            Self::Root => "root",
            Self::Emulator => "emulator",
        }
    }
}

/// The claims that a level demands: at least one, none twice, in the order of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimSet(BTreeSet<Claim>);

impl ClaimSet {
    /// The set of these claims; `None` if there is none or one is there twice.
    pub fn new(claims: &[Claim]) -> Option<Self> {
        let set: BTreeSet<_> = claims.iter().copied().collect();
        if set.is_empty() || set.len() != claims.len() { None } else { Some(Self(set)) }
    }

    /// Whether `claim` is demanded.
    pub fn contains(&self, claim: Claim) -> bool {
        self.0.contains(&claim)
    }

    /// The claims.
    pub fn iter(&self) -> impl Iterator<Item = Claim> + '_ {
        self.0.iter().copied()
    }
}

impl Serialize for ClaimSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl<'de> Deserialize<'de> for ClaimSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&Vec::<Claim>::deserialize(deserializer)?).ok_or_else(|| de::Error::custom("no claim, or one twice"))
    }
}

/// A security patch level, `YYYY-MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatchLevel {
    year: u16,
    month: u8,
}

impl PatchLevel {
    /// Months since the year 0, to count distances.
    pub(crate) fn months(self) -> i32 {
        i32::from(self.year) * 12 + i32::from(self.month) - 1
    }
}

/// Not `YYYY-MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a patch level is YYYY-MM")]
pub struct NotAPatchLevel;

impl FromStr for PatchLevel {
    type Err = NotAPatchLevel;

    fn from_str(text: &str) -> Result<Self, NotAPatchLevel> {
        let digits = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
        match text.split_once('-') {
            Some((year, month)) if digits(year, 4) && digits(month, 2) => {
                let (year, month) = (year.parse().map_err(|_| NotAPatchLevel)?, month.parse().map_err(|_| NotAPatchLevel)?);
                if (1..=12).contains(&month) { Ok(Self { year, month }) } else { Err(NotAPatchLevel) }
            }
            _ => Err(NotAPatchLevel),
        }
    }
}

impl fmt::Display for PatchLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl Serialize for PatchLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PatchLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_set_has_a_claim_and_none_twice() {
        assert!(ClaimSet::new(&[]).is_none());
        assert!(ClaimSet::new(&[Claim::Root, Claim::Root]).is_none());
        let set = ClaimSet::new(&[Claim::Root, Claim::AppDigest]).expect("a set");
        assert_eq!(serde_json::to_string(&set).ok().as_deref(), Some(r#"["app_digest","root"]"#));
    }

    #[test]
    fn the_wire_name_is_the_name() {
        for claim in Claim::ALL {
            assert_eq!(serde_json::to_value(claim).ok(), Some(claim.name().into()));
        }
    }

    proptest! {
        #[test]
        fn no_patch_level_panics_and_what_parses_prints_itself(text in "[0-9+-]{0,8}") {
            if let Ok(level) = text.parse::<PatchLevel>() { prop_assert_eq!(level.to_string(), text); }
        }
    }
}
