//! The activation code: the first secret, as a person types it (docs/protocol.md §3.1).

use std::fmt;

use zeroize::Zeroizing;

use crate::id::{ActivationId, CROCKFORD};
use crate::wire::length_prefix;

/// Symbols of a code: 7 of the id, 16 of the secret, 1 check.
const SYMBOLS: usize = 24;
/// Longest text that is looked at: the code with generous separators.
const MAX_TEXT: usize = 64;

/// Why a text is not an activation code. Finding that out costs nobody a try: the secret was not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Not 24 symbols.
    #[error("an activation code has 24 symbols")]
    Length,
    /// A symbol outside Crockford's alphabet.
    #[error("a symbol that an activation code does not have")]
    Symbol,
    /// Mistyped.
    #[error("the check symbol does not fit: the code was mistyped")]
    Check,
}

impl CodeError {
    /// Display, as a rule of a message.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Length => "24 symbols",
            Self::Symbol => "Crockford base32",
            Self::Check => "the check symbol does not fit",
        }
    }
}

/// An activation code with a fitting check symbol. Says nothing about whether it is the right one: the HSM does.
pub struct ActivationCode {
    id: ActivationId,
    /// All 24 symbols, normalised: upper case, no separators.
    symbols: Zeroizing<String>,
}

impl ActivationCode {
    /// A code from random bytes: 35 bits of the id, all 80 bits of the secret.
    ///
    /// # Panics
    /// Never: the symbols made here parse.
    pub fn from_random(id: [u8; 5], secret: &[u8; 10]) -> Self {
        let mut symbols = Zeroizing::new(String::with_capacity(SYMBOLS));
        // Five bytes are eight symbols; the id takes seven of them.
        push_symbols(&mut symbols, &id);
        symbols.truncate(7);
        for half in secret.chunks(5) {
            push_symbols(&mut symbols, half);
        }
        let check = check_symbol(symbols.as_bytes()).expect("made of the alphabet");
        symbols.push(char::from(check));
        Self::from_symbols(symbols).expect("made of the alphabet with its check symbol")
    }

    /// Reads what a person typed: separators dropped, case folded, `I` and `L` read as `1`, `O` as `0`.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        if text.len() > MAX_TEXT {
            return Err(CodeError::Length);
        }
        let mut symbols = Zeroizing::new(String::with_capacity(MAX_TEXT));
        for typed in text.chars().filter(|c| !matches!(c, '-' | ' ')) {
            symbols.push(match typed.to_ascii_uppercase() {
                'I' | 'L' => '1',
                'O' => '0',
                c if u8::try_from(c).is_ok_and(|b| CROCKFORD.contains(&b)) => c,
                _ => return Err(CodeError::Symbol),
            });
        }
        Self::from_symbols(symbols)
    }

    fn from_symbols(symbols: Zeroizing<String>) -> Result<Self, CodeError> {
        let (Some(body), Some(check), SYMBOLS) = (symbols.get(..SYMBOLS - 1), symbols.as_bytes().last(), symbols.len()) else {
            return Err(CodeError::Length);
        };
        if check_symbol(body.as_bytes()) != Some(*check) {
            return Err(CodeError::Check);
        }
        let id = body.get(..7).and_then(|id| id.parse().ok()).ok_or(CodeError::Symbol)?;
        Ok(Self { id, symbols })
    }

    /// The public part.
    pub fn id(&self) -> &ActivationId {
        &self.id
    }

    /// The 24 symbols: what the transcript holds.
    pub fn expose_symbols(&self) -> &str {
        &self.symbols
    }

    /// For a person: six groups of four.
    pub fn expose_groups(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(SYMBOLS + 5));
        for (index, symbol) in self.symbols.chars().enumerate() {
            if index % 4 == 0 && index > 0 {
                text.push('-');
            }
            text.push(symbol);
        }
        text
    }

    /// For a QR symbol; `url` is the device listener's, `root_pin` the SHA-256 of the root certificate.
    pub fn expose_qr_payload(&self, url: &str, root_pin: &[u8; 32]) -> Zeroizing<String> {
        let url = percent_encoded(url);
        let root = data_encoding::HEXLOWER.encode(root_pin);
        Zeroizing::new(format!("tillward:activate?code={}&url={url}&root={root}", self.symbols.as_str()))
    }

    /// What goes under `activation-mac`: LP("tillward/activation/v1") ‖ LP(id) ‖ LP(secret), both as symbols.
    pub fn expose_mac_message(&self) -> Zeroizing<Vec<u8>> {
        let secret = self.symbols.as_bytes().get(7..SYMBOLS - 1).unwrap_or_default();
        // Sized so that no reallocation leaves a copy behind.
        let mut message = Zeroizing::new(Vec::with_capacity(64));
        for part in [b"tillward/activation/v1".as_slice(), self.id.as_str().as_bytes(), secret] {
            message.extend_from_slice(&length_prefix(part.len()));
            message.extend_from_slice(part);
        }
        message
    }
}

impl fmt::Debug for ActivationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivationCode").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Eight symbols from five bytes, most significant first.
fn push_symbols(symbols: &mut String, bytes: &[u8]) {
    let value = bytes.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    for shift in (0..8).rev() {
        let index = usize::try_from((value >> (5 * shift)) & 31).expect("five bits");
        symbols.push(char::from(*CROCKFORD.get(index).expect("five bits index 32 symbols")));
    }
}

