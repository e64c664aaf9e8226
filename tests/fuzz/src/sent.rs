//! A second, lax look at a body that the strict parser took: every binary member has to be the one text of its bytes.

use serde_json::{Map, Value};

use crate::wire::b64url;

/// A JSON object as `serde_json` reads it.
pub struct Sent(Map<String, Value>);

impl Sent {
    /// Reads a body that parsed before.
    ///
    /// # Panics
    /// If it is no object: then the strict parser is laxer than the lax one.
    pub fn read(body: &[u8], members: usize) -> Self {
        let members_sent: Map<String, Value> = serde_json::from_slice(body).expect("what parses strictly is JSON");
        assert_eq!(members_sent.len(), members, "a member was ignored");
        Self(members_sent)
    }

    /// The text of a member.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&self, member: &str) -> &str {
        self.0.get(member).and_then(Value::as_str).expect("a text, since it parsed as one")
    }

    /// That the member is the canonical base64url of `bytes`.
    ///
    /// # Panics
    /// If not.
    pub fn is_bytes(&self, member: &str, bytes: &[u8]) {
        assert_eq!(self.text(member), b64url::encode(bytes), "{member}");
    }
}
