//! PKCS#11 URI (RFC 7512), the part that names one token: `pkcs11:token=LABEL?module-path=/lib.so&pin-source=file:/pin`.
//!
//! Stricter than the RFC where leniency would hide a mistake: an attribute that is not understood is refused instead of
//! ignored, every attribute stands once, and `pin-value` is refused because a URI ends up in process lists and logs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a PKCS#11 URI for Tillward. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// RFC 7512 §2.3: the scheme.
    #[error("a PKCS#11 URI begins with pkcs11:")]
    Scheme,
    /// RFC 7512 §2.4 forbids nothing here, but a PIN in a URI is a PIN in the process list.
    #[error("pin-value is refused: put the PIN into a file and name it with pin-source=file:/path")]
    PinValue,
    /// An attribute that would have to be ignored.
    #[error("only token, module-path and pin-source are understood")]
    Unknown,
    /// RFC 7512 §2.3: an attribute stands once.
    #[error("an attribute stands twice")]
    Duplicate,
    /// RFC 3986 §2.1.
    #[error("bad percent-encoding, or a character that must be percent-encoded")]
    Encoding,
    /// `C_InitToken`: 32 bytes, padded with blanks.
    #[error("token is missing or is not a label of 1 to 32 bytes")]
    Token,
    /// A relative path would depend on the working directory.
    #[error("module-path is missing or not an absolute path")]
    Module,
    /// RFC 7512 §2.4, only the file form.
    #[error("pin-source is missing or not file:/absolute/path")]
    PinSource,
}

/// One token, the module that reaches it and the file that holds its PIN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pkcs11Uri {
    token: String,
    module: PathBuf,
    pin: PathBuf,
}

impl Pkcs11Uri {
    /// A URI of its three parts.
    ///
    /// # Errors
    /// [`UriError`] if one of them could not be written as a URI.
    pub fn new(token: &str, module: &Path, pin: &Path) -> Result<Self, UriError> {
        let module = module.to_str().ok_or(UriError::Module)?;
        let pin = pin.to_str().ok_or(UriError::PinSource)?;
        Self::checked(token.to_owned(), module, pin)
    }

    /// Label of the token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The PKCS#11 module.
    pub fn module_path(&self) -> &Path {
        &self.module
    }

    /// The file with the user's PIN. Only the host reads it.
    pub fn pin_path(&self) -> &Path {
        &self.pin
    }

    fn checked(token: String, module: &str, pin: &str) -> Result<Self, UriError> {
        // A label is compared after its padding is cut, so one that ends in a blank could never be found.
        if token.is_empty() || token.len() > 32 || token.ends_with(' ') || token.chars().any(char::is_control) {
            return Err(UriError::Token);
        }
        if !module.starts_with('/') || module.contains('\0') {
            return Err(UriError::Module);
        }
        // `//` would be read back as the authority of a file URI.
        if !pin.starts_with('/') || pin.starts_with("//") || pin.contains('\0') {
            return Err(UriError::PinSource);
        }
        Ok(Self { token, module: module.into(), pin: pin.into() })
    }
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut token, mut module, mut pin) = (None, None, None);
        for (attribute, in_path) in path.split(';').map(|a| (a, true)).chain(query.split('&').map(|a| (a, false))) {
            if attribute.is_empty() {
                continue;
            }
            let (name, value) = attribute.split_once('=').ok_or(UriError::Unknown)?;
            let slot = match (name, in_path) {
                ("token", true) => &mut token,
                ("module-path", false) => &mut module,
                ("pin-source", false) => &mut pin,
                ("pin-value", _) => return Err(UriError::PinValue),
                _ => return Err(UriError::Unknown),
            };
            if slot.replace(decode(value)?).is_some() {
                return Err(UriError::Duplicate);
            }
        }
        let pin = pin.ok_or(UriError::PinSource)?;
        let pin = pin.strip_prefix("file:").ok_or(UriError::PinSource)?;
        // file:///path has an empty authority (RFC 8089 §2); any other authority would be another machine.
        let pin = if let Some(path) = pin.strip_prefix("//") { path } else { pin };
        Self::checked(token.ok_or(UriError::Token)?, &module.ok_or(UriError::Module)?, pin)
    }
}

