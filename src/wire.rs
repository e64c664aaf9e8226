//! The encodings of the device protocol (docs/protocol.md §1): strict JSON objects, canonical base64url, upper-case
//! hexadecimal, length prefixes. Every message body enters the service through [`Object`].

use std::fmt;
use std::ops::RangeInclusive;

use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Largest message body.
pub const MAX_BODY: usize = 64 * 1024;

/// A message that is not what the protocol says. Names the member and the rule, never the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {rule}")]
pub struct ParseError {
    /// The member at fault, `body` for the message as a whole.
    pub member: &'static str,
    /// What it has to be.
    pub rule: &'static str,
}

impl ParseError {
    /// `member` breaks `rule`.
    pub const fn new(member: &'static str, rule: &'static str) -> Self {
        Self { member, rule }
    }
}

/// A JSON object whose members are taken out one by one; [`Object::finish`] refuses what is left over.
///
/// No Debug: bodies hold activation codes.
#[derive(Clone)]
pub struct Object(Map<String, Value>);

impl Object {
    /// Parses one JSON object of at most [`MAX_BODY`] bytes: no duplicate member at any depth, nothing behind it.
    ///
    /// # Errors
    /// [`ParseError`] for `body`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > MAX_BODY {
            return Err(ParseError::new("body", "at most 64 KiB"));
        }
        // serde_json bounds the depth (128) and refuses trailing bytes; `Strict` adds the duplicates.
        let Strict(value) =
            serde_json::from_slice(bytes).map_err(|_| ParseError::new("body", "one JSON object, no member twice, nothing behind it"))?;
        match value {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(ParseError::new("body", "a JSON object")),
        }
    }

    fn take(&mut self, member: &'static str) -> Result<Value, ParseError> {
        self.0.remove(member).ok_or(ParseError::new(member, "missing"))
    }

    /// Whether the member is there (`null` counts).
    pub fn has(&self, member: &str) -> bool {
        self.0.contains_key(member)
    }

    /// How many members are left.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Takes a text of 1 to `max` bytes.
    ///
    /// # Errors
    /// [`ParseError`] for this member.
    pub fn text(&mut self, member: &'static str, max: usize) -> Result<String, ParseError> {
        match self.take(member)? {
            Value::String(text) if text.is_empty() || text.len() > max => Err(ParseError::new(member, "length out of bounds")),
            Value::String(text) => Ok(text),
            _ => Err(ParseError::new(member, "a string")),
        }
    }

    /// Takes canonical base64url whose bytes number within `length`.
    ///
    /// # Errors
    /// [`ParseError`] for this member.
    pub fn bytes(&mut self, member: &'static str, length: RangeInclusive<usize>) -> Result<Vec<u8>, ParseError> {
        let Value::String(text) = self.take(member)? else {
            return Err(ParseError::new(member, "a base64url string"));
        };
        let bytes = b64url::decode(&text).ok_or(ParseError::new(member, "canonical base64url without padding"))?;
        if length.contains(&bytes.len()) { Ok(bytes) } else { Err(ParseError::new(member, "length out of bounds")) }
    }

    /// Takes canonical base64url of exactly `N` bytes.
    ///
    /// # Errors
    /// [`ParseError`] for this member.
    pub fn array<const N: usize>(&mut self, member: &'static str) -> Result<[u8; N], ParseError> {
        let bytes = self.bytes(member, N..=N)?;
        <[u8; N]>::try_from(bytes).map_err(|_| ParseError::new(member, "length out of bounds"))
    }

    /// Takes upper-case hexadecimal of exactly `N` bytes.
    ///
    /// # Errors
    /// [`ParseError`] for this member.
    pub fn hex<const N: usize>(&mut self, member: &'static str) -> Result<[u8; N], ParseError> {
        let text = self.text(member, N * 2)?;
        hex::decode(&text).ok_or(ParseError::new(member, "upper-case hexadecimal of the right length"))
    }

    /// Takes a boolean.
    ///
    /// # Errors
    /// [`ParseError`] for this member.
    pub fn boolean(&mut self, member: &'static str) -> Result<bool, ParseError> {
        self.take(member)?.as_bool().ok_or(ParseError::new(member, "true or false"))
    }

    /// Takes an integer of 32 bits without sign, fraction or exponent.
    ///
    /// # Errors
    /// [`ParseError`] for this member.
    pub fn integer(&mut self, member: &'static str) -> Result<u32, ParseError> {
        let number = self.take(member)?;
        number.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or(ParseError::new(member, "an integer from 0 to 4294967295"))
    }

    /// Takes an object.
    ///
    /// # Errors
    /// [`ParseError`] for this member.
    pub fn object(&mut self, member: &'static str) -> Result<Self, ParseError> {
        match self.take(member)? {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(ParseError::new(member, "a JSON object")),
        }
    }

    /// Ends the parse: no member may be left.
    ///
    /// # Errors
    /// [`ParseError`] for `body`: the name of an unknown member is the sender's content.
    pub fn finish(self) -> Result<(), ParseError> {
        if self.0.is_empty() { Ok(()) } else { Err(ParseError::new("body", "unknown member")) }
    }
}

