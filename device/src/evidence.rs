//! Evidence in the format `software` (docs/protocol.md §6): what the application saw of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::encoding::Base64Url;

/// The format's name.
pub const SOFTWARE: &str = "software";

/// Why no evidence can be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Another format is demanded.
    #[error("the challenge demands a format of evidence that this phone does not have")]
    Format,
    /// A claim is demanded that the format does not have, or one twice.
    #[error("the challenge demands a claim that this phone cannot make")]
    Claim,
}

/// What was found on the phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// SHA-256 of the installed application build.
    pub app_digest: [u8; 32],
    /// Major version of the operating system.
    pub os_version: u32,
    /// Security patch level, `YYYY-MM`.
    pub patch_level: String,
    /// A debugger is attached or was found.
    pub debugger: bool,
    /// Signs of root or jailbreak.
    pub root: bool,
    /// Signs of an emulator.
    pub emulator: bool,
}

impl Findings {
    /// Exactly the demanded claims.
    ///
    /// # Errors
    /// [`EvidenceError`] if something is demanded that this format cannot say.
    pub fn evidence(&self, format: &str, demanded: &[String]) -> Result<Evidence, EvidenceError> {
        if format != SOFTWARE {
            return Err(EvidenceError::Format);
        }
        let mut claims = BTreeMap::new();
        for name in demanded {
            let value = self.claim(name).ok_or(EvidenceError::Claim)?;
            if claims.insert(name.clone(), value).is_some() {
                return Err(EvidenceError::Claim);
            }
        }
        Ok(Evidence { format: SOFTWARE.to_owned(), claims })
    }

    fn claim(&self, name: &str) -> Option<Value> {
        Some(match name {
            "app_digest" => Base64Url::from(self.app_digest).to_string().into(),
            "os_version" => self.os_version.into(),
            "patch_level" => self.patch_level.clone().into(),
            "debugger" => self.debugger.into(),
            "root" => self.root.into(),
            "emulator" => self.emulator.into(),
            _ => return None,
        })
    }
}

/// Evidence as it is sent. The members are open: a test may tamper with what an honest phone made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// `software`.
    pub format: String,
    /// The claims by name.
    pub claims: BTreeMap<String, Value>,
}

impl Evidence {
    /// D = SHA-256 over the RFC 8785 form of the whole object.
    pub fn digest(&self) -> [u8; 32] {
        let canonical = serde_jcs::to_vec(self).expect("names and JSON values have a canonical form");
        Sha256::digest(canonical).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        Findings { app_digest: [7; 32], os_version: 15, patch_level: "2025-11".to_owned(), debugger: false, root: false, emulator: true }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn evidence_holds_exactly_what_is_demanded() {
        let evidence = findings().evidence("software", &names(&["root", "os_version"])).expect("made");
        assert_eq!(
            serde_json::to_value(&evidence).expect("JSON"),
            serde_json::json!({"format": "software", "claims": {"os_version": 15, "root": false}})
        );
        assert_eq!(findings().evidence("software", &names(&["camera"])), Err(EvidenceError::Claim));
        assert_eq!(findings().evidence("software", &names(&["root", "root"])), Err(EvidenceError::Claim));
        assert_eq!(findings().evidence("android-key", &[]), Err(EvidenceError::Format));
    }

    #[test]
    fn the_digest_is_over_the_canonical_form() {
        let evidence = findings()
            .evidence("software", &names(&["root", "patch_level", "emulator", "os_version", "debugger", "app_digest"]))
            .expect("made");
        let canonical = r#"{"claims":{"app_digest":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc","debugger":false,"emulator":true,"os_version":15,"patch_level":"2025-11","root":false},"format":"software"}"#;
        assert_eq!(evidence.digest(), <[u8; 32]>::from(Sha256::digest(canonical)));
    }

    #[test]
    fn jcs_gives_the_values_of_rfc_8785() {
        // RFC 8785 §3.2.2 and §3.2.3, without the numbers that are no integers: evidence has none.
        let input = r#"{"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false],"\ufb33":7,"\u20ac":1,"\r":2,"1":4,"\ud83d\ude00":6,"\u0080":3,"\u00f6":5}"#;
        let value: Value = serde_json::from_str(input).expect("JSON");
        let canonical = "{\"\\r\":2,\"1\":4,\"literals\":[null,true,false],\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\",\"\u{80}\":3,\"\u{f6}\":5,\"\u{20ac}\":1,\"\u{1f600}\":6,\"\u{fb33}\":7}";
        assert_eq!(serde_jcs::to_string(&value).expect("canonical"), canonical);
    }
}
