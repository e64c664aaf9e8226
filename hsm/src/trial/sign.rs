//! An officer's own token signs the hash of a plan: in a process of its own, like everything that loads a module.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::Process;
use super::wire::{Command, Event};
use super::{Target, TrialError};
use crate::uri::{Pkcs11Uri, UriError, decode};

/// A token that asks its holder to touch it waits for a hand.
const PATIENCE: Duration = Duration::from_mins(2);

/// A key on a token: `pkcs11:token=LABEL;object=LABEL?module-path=/lib.so&pin-source=file:/pin` (RFC 7512).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUri {
    /// The token.
    pub token: Pkcs11Uri,
    /// The label of the private key.
    pub object: String,
}

/// Why a text does not name a key. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyUriError {
    /// The token's part.
    #[error(transparent)]
    Token(#[from] UriError),
    /// The label of the key is missing, stands twice, or is empty.
    #[error("object names the key by its label, once")]
    Object,
}

impl FromStr for KeyUri {
    type Err = KeyUriError;

    fn from_str(text: &str) -> Result<Self, KeyUriError> {
        let rest = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (objects, others): (Vec<&str>, Vec<&str>) = path.split(';').partition(|attribute| attribute.starts_with("object="));
        let [object] = objects[..] else { return Err(KeyUriError::Object) };
        let object = decode(object.trim_start_matches("object="))?;
        if object.is_empty() || object.len() > 255 {
            return Err(KeyUriError::Object);
        }
        Ok(Self { token: format!("pkcs11:{}?{query}", others.join(";")).parse()?, object })
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} of token {}", self.object, self.token.token())
    }
}

/// What the token signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPlan {
    /// ECDSA P-256, `r` | `s`.
    pub signature: Vec<u8>,
    /// The public half as the token has it: `SubjectPublicKeyInfo`, DER.
    pub public_key: Vec<u8>,
}

/// Signs the hash of a plan with the key of that label.
///
/// # Errors
/// [`TrialError`]: no such key, a PIN that is refused, a module that fails.
pub async fn sign_plan(target: &Target, object: &str, hash: [u8; 32]) -> Result<SignedPlan, TrialError> {
    let mut process = Process::start(target)?;
    process.ask(&Command::SignPlan { object: object.to_owned(), hash }).await?;
    match process.hear(PATIENCE).await? {
        Event::SignedPlan(signed) => {
            process.end().await;
            Ok(signed)
        }
        Event::Failed(why) => Err(TrialError::Failed(why)),
        _ => Err(TrialError::Protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "?module-path=/lib.so&pin-source=file:/pin";

    #[test]
    fn a_key_is_named_by_token_and_label() {
        let uri: KeyUri = format!("pkcs11:token=card;object=my%20key{REST}").parse().expect("parses");
        assert_eq!((uri.token.token(), uri.object.as_str()), ("card", "my key"));
        assert_eq!(format!("pkcs11:object=my%20key;token=card{REST}").parse(), Ok(uri));
    }

    #[test]
    fn what_names_no_key_or_two_is_refused() {
        for path in ["token=card", "token=card;object=", "token=card;object=a;object=b"] {
            assert_eq!(format!("pkcs11:{path}{REST}").parse::<KeyUri>(), Err(KeyUriError::Object), "{path}");
        }
        assert_eq!(format!("pkcs11:object=a{REST}").parse::<KeyUri>(), Err(KeyUriError::Token(UriError::Token)));
        assert_eq!(format!("pkcs11:token=card;object=a{REST}&pin-value=1").parse::<KeyUri>(), Err(KeyUriError::Token(UriError::PinValue)));
    }
}
