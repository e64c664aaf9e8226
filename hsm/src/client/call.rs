//! The operations, one method each.

use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Hsm;
use crate::error::{HsmError, Refusal};
use crate::keyblock::KeyBlock;
use crate::ksn::{Ikid, Ksn};
use crate::model::{AcquirerKeys, HostStatus, KeyRecord, KeySpec, KnownAnswer, OpenEnrolment, PublicKeyOf, SigningKey, WrappedInitialKey};
use crate::op::{Answer, Operation};

/// Making RSA-3072 on a slow token takes its time.
const CEREMONY: Duration = Duration::from_mins(3);

fn fixed<const N: usize>(answer: Answer) -> Result<[u8; N], HsmError> {
    bytes(answer)?.try_into().map_err(|_| HsmError::Protocol)
}

pub(super) fn bytes(answer: Answer) -> Result<Vec<u8>, HsmError> {
    if let Answer::Bytes(bytes) = answer { Ok(bytes) } else { Err(HsmError::Protocol) }
}

pub(super) fn done(answer: &Answer) -> Result<(), HsmError> {
    if let Answer::Done = answer { Ok(()) } else { Err(HsmError::Protocol) }
}

/// Every method fails with [`HsmError`]: [`HsmError::fault`] tells the caller's fault from the HSM's.
#[expect(clippy::missing_errors_doc, reason = "all of one shape: said once, above")]
impl Hsm {
    /// What the host says of itself, its module, its token and every check.
    pub async fn status(&self) -> Result<HostStatus, HsmError> {
        if let Answer::Status(status) = self.ask(Operation::Status).await? { Ok(*status) } else { Err(HsmError::Protocol) }
    }

    /// Every key of the token that is as designed, read back now.
    pub async fn inventory(&self) -> Result<Vec<KeyRecord>, HsmError> {
        let mut keys: Vec<KeyRecord> = Vec::new();
        loop {
            let after = keys.last().map(|key| key.label.clone());
            let Answer::Page(page, more) = self.ask(Operation::Inventory { after }).await? else { return Err(HsmError::Protocol) };
            let goes_on = more && !page.is_empty();
            keys.extend(page);
            if !goes_on {
                return Ok(keys);
            }
        }
    }

    /// The acquirers whose base derivation keys are on the token.
    pub async fn acquirers(&self) -> Result<Vec<AcquirerKeys>, HsmError> {
        if let Answer::Acquirers(acquirers) = self.ask(Operation::Acquirers).await? { Ok(acquirers) } else { Err(HsmError::Protocol) }
    }

    /// A signature with `attestation-signing`, verified in software: the only sign of life that means that keys work.
    pub async fn canary(&self) -> Result<(), HsmError> {
        done(&self.ask(Operation::Canary).await?)
    }

    /// 1 to 1024 bytes from the token's random generator.
    pub async fn random(&self, length: usize) -> Result<Vec<u8>, HsmError> {
        let length = u16::try_from(length).map_err(|_| Refusal::InvalidInput { what: "length".to_owned() })?;
        bytes(self.ask(Operation::Random { length }).await?)
    }

    /// HMAC-SHA-256 under `activation-mac`.
    pub async fn activation_mac(&self, message: &[u8]) -> Result<[u8; 32], HsmError> {
        fixed(self.ask(Operation::ActivationMac { message: message.to_vec() }).await?)
    }

    /// Signature over a digest, 32 bytes for all of these keys: `r` | `s`, or Ed25519 where `audit-signing` is that.
    pub async fn sign(&self, key: SigningKey, digest: &[u8]) -> Result<Vec<u8>, HsmError> {
        bytes(self.ask(Operation::Sign { key, digest: digest.to_vec() }).await?)
    }

    /// `SubjectPublicKeyInfo`, DER.
    pub async fn public_key(&self, key: PublicKeyOf) -> Result<Vec<u8>, HsmError> {
        bytes(self.ask(Operation::PublicKey { key }).await?)
    }

    /// Takes a second secret in and verifies the transcript's MAC with it; gives the key block to store (protocol §3.4).
    pub async fn open_enrolment(&self, enrolment: OpenEnrolment) -> Result<KeyBlock, HsmError> {
        if let Answer::KeyBlock(block) = self.ask(Operation::OpenEnrolment(enrolment)).await? { Ok(block) } else { Err(HsmError::Protocol) }
    }

