//! Account data for the back end under a DUKPT key (docs/protocol.md §7).

use serde::{Deserialize, Serialize};

use crate::derivation::Usage;
use crate::dukpt::InitialKey;
use crate::encoding::{Base64Url, length_prefixed};
use crate::ksn::{Ksn, TransactionCounter};

/// A payment message as the back end passes it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentMessage {
    /// Initial key and counter.
    pub ksn: Ksn,
    /// 16 random bytes.
    pub iv: Base64Url,
    /// What is authenticated and not encrypted.
    pub aad: Base64Url,
    /// AES-CBC with PKCS #7 padding under the data key.
    pub ciphertext: Base64Url,
    /// AES-CMAC under the MAC key.
    pub mac: Base64Url,
}

/// A PIN block and the transaction whose key it is under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinMessage {
    /// Initial key and counter.
    pub ksn: Ksn,
    /// ISO 9564-1 format 4, encrypted.
    pub pin_block: Base64Url,
}

/// Why account data cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// The ciphertext would be longer than 8192 bytes.
    #[error("account data has at most 8191 bytes")]
    TooLong,
    /// `aad` is longer than 1024 bytes.
    #[error("additional data has at most 1024 bytes")]
    AdditionalDataTooLong,
}

/// Longest plaintext: a whole 8192 bytes with at least one of padding.
const PLAINTEXT_LIMIT: usize = 8191;
const AAD_LIMIT: usize = 1024;

/// Looks at the lengths before a counter is spent.
pub(crate) fn check_lengths(account_data: &[u8], aad: &[u8]) -> Result<(), PaymentError> {
    if account_data.len() > PLAINTEXT_LIMIT {
        return Err(PaymentError::TooLong);
    }
    if aad.len() > AAD_LIMIT { Err(PaymentError::AdditionalDataTooLong) } else { Ok(()) }
}

/// Encrypts, then MACs: usage 3000 and 2000 of the same counter.
pub(crate) fn encrypt(key: &InitialKey, counter: TransactionCounter, iv: [u8; 16], account_data: &[u8], aad: &[u8]) -> PaymentMessage {
    let ksn = key.ksn(counter);
    let ciphertext = key.working_key(Usage::DataEncryption, counter).encrypt_cbc(&iv, account_data);
    let mac = key.working_key(Usage::MacGeneration, counter).cmac(&[&ksn.bytes(), &iv, &length_prefixed(&[aad]), &ciphertext]);
    PaymentMessage { ksn, iv: iv.into(), aad: aad.into(), ciphertext: ciphertext.into(), mac: mac.into() }
}
