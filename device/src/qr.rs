//! The QR payload of an activation (docs/protocol.md §3.1): code, device listener, root pin.

use crate::code::{ActivationCode, CodeError};
use crate::trust::RootPin;

/// Longest payload that is read.
const LIMIT: usize = 2048;

/// Why a text is not the payload of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QrError {
    /// Not `tillward:activate?code=...&url=...&root=...`.
    #[error("not a tillward activation payload")]
    Shape,
    /// The URL is not an https URL in percent-encoding.
    #[error("the URL of the payload is not an https URL")]
    Url,
    /// The root pin is not 64 hexadecimal digits.
    #[error("the root pin of the payload is not 64 hexadecimal digits")]
    Root,
    /// The code.
    #[error("the code of the payload")]
    Code(#[from] CodeError),
}

/// What the QR code of an activation says.
#[derive(Debug)]
pub struct Activation {
    /// The first secret.
    pub code: ActivationCode,
    /// Where the device listener is.
    pub url: String,
    /// The root pin, for a phone that was not built for one installation.
    pub root: RootPin,
}

impl Activation {
    /// Reads the payload: exactly these members in this order.
    ///
    /// # Errors
    /// [`QrError`] names the member that is wrong.
    pub fn parse(text: &str) -> Result<Self, QrError> {
        if text.len() > LIMIT {
            return Err(QrError::Shape);
        }
        let members = text.strip_prefix("tillward:activate?code=").ok_or(QrError::Shape)?;
        let (code, members) = members.split_once("&url=").ok_or(QrError::Shape)?;
        let (url, root) = members.split_once("&root=").ok_or(QrError::Shape)?;
        if code.len() != 24 {
            return Err(CodeError::Length.into());
        }
        let url = percent_decode(url).filter(|url| url.len() > "https://".len() && url.starts_with("https://")).ok_or(QrError::Url)?;
        Ok(Self { code: ActivationCode::parse(code)?, url, root: root.parse().map_err(|_| QrError::Root)? })
    }

    /// The payload. It holds the first secret.
    pub fn expose_payload(&self) -> String {
        format!("tillward:activate?code={}&url={}&root={}", self.code.expose_symbols(), percent_encode(&self.url), self.root)
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §2.1: everything but unreserved characters is encoded.
fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if is_unreserved(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
        }
        encoded
    })
}

/// Printable ASCII only: a URL has nothing else.
fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            rest = after;
            *data_encoding::HEXUPPER_PERMISSIVE.decode(digits).ok()?.first()?
        } else {
            rest = after;
            if is_unreserved(*first) { *first } else { return None }
        };
        if !byte.is_ascii_graphic() {
            return None;
        }
        decoded.push(char::from(byte));
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAYLOAD: &str = "tillward:activate?code=ABCDEFGHJKMNPQRSTVWXYZ02&url=https%3A%2F%2Ftillward.example%3A8443\
        &root=0101010101010101010101010101010101010101010101010101010101010101";

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Activation::parse(&text);
            let _ = Activation::parse(&format!("tillward:activate?code={text}&url={text}&root={text}"));
        }

        #[test]
        fn a_url_survives_percent_encoding(path in "[!-~]{0,60}") {
            let url = format!("https://{path}");
            prop_assert_eq!(percent_decode(&percent_encode(&url)), Some(url));
        }
    }

    #[test]
    fn a_payload_prints_itself() {
        let activation = Activation::parse(PAYLOAD).expect("reads");
        assert_eq!(activation.url, "https://tillward.example:8443");
        assert_eq!(activation.expose_payload(), PAYLOAD);
        assert!(!format!("{activation:?}").contains("TVWXYZ02"));
    }

    #[test]
    fn every_other_shape_is_refused() {
        let refused = |from: &str, to: &str| Activation::parse(&PAYLOAD.replace(from, to)).expect_err("refused");
        assert_eq!(refused("https%3A", "http%3A"), QrError::Url);
        assert_eq!(refused("%3A%2F%2F", "://"), QrError::Url);
        assert_eq!(refused("example", "exa%0Ample"), QrError::Url);
        assert_eq!(refused("YZ02", "YZ03"), QrError::Code(CodeError::Check));
        assert_eq!(refused("YZ02", "YZ0-2"), QrError::Code(CodeError::Length));
        assert_eq!(refused("&root=01", "&root="), QrError::Root);
        assert_eq!(refused("&root=01", "&root=0x"), QrError::Root);
        assert_eq!(refused("&root=", "&more=1&root="), QrError::Url);
        assert_eq!(refused("tillward:", "TILLWARD:"), QrError::Shape);
        assert_eq!(refused("&url=", "&link="), QrError::Shape);
    }
}