/// A weighted sum over GF(32), c = Σ 2^(23-i)·s_i with x^5 = x^2 + 1 (docs/protocol.md §3.1): 2 generates the field's 31
/// powers, so no two of the 24 places weigh the same, and it finds every single wrong symbol and every swap.
fn check_symbol(symbols: &[u8]) -> Option<u8> {
    let double = |c: usize| if c < 16 { 2 * c } else { (2 * c) ^ 0b10_0101 };
    let mut sum = 0;
    for symbol in symbols {
        sum = double(sum) ^ CROCKFORD.iter().position(|known| known == symbol)?;
    }
    CROCKFORD.get(double(sum)).copied()
}

/// RFC 3986 §2.1: everything but unreserved characters.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code() -> ActivationCode {
        ActivationCode::from_random([0, 1, 2, 3, 4], &[5, 6, 7, 8, 9, 10, 11, 12, 13, 14])
    }

    #[test]
    fn a_code_is_the_bits_of_its_random_bytes() {
        // RFC 4648 base32 of 0001020304 (seven symbols of it) and of 05..0E, in Crockford's alphabet.
        assert_eq!(code().id().as_str(), "000G40R");
        assert_eq!(code().expose_symbols(), "000G40R0M30E209185GR38ER");
        assert_eq!(code().expose_groups().as_str(), "000G-40R0-M30E-2091-85GR-38ER");
    }

    #[test]
    fn what_people_type_is_read() {
        for typed in ["000g-40r0-m30e-2091-85gr-38er", "OOOG 4OR0 M3oE 2O9l 85GR 38ER", "000G40R0M30E209185GR38ER"] {
            assert_eq!(ActivationCode::parse(typed).expect("reads").expose_symbols(), code().expose_symbols(), "{typed}");
        }
    }

    #[test]
    fn what_is_not_a_code_is_refused() {
        let parse = |text: &str| ActivationCode::parse(text).err();
        assert_eq!(parse(""), Some(CodeError::Length));
        assert_eq!(parse("000G40R0M30E209185GR38E"), Some(CodeError::Length));
        assert_eq!(parse("000G40R0M30E209185GR38ERC"), Some(CodeError::Length));
        assert_eq!(parse(&"-".repeat(65)), Some(CodeError::Length));
        assert_eq!(parse("U00G40R0M30E209185GR38ER"), Some(CodeError::Symbol));
        assert_eq!(parse("000G40R0M30E209185GR38E\u{e9}"), Some(CodeError::Symbol));
        assert_eq!(parse("100G40R0M30E209185GR38EG"), Some(CodeError::Check));
        assert_eq!(parse("00000000000000000000000Z"), Some(CodeError::Check));
    }

    #[test]
    fn the_mac_message_is_the_length_prefixed_context_id_and_secret() {
        let mut expected = Vec::new();
        expected.extend_from_slice(b"\0\0\0\x16tillward/activation/v1");
        expected.extend_from_slice(b"\0\0\0\x07000G40R");
        expected.extend_from_slice(b"\0\0\0\x100M30E209185GR38E");
        assert_eq!(*code().expose_mac_message(), expected);
    }

    #[test]
    fn the_qr_payload_is_that_of_the_protocol() {
        assert_eq!(
            code().expose_qr_payload("https://pay.example:8443/", &[0xab; 32]).as_str(),
            format!("tillward:activate?code=000G40R0M30E209185GR38ER&url=https%3A%2F%2Fpay.example%3A8443%2F&root={}", "ab".repeat(32))
        );
    }

    #[test]
    fn debug_shows_the_id_and_not_the_secret() {
        let shown = format!("{:?}", code());
        assert!(shown.contains("000G40R") && !shown.contains("0M30E"), "{shown}");
    }

    proptest! {
        #[test]
        fn a_made_code_parses_to_itself(id: [u8; 5], secret: [u8; 10]) {
            let made = ActivationCode::from_random(id, &secret);
            let read = ActivationCode::parse(&made.expose_groups()).expect("parses");
            prop_assert_eq!(read.expose_symbols(), made.expose_symbols());
            prop_assert_eq!(read.id(), made.id());
        }

        #[test]
        fn one_wrong_symbol_is_found(secret: [u8; 10], at in 0_usize..24, with in 0_usize..32) {
            let made = ActivationCode::from_random([7; 5], &secret);
            let mut symbols = made.expose_symbols().as_bytes().to_vec();
            let (was, is) = (symbols[at], CROCKFORD[with]);
            prop_assume!(was != is);
            symbols[at] = is;
            let text = String::from_utf8(symbols).expect("ASCII");
            prop_assert_eq!(ActivationCode::parse(&text).err(), Some(CodeError::Check));
        }

        #[test]
        fn a_swap_is_found(secret: [u8; 10], one in 0_usize..24, other in 0_usize..24) {
            let made = ActivationCode::from_random([7; 5], &secret);
            let mut symbols = made.expose_symbols().as_bytes().to_vec();
            prop_assume!(symbols[one] != symbols[other]);
            symbols.swap(one, other);
            let text = String::from_utf8(symbols).expect("ASCII");
            prop_assert_eq!(ActivationCode::parse(&text).err(), Some(CodeError::Check));
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = ActivationCode::parse(&text);
        }
    }
}
