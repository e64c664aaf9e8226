//! Strict JSON (docs/protocol.md §1): a limit on the length, no duplicate members at any depth, no trailing bytes.
//! Unknown members are refused by the types.

use std::collections::HashSet;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

/// The longest message body: 64 KiB.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The longest trust bundle: its revocation list grows with the number of retired phones.
pub const TRUST_LIMIT: usize = 4 * 1024 * 1024;

/// Why bytes are not the message that was expected. Never repeats them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Longer than allowed.
    #[error("longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not JSON, or not of the expected shape.
    #[error("not the expected JSON: line {line}, column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

impl JsonError {
    /// serde's own message can hold the input, so only the place is kept.
    fn at(error: &serde_json::Error) -> Self {
        Self::Malformed { line: error.line(), column: error.column() }
    }
}

/// Reads one JSON text of at most `limit` bytes as a `T`.
///
/// # Errors
/// [`JsonError`] if it is too long, not JSON, has duplicate members or trailing bytes, or is no `T`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLong { limit });
    }
    let _unique: UniqueMembers = serde_json::from_slice(bytes).map_err(|error| JsonError::at(&error))?;
    serde_json::from_slice(bytes).map_err(|error| JsonError::at(&error))
}

/// Walks any JSON value and fails at the first member name that an object has twice: maps keep the last one silently.
struct UniqueMembers;

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = UniqueMembers;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_bool<E>(self, _: bool) -> Result<UniqueMembers, E> {
        Ok(UniqueMembers)
    }

    fn visit_i64<E>(self, _: i64) -> Result<UniqueMembers, E> {
        Ok(UniqueMembers)
    }

    fn visit_u64<E>(self, _: u64) -> Result<UniqueMembers, E> {
        Ok(UniqueMembers)
    }

    fn visit_f64<E>(self, _: f64) -> Result<UniqueMembers, E> {
        Ok(UniqueMembers)
    }

    fn visit_str<E>(self, _: &str) -> Result<UniqueMembers, E> {
        Ok(UniqueMembers)
    }

    fn visit_unit<E>(self) -> Result<UniqueMembers, E> {
        Ok(UniqueMembers)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<UniqueMembers, A::Error> {
        while items.next_element::<UniqueMembers>()?.is_some() {}
        Ok(UniqueMembers)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<UniqueMembers, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !seen.insert(name) {
                return Err(de::Error::custom("duplicate member"));
            }
            members.next_value::<UniqueMembers>()?;
        }
        Ok(UniqueMembers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _: Result<Value, _> = parse(&bytes, BODY_LIMIT);
        }

        #[test]
        fn an_error_never_repeats_the_input(word in "[a-z]{12}") {
            let error = parse::<Vec<u8>>(format!("{{\"{word}\":\"{word}\"}}").as_bytes(), BODY_LIMIT).expect_err("not a list");
            let said = format!("{error} {error:?}");
            prop_assert!(!said.contains(&word));
        }
    }

    #[test]
    fn duplicates_are_refused_at_any_depth_and_under_any_spelling() {
        for bad in [r#"{"a":1,"a":1}"#, r#"{"b":[{"a":1,"a":2}]}"#, r#"{"a":1,"\u0061":1}"#] {
            assert!(matches!(parse::<Value>(bad.as_bytes(), BODY_LIMIT), Err(JsonError::Malformed { .. })), "{bad}");
        }
        assert!(parse::<Value>(br#"{"a":{"a":1},"b":null,"c":[1.5,-1,true]}"#, BODY_LIMIT).is_ok());
    }

    #[test]
    fn trailing_bytes_and_long_bodies_are_refused() {
        assert!(parse::<Value>(b"{} x", BODY_LIMIT).is_err());
        assert_eq!(parse::<Value>(b"[1]", 2), Err(JsonError::TooLong { limit: 2 }));
        assert!(parse::<Value>(b"[1]", 3).is_ok());
    }
}
