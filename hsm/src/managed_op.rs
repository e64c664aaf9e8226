//! What the service can ask of managed keys. Part of the vocabulary of `op.rs`, and in a file of its own because it is the part that grows.

use serde::{Deserialize, Serialize};

use crate::approval::Approved;
use crate::managed::{KekRef, KeyAlgorithm, KeyRef, Purpose, SignatureScheme};
use crate::model::KeyRecord;
use crate::op::Plaintext;

/// Uses of managed keys, and their beginning and end.
#[derive(Serialize, Deserialize)]
pub(crate) enum Managed {
    /// What the module can make.
    Offers,
    /// Makes the key, proves it by use, reads it back. Where it is there as designed, tells of it and changes nothing.
    Generate { key: KeyRef, exportable: bool },
    /// Reads it back.
    Read { key: KeyRef },
    /// Destroys it on the token. Only with a plan for that very key. Done where it is not there.
    Destroy { key: KeyRef, approved: Approved },
    /// A digest for ECDSA and RSA, the message for Ed25519.
    Sign { key: KeyRef, scheme: SignatureScheme, input: Vec<u8> },
    /// Verifies what [`Self::Sign`] makes: a digest or a message, and the signature.
    Verify { key: KeyRef, scheme: SignatureScheme, input: Vec<u8>, signature: Vec<u8> },
    /// AES-CMAC (16 bytes) or HMAC-SHA-256 (32).
    Mac { key: KeyRef, message: Vec<u8> },
    /// On the token, or in constant time.
    VerifyMac { key: KeyRef, message: Vec<u8>, mac: Vec<u8> },
    /// AES-GCM with a 96-bit nonce of the token's generator: nonce | ciphertext | 128-bit tag.
    Encrypt { key: KeyRef, aad: Vec<u8>, plaintext: Plaintext },
    /// The reverse.
    Decrypt { key: KeyRef, aad: Vec<u8>, ciphertext: Vec<u8> },
    /// AES-KWP (RFC 5649) over 16, 24 or 32 bytes that the caller brings.
    Wrap { key: KeyRef, material: Plaintext },
    /// The reverse.
    Unwrap { key: KeyRef, wrapped: Vec<u8> },
}

/// Keys on their way to and from partners.
#[derive(Serialize, Deserialize)]
pub(crate) enum Exchange {
    /// Ceremony: makes a partner's KEK and wraps it for the partner with RSA-OAEP under the partner's public key (`SubjectPublicKeyInfo`, DER, at
    /// least 3072 bits).
    MakeKek { kek: KekRef, partner: Vec<u8> },
    /// Ceremony: the base derivation keys of an acquirer, exportable.
    MakeBdks { acquirer: crate::model::AcquirerKeys },
    /// Gives a key out under a partner's KEK, from its escrow block. Only with a plan for that key and KEK.
    Export { key: KeyRef, kek: KekRef, escrow: Vec<u8>, approved: Approved },
    /// Takes a key in. Only with a plan that names key, KEK and the content.
    Import { key: KeyRef, kek: KekRef, content: Vec<u8>, approved: Approved },
}

/// What the host answers to them.
#[derive(Serialize, Deserialize)]
pub(crate) enum ManagedAnswer {
    Offers(Vec<(Purpose, KeyAlgorithm)>),
    Generated(Box<Generated>),
    /// Whether a signature is right.
    Valid(bool),
    Kek(Box<MadeKek>),
    Bdks(Vec<Generated>),
}

/// A managed key as read back, and where it may be exported its escrow block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// As read back from the token.
    pub record: KeyRecord,
    /// The key wrapped under `export-kek`, with header and CMAC: only this token can open it, and only to wrap it for a partner.
    pub escrow: Option<Vec<u8>>,
}

/// A partner's KEK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeKek {
    /// As read back from the token.
    pub record: KeyRecord,
    /// For the partner: RSA-OAEP.
    pub wrapped: Vec<u8>,
    /// The hash of OAEP.
    pub oaep: crate::model::OaepHash,
}

impl Managed {
    /// For the log: the name, never the content.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Offers => "key_offers",
            Self::Generate { .. } => "key_generate",
            Self::Read { .. } => "key_read",
            Self::Destroy { .. } => "key_destroy",
            Self::Sign { .. } => "key_sign",
            Self::Verify { .. } => "key_verify",
            Self::Mac { .. } => "key_mac",
            Self::VerifyMac { .. } => "key_verify_mac",
            Self::Encrypt { .. } => "key_encrypt",
            Self::Decrypt { .. } => "key_decrypt",
            Self::Wrap { .. } => "key_wrap",
            Self::Unwrap { .. } => "key_unwrap",
        }
    }

    /// Whether it may be asked twice. The escrow block of an exportable key is given out once.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Generate { exportable: true, .. })
    }

    /// Whether an answer shows that keys work.
    pub(crate) fn needs_a_key(&self) -> bool {
        !matches!(self, Self::Offers | Self::Read { .. } | Self::Destroy { .. })
    }
}

impl Exchange {
    /// For the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::MakeKek { .. } => "make_kek",
            Self::MakeBdks { .. } => "make_bdks",
            Self::Export { .. } => "export_key",
            Self::Import { .. } => "import_key",
        }
    }

    /// What only a host started for ceremonies does.
    pub(crate) fn is_ceremony(&self) -> bool {
        matches!(self, Self::MakeKek { .. } | Self::MakeBdks { .. })
    }
}