/// Parses one JSON object, no member twice at any depth, into `T`. For bytes that a signature has already vouched for.
pub(crate) fn strict_object<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let Strict(value) = serde_json::from_slice(bytes).ok()?;
    // A derived struct would also read a JSON array.
    if value.is_object() { serde_json::from_value(value).ok() } else { None }
}

/// `LP(x)`: the length of `x` as unsigned 32-bit big endian, then `x`.
pub(crate) fn length_prefix(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("members of a message of 64 KiB").to_be_bytes()
}

/// A JSON value in which no object has a member twice (`serde_json::Value` keeps the last one).
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("a member twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

/// A word of a closed list, which is a string: what serde derives for an enum takes `{"word": null}` as well. Use as
/// `#[serde(deserialize_with = "word")]`.
///
/// # Errors
/// No string, or none of the words.
pub fn word<'de, D: de::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(deserializer)?.into_deserializer())
}

/// `MIN` to `MAX` bytes that the sender wants to be kept secret: base64url in JSON, gone from memory when dropped. No Debug, no Serialize, no Clone.
pub struct Secret<const MIN: usize, const MAX: usize>(zeroize::Zeroizing<Vec<u8>>);

impl<const MIN: usize, const MAX: usize> Secret<MIN, MAX> {
    /// The bytes.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Secret<MIN, MAX> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = b64url::decode(&text).map(zeroize::Zeroizing::new);
        let fits = bytes.filter(|bytes| (MIN..=MAX).contains(&bytes.len()));
        fits.map(Self).ok_or_else(|| de::Error::custom("not canonical base64url of the right length"))
    }
}

/// base64url without padding (RFC 4648 §5), canonical: unused bits are zero. Use as `#[serde(with = "b64url")]` on a
/// fixed array or a byte vector; [`Bounded`](b64url::Bounded) adds a limit to the latter.
pub mod b64url {
    use super::BASE64URL_NOPAD;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    /// Encodes.
    pub fn encode(bytes: &[u8]) -> String {
        BASE64URL_NOPAD.encode(bytes)
    }

    /// Decodes; nothing but the one canonical text of the bytes is taken.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        BASE64URL_NOPAD.decode(text.as_bytes()).ok()
    }

    /// Decodes exactly `N` bytes.
    pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
        <[u8; N]>::try_from(decode(text)?).ok()
    }

    /// For serde.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes.as_ref()))
    }

    /// For serde.
    ///
    /// # Errors
    /// The text is not canonical base64url, or not of the length of `T`.
    pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text)
            .and_then(|bytes| T::try_from(bytes).ok())
            .ok_or_else(|| de::Error::custom("not canonical base64url of the right length"))
    }

    /// At most `MAX` bytes, base64url in JSON.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Bounded<const MAX: usize>(Vec<u8>);

    impl<const MAX: usize> Bounded<MAX> {
        /// The bytes.
        pub fn as_bytes(&self) -> &[u8] {
            &self.0
        }
    }

    /// More bytes than the limit.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    #[error("more than {0} bytes")]
    pub struct TooLong(usize);

    impl<const MAX: usize> TryFrom<Vec<u8>> for Bounded<MAX> {
        type Error = TooLong;
        fn try_from(bytes: Vec<u8>) -> Result<Self, TooLong> {
            if bytes.len() <= MAX { Ok(Self(bytes)) } else { Err(TooLong(MAX)) }
        }
    }

    impl<const MAX: usize> Serialize for Bounded<MAX> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serialize(&self.0, serializer)
        }
    }

    impl<'de, const MAX: usize> Deserialize<'de> for Bounded<MAX> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserialize(deserializer)
        }
    }
}