/// RFC 7512 §2.3: the characters that stand for themselves in both the path and the query part.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=/".contains(&byte)
}

pub(crate) fn decode(text: &str) -> Result<String, UriError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || {
                let digit = char::from(rest.next().ok_or(UriError::Encoding)?).to_digit(16).ok_or(UriError::Encoding)?;
                u8::try_from(digit).map_err(|_| UriError::Encoding)
            };
            let (high, low) = (digit()?, digit()?);
            bytes.push(high << 4 | low);
        } else if plain(byte) {
            bytes.push(byte);
        } else {
            return Err(UriError::Encoding);
        }
    }
    String::from_utf8(bytes).map_err(|_| UriError::Encoding)
}

struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if plain(byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Path| path.to_str().map(str::to_owned).unwrap_or_default();
        let (module, pin) = (path(&self.module), path(&self.pin));
        write!(f, "pkcs11:token={}?module-path={}&pin-source=file:{}", Encoded(&self.token), Encoded(&module), Encoded(&pin))
    }
}

impl TryFrom<String> for Pkcs11Uri {
    type Error = UriError;
    fn try_from(text: String) -> Result<Self, UriError> {
        text.parse()
    }
}

impl From<Pkcs11Uri> for String {
    fn from(uri: Pkcs11Uri) -> Self {
        uri.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(token in "[ -~é]{1,16}[!-~]", module in "/[ -~ü]{0,40}", pin in "/[ -~]{0,40}") {
            let pin = format!("/{}", pin.trim_start_matches('/'));
            let uri = Pkcs11Uri::new(&token, Path::new(&module), Path::new(&pin)).expect("fits");
            prop_assert_eq!(uri.to_string().parse::<Pkcs11Uri>().expect("parses"), uri);
        }

        #[test]
        fn no_text_panics(text in "(pkcs11:)?[ -~é]{0,80}") {
            let _ = text.parse::<Pkcs11Uri>();
        }
    }

    const GOOD: &str = "pkcs11:token=Tillward%20one?module-path=/usr/lib/m.so&pin-source=file:/run/pin";

    #[test]
    fn a_uri_is_read() {
        let uri: Pkcs11Uri = GOOD.parse().expect("parses");
        assert_eq!(uri.token(), "Tillward one");
        assert_eq!(uri.module_path(), Path::new("/usr/lib/m.so"));
        assert_eq!(uri.pin_path(), Path::new("/run/pin"));
        let long_form = GOOD.replace("file:/run", "file:///run");
        assert_eq!(long_form.parse::<Pkcs11Uri>().expect("parses"), uri);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let cases = [
            ("pkcs12:token=a", UriError::Scheme),
            ("pkcs11:token=a?pin-value=1234", UriError::PinValue),
            ("pkcs11:token=a;serial=1?module-path=/m&pin-source=file:/p", UriError::Unknown),
            ("pkcs11:token=a;token=b?module-path=/m&pin-source=file:/p", UriError::Duplicate),
            ("pkcs11:module-path=/m?pin-source=file:/p", UriError::Unknown),
            ("pkcs11:token=a b?module-path=/m&pin-source=file:/p", UriError::Encoding),
            ("pkcs11:token=a%2?module-path=/m&pin-source=file:/p", UriError::Encoding),
            ("pkcs11:token=?module-path=/m&pin-source=file:/p", UriError::Token),
            ("pkcs11:token=a?module-path=m&pin-source=file:/p", UriError::Module),
            ("pkcs11:token=a?module-path=/m", UriError::PinSource),
            ("pkcs11:token=a?module-path=/m&pin-source=/p", UriError::PinSource),
            ("pkcs11:token=a?module-path=/m&pin-source=file://host/p", UriError::PinSource),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Pkcs11Uri>(), Err(error), "{text}");
        }
    }
}