    /// PIN and data initial key of a phone, wrapped for it (protocol §3.6). `ikid` is that of the data key.
    pub async fn personalize(&self, secret: &KeyBlock, ikid: Ikid, acquirer: &str) -> Result<Vec<WrappedInitialKey>, HsmError> {
        let operation = Operation::Personalize { secret: secret.clone(), ikid, acquirer: acquirer.to_owned() };
        if let Answer::InitialKeys(keys) = self.ask(operation).await? { Ok(keys) } else { Err(HsmError::Protocol) }
    }

    /// Verifies a phone's AES-CMAC over a SHA-256 digest (protocol §4).
    pub async fn verify_device_mac(&self, secret: &KeyBlock, ikid: Ikid, message: &[u8; 32], mac: &[u8; 16]) -> Result<(), HsmError> {
        let operation = Operation::VerifyDeviceMac { secret: secret.clone(), ikid, message: *message, mac: *mac };
        done(&self.ask(operation).await?)
    }

    /// Verifies a DUKPT AES-CMAC of the request direction (usage 2000) under a data BDK.
    pub async fn dukpt_verify_mac(&self, ksn: Ksn, data: Vec<u8>, mac: [u8; 16]) -> Result<(), HsmError> {
        done(&self.ask(Operation::DukptVerifyMac { ksn, data, mac }).await?)
    }

    /// Verifies and decrypts a payment message (protocol §7).
    pub async fn dukpt_decrypt(
        &self,
        ksn: Ksn,
        iv: [u8; 16],
        aad: Vec<u8>,
        ciphertext: Vec<u8>,
        mac: [u8; 16],
    ) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        match self.ask(Operation::DukptDecrypt { ksn, iv, aad, ciphertext, mac }).await? {
            Answer::Plaintext(mut plaintext) => Ok(Zeroizing::new(std::mem::take(&mut plaintext.0))),
            _ => Err(HsmError::Protocol),
        }
    }

    /// The acquirer's derivation mark on the token: the highest derivation id ever reserved.
    pub async fn derivation_mark(&self, acquirer: &str) -> Result<Option<u32>, HsmError> {
        let operation = Operation::DerivationMark { acquirer: acquirer.to_owned() };
        if let Answer::Mark(mark) = self.ask(operation).await? { Ok(mark) } else { Err(HsmError::Protocol) }
    }

    /// Reserves the derivation ids `expect + 1 ..= expect + count` and gives the new mark. `expect` is the mark that the database knows;
    /// where the token knows a higher one, [`Refusal::MarkAhead`] tells it and nothing is changed.
    pub async fn reserve_derivation_ids(&self, acquirer: &str, expect: u32, count: u32) -> Result<u32, HsmError> {
        let operation = Operation::ReserveDerivationIds { acquirer: acquirer.to_owned(), expect, count };
        if let Answer::Mark(Some(mark)) = self.ask(operation).await? { Ok(mark) } else { Err(HsmError::Protocol) }
    }

    /// Ceremony: makes the token of the URI's label if there is none, with the URI's PIN and this security officer's PIN, which the host reads
    /// from its file. `false` where it is there already.
    pub async fn init_token(&self, so_pin_source: &Path) -> Result<bool, HsmError> {
        let operation = Operation::InitToken { so_pin: so_pin_source.to_owned() };
        match self.change(operation, CEREMONY, |answer| matches!(answer, Answer::Created(true))).await? {
            Answer::Created(created) => Ok(created),
            _ => Err(HsmError::Protocol),
        }
    }

    /// Ceremony: makes the keys that are missing, and tells of each whether it was made now. Never overwrites.
    pub async fn create_keys(&self, spec: KeySpec) -> Result<Vec<KeyRecord>, HsmError> {
        let changed = |answer: &Answer| matches!(answer, Answer::Keys(keys) if keys.iter().any(|key| key.created));
        match self.change(Operation::CreateKeys(spec), CEREMONY, changed).await? {
            Answer::Keys(keys) => Ok(keys),
            _ => Err(HsmError::Protocol),
        }
    }

    /// Ceremony: ECDSA with `root-ca` over a 48-byte digest.
    pub async fn sign_root(&self, digest: &[u8]) -> Result<Vec<u8>, HsmError> {
        bytes(self.ask(Operation::SignRoot { digest: digest.to_vec() }).await?)
    }

    /// Ceremony: AES-CMAC of 16 zero bytes under a key derived from the published test BDK, and from no other.
    pub async fn known_answer(&self, asked: KnownAnswer) -> Result<[u8; 16], HsmError> {
        fixed(self.ask(Operation::KnownAnswer(asked)).await?)
    }
}