/// Upper-case hexadecimal of a fixed length. Use as `#[serde(with = "hex")]`.
pub mod hex {
    use super::HEXUPPER;
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Encodes.
    pub fn encode(bytes: &[u8]) -> String {
        HEXUPPER.encode(bytes)
    }

    /// Decodes exactly `N` bytes; lower-case digits are refused.
    pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
        <[u8; N]>::try_from(HEXUPPER.decode(text.as_bytes()).ok()?).ok()
    }

    /// For serde.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    /// For serde.
    ///
    /// # Errors
    /// The text is not upper-case hexadecimal of `N` bytes.
    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text).ok_or_else(|| de::Error::custom("not upper-case hexadecimal of the right length"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(json: &str) -> Option<&'static str> {
        Object::parse(json.as_bytes()).err().map(|error| error.rule)
    }

    #[test]
    fn a_repeated_member_is_refused_at_every_depth() {
        assert_eq!(rule(r#"{"a":1,"b":{"a":1}}"#), None);
        for twice in [r#"{"a":1,"a":1}"#, r#"{"b":{"a":1,"a":2}}"#, r#"{"b":[{"a":1,"a":2}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(rule(twice).is_some(), "{twice}");
        }
    }

    #[test]
    fn only_one_object_and_nothing_else_is_a_body() {
        for bad in ["", "[]", "null", "{}{}", "{} x", "{\"a\":}", "\u{feff}{}", &"[".repeat(200)] {
            assert!(rule(bad).is_some(), "{bad}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BODY));
        assert_eq!(rule(&long), Some("at most 64 KiB"));
    }

    #[test]
    fn a_word_is_a_string_and_nothing_else() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Answer {
            Yes,
        }
        #[derive(Deserialize)]
        struct Body {
            #[serde(deserialize_with = "word")]
            answer: Answer,
        }
        let answer = |json: &str| serde_json::from_str::<Body>(json).map(|body| body.answer).ok();
        assert_eq!(answer(r#"{"answer":"yes"}"#), Some(Answer::Yes));
        for bad in [r#"{"yes":null}"#, "\"no\"", "\"Yes\"", "null", "0", r#"["yes"]"#] {
            assert_eq!(answer(&format!("{{\"answer\":{bad}}}")), None, "{bad}");
        }
    }

    #[test]
    fn integers_have_no_fraction_exponent_or_sign() {
        let integer = |json: &str| Object::parse(json.as_bytes()).and_then(|mut o| o.integer("n"));
        assert_eq!(integer(r#"{"n":14}"#), Ok(14));
        for bad in ["14.0", "1e1", "-1", "4294967296", "\"14\"", "null", "true"] {
            assert!(integer(&format!("{{\"n\":{bad}}}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64url_has_one_text_for_each_value() {
        assert_eq!(b64url::decode("AA"), Some(vec![0]));
        for bad in ["AB", "AA==", "A", "A A", "AA\n", "+/8", "Ā"] {
            assert_eq!(b64url::decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_left_over_is_refused_without_its_name() {
        let object = Object::parse(br#"{"secret-name":1}"#).map_err(|e| e.to_string());
        let error = object.and_then(|o| o.finish().map_err(|e| e.to_string()));
        assert_eq!(error, Err("body: unknown member".to_owned()));
    }

    proptest! {
        #[test]
        fn base64url_that_decodes_encodes_to_itself(text in "[A-Za-z0-9_=+/-]{0,24}") {
            if let Some(bytes) = b64url::decode(&text) { prop_assert_eq!(b64url::encode(&bytes), text); }
        }

        #[test]
        fn hexadecimal_that_decodes_encodes_to_itself(text in "[0-9A-Fa-f]{16}") {
            if let Some(bytes) = hex::decode::<8>(&text) { prop_assert_eq!(hex::encode(&bytes), text); }
        }

        #[test]
        fn no_body_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Object::parse(&bytes).map(Object::finish);
        }
    }
}
