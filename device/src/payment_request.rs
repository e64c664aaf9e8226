//! What the phone shows the consumer's device (docs/protocol.md §8).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::encoding::Base64Url;
use crate::id::{DeviceId, MerchantId, TerminalId};
use crate::jws::{self, ChainHeader, Typ};
use crate::merchant_key::MerchantKey;

/// Why an amount or a currency is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Zero, or more than JSON numbers hold everywhere (RFC 8259 §6).
    #[error("an amount is from 1 to 9007199254740991")]
    Amount,
    /// Not three upper-case letters.
    #[error("a currency has three upper-case letters")]
    Currency,
}

/// An amount in the currency's minor unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Amount(u64);

impl TryFrom<u64> for Amount {
    type Error = MoneyError;
    fn try_from(value: u64) -> Result<Self, MoneyError> {
        if (1..=9_007_199_254_740_991).contains(&value) { Ok(Self(value)) } else { Err(MoneyError::Amount) }
    }
}

impl From<Amount> for u64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

/// An ISO 4217 currency code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| MoneyError::Currency)?;
        if letters.iter().all(u8::is_ascii_uppercase) { Ok(Self(letters)) } else { Err(MoneyError::Currency) }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(text: String) -> Result<Self, MoneyError> {
        text.parse()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.to_string()
    }
}

/// Claims of a payment request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentRequestClaims {
    /// The merchant.
    pub merchant: MerchantId,
    /// The terminal.
    pub terminal: TerminalId,
    /// The phone.
    pub device: DeviceId,
    /// What is to be paid.
    pub amount: Amount,
    /// In which currency.
    pub currency: Currency,
    /// 16 random bytes.
    pub nonce: Base64Url,
    /// When it was made.
    pub iat: i64,
    /// The latest attestation result as received.
    pub attestation: String,
}

/// Signs a payment request under `chain` (leaf, issuing CA) as `x5c`.
pub fn sign(key: &MerchantKey, chain: &[Base64Url], claims: &PaymentRequestClaims) -> String {
    let header = ChainHeader {
        alg: "ES256".to_owned(),
        typ: Typ::PaymentRequest.as_str().to_owned(),
        x5c: chain.iter().map(|certificate| BASE64.encode(&certificate.0)).collect(),
    };
    jws::sign(key, &header, claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_whole_positive_and_safe_in_json() {
        for (json, fits) in [
            ("1", true),
            ("9007199254740991", true),
            ("0", false),
            ("9007199254740992", false),
            ("-1", false),
            ("1.5", false),
            ("\"1\"", false),
        ] {
            assert_eq!(serde_json::from_str::<Amount>(json).is_ok(), fits, "{json}");
        }
    }

    proptest! {
        #[test]
        fn a_currency_is_three_upper_case_letters(text in ".{0,4}") {
            let fits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
            prop_assert_eq!(text.parse::<Currency>().map(|currency| currency.to_string()).ok(), fits.then_some(text));
        }
    }
}
