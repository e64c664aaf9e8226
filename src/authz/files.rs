//! The text of a set of policies, file by file, and the set that comes with Tillward.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// The schema: it says what the program builds, so it belongs to the program.
pub const SCHEMA: &str = include_str!("../../policies/tillward.cedarschema");
/// The name of the schema's file in a folder of policies.
pub const SCHEMA_FILE: &str = "tillward.cedarschema";

const BUILT_IN: [(&str, &str); 6] = [
    ("acquirers.cedar", include_str!("../../policies/acquirers.cedar")),
    ("approvals.cedar", include_str!("../../policies/approvals.cedar")),
    ("keys.cedar", include_str!("../../policies/keys.cedar")),
    ("operations.cedar", include_str!("../../policies/operations.cedar")),
    ("phones.cedar", include_str!("../../policies/phones.cedar")),
    ("system.cedar", include_str!("../../policies/system.cedar")),
];

/// File names with their text: `*.cedar`, and the schema where the folder has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyFiles(BTreeMap<String, String>);

impl PolicyFiles {
    /// The policies that come with Tillward, their schema included.
    pub fn built_in() -> Self {
        BUILT_IN.into_iter().chain([(SCHEMA_FILE, SCHEMA)]).map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
    }

    /// Each file's name and text, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// SHA-256 over names and texts in the order of the names, each preceded by its length in bytes, 8 bytes big-endian.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in self.0.iter().flat_map(|(name, text)| [name, text]) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl FromIterator<(String, String)> for PolicyFiles {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(files: T) -> Self {
        Self(files.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_names_texts_and_their_borders_apart() {
        let digest = |files: &[(&str, &str)]| {
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<PolicyFiles>().digest()
        };
        let all = [
            digest(&[]),
            digest(&[("a", "bc")]),
            digest(&[("ab", "c")]),
            digest(&[("a", "b"), ("c", "")]),
            digest(&[("a", "b"), ("c", "d")]),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(digest(&[("a", "b"), ("c", "d")]), digest(&[("c", "d"), ("a", "b")]));
    }
}
