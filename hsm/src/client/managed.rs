//! The operations on managed keys, one method each.

use std::time::Duration;

use zeroize::Zeroizing;

use super::Hsm;
use super::call::{bytes, done};
use crate::approval::Approved;
use crate::error::HsmError;
use crate::managed::{KekRef, KeyAlgorithm, KeyRef, Purpose, SignatureScheme};
use crate::managed_op::{Exchange, Generated, MadeKek, Managed, ManagedAnswer};
use crate::model::AcquirerKeys;
use crate::op::{Answer, Operation, Plaintext};

/// RSA-4096 on a slow token takes its time.
const MAKING: Duration = Duration::from_mins(1);

fn plaintext(answer: Answer) -> Result<Zeroizing<Vec<u8>>, HsmError> {
    match answer {
        Answer::Plaintext(mut plaintext) => Ok(Zeroizing::new(std::mem::take(&mut plaintext.0))),
        _ => Err(HsmError::Protocol),
    }
}

fn generated(answer: Answer) -> Result<Generated, HsmError> {
    if let Answer::Managed(ManagedAnswer::Generated(made)) = answer { Ok(*made) } else { Err(HsmError::Protocol) }
}

/// Every method fails with [`HsmError`]: [`HsmError::fault`] tells the caller's fault from the HSM's.
#[expect(clippy::missing_errors_doc, reason = "all of one shape: said once, above")]
impl Hsm {
    async fn managed(&self, operation: Managed) -> Result<Answer, HsmError> {
        self.ask(Operation::Managed(operation)).await
    }

    /// What the module can make.
    pub async fn offers(&self) -> Result<Vec<(Purpose, KeyAlgorithm)>, HsmError> {
        match self.managed(Managed::Offers).await? {
            Answer::Managed(ManagedAnswer::Offers(offers)) => Ok(offers),
            _ => Err(HsmError::Protocol),
        }
    }

    /// Makes a key, proven by use and read back. Asked again, it tells of the key that is there; one with an escrow block it does not tell of again.
    pub async fn generate_key(&self, key: &KeyRef, exportable: bool) -> Result<Generated, HsmError> {
        let operation = Operation::Managed(Managed::Generate { key: key.clone(), exportable });
        generated(self.ask_within(operation, MAKING).await?)
    }

    /// The key as the token has it now.
    pub async fn read_key(&self, key: &KeyRef) -> Result<Generated, HsmError> {
        generated(self.managed(Managed::Read { key: key.clone() }).await?)
    }

    /// Destroys a key on the token; the host verifies the approvals itself. Done where it is not there.
    pub async fn destroy_key(&self, key: &KeyRef, approved: &Approved) -> Result<(), HsmError> {
        done(&self.managed(Managed::Destroy { key: key.clone(), approved: approved.clone() }).await?)
    }

    /// Signs a digest (ECDSA, RSA) or a message (Ed25519).
    pub async fn key_sign(&self, key: &KeyRef, scheme: SignatureScheme, input: Vec<u8>) -> Result<Vec<u8>, HsmError> {
        bytes(self.managed(Managed::Sign { key: key.clone(), scheme, input }).await?)
    }

    /// Verifies a signature.
    pub async fn key_verify(&self, key: &KeyRef, scheme: SignatureScheme, input: Vec<u8>, signature: Vec<u8>) -> Result<bool, HsmError> {
        match self.managed(Managed::Verify { key: key.clone(), scheme, input, signature }).await? {
            Answer::Managed(ManagedAnswer::Valid(valid)) => Ok(valid),
            _ => Err(HsmError::Protocol),
        }
    }

    /// AES-CMAC or HMAC-SHA-256.
    pub async fn key_mac(&self, key: &KeyRef, message: Vec<u8>) -> Result<Vec<u8>, HsmError> {
        bytes(self.managed(Managed::Mac { key: key.clone(), message }).await?)
    }

    /// Verifies a MAC; [`Refusal::MacMismatch`](crate::Refusal::MacMismatch) where it is another.
    pub async fn key_verify_mac(&self, key: &KeyRef, message: Vec<u8>, mac: Vec<u8>) -> Result<(), HsmError> {
        done(&self.managed(Managed::VerifyMac { key: key.clone(), message, mac }).await?)
    }

    /// AES-GCM: nonce | ciphertext | tag, the nonce drawn by the token.
    pub async fn key_encrypt(&self, key: &KeyRef, aad: Vec<u8>, plaintext: &[u8]) -> Result<Vec<u8>, HsmError> {
        let plaintext = Plaintext(plaintext.to_vec());
        bytes(self.managed(Managed::Encrypt { key: key.clone(), aad, plaintext }).await?)
    }

    /// The reverse; [`Refusal::DecryptionFailed`](crate::Refusal::DecryptionFailed) where key, associated data or ciphertext is another.
    pub async fn key_decrypt(&self, key: &KeyRef, aad: Vec<u8>, ciphertext: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        plaintext(self.managed(Managed::Decrypt { key: key.clone(), aad, ciphertext }).await?)
    }

    /// AES-KWP over key material of the caller.
    pub async fn key_wrap(&self, key: &KeyRef, material: &[u8]) -> Result<Vec<u8>, HsmError> {
        let material = Plaintext(material.to_vec());
        bytes(self.managed(Managed::Wrap { key: key.clone(), material }).await?)
    }

    /// The reverse.
    pub async fn key_unwrap(&self, key: &KeyRef, wrapped: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        plaintext(self.managed(Managed::Unwrap { key: key.clone(), wrapped }).await?)
    }

    /// Gives a key out under a partner's KEK, in the form of the KEK; the host verifies the approvals itself.
    pub async fn export_key(&self, key: &KeyRef, kek: &KekRef, escrow: Vec<u8>, approved: &Approved) -> Result<Vec<u8>, HsmError> {
        let operation = Exchange::Export { key: key.clone(), kek: kek.clone(), escrow, approved: approved.clone() };
        bytes(self.ask(Operation::Exchange(operation)).await?)
    }

    /// Takes a key in; the host verifies the approvals itself.
    pub async fn import_key(&self, key: &KeyRef, kek: &KekRef, content: Vec<u8>, approved: &Approved) -> Result<Generated, HsmError> {
        let operation = Exchange::Import { key: key.clone(), kek: kek.clone(), content, approved: approved.clone() };
        generated(self.ask(Operation::Exchange(operation)).await?)
    }

    /// Ceremony: a partner's KEK, wrapped for the partner's RSA key (`SubjectPublicKeyInfo`, DER).
    pub async fn make_kek(&self, kek: &KekRef, partner: Vec<u8>) -> Result<MadeKek, HsmError> {
        let operation = Operation::Exchange(Exchange::MakeKek { kek: kek.clone(), partner });
        match self.ask_within(operation, MAKING).await? {
            Answer::Managed(ManagedAnswer::Kek(made)) => Ok(*made),
            _ => Err(HsmError::Protocol),
        }
    }

    /// Ceremony: the exportable base derivation keys of an acquirer: PIN, then data.
    pub async fn make_bdks(&self, acquirer: AcquirerKeys) -> Result<Vec<Generated>, HsmError> {
        match self.ask_within(Operation::Exchange(Exchange::MakeBdks { acquirer }), MAKING).await? {
            Answer::Managed(ManagedAnswer::Bdks(made)) => Ok(made),
            _ => Err(HsmError::Protocol),
        }
    }
}
