//! What the host tells about itself and its keys, and what it is asked to make: values that cross the socket.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::derivation::Algorithm;
use crate::ksn::{BdkId, Ikid};
use crate::managed::{KeyAlgorithm, Purpose};

/// One named check of module, token, PIN, mechanism, key or self-test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `module`, `token`, `pin`, `mechanism:CKM_AES_CMAC`, `key:storage-kek`, `self-test:aes-cmac`, ...
    pub name: String,
    /// Whether it is as it has to be.
    pub ok: bool,
    /// The PKCS#11 return code, where one was the reason.
    pub code: Option<String>,
    /// One line: what is there, or what to do.
    pub hint: String,
}

impl Finding {
    /// A check that passed.
    pub(crate) fn passed(name: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), ok: true, code: None, hint: hint.into() }
    }

    /// A check that failed.
    pub(crate) fn failed(name: impl Into<String>, code: Option<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), ok: false, code, hint: hint.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        write!(f, "{}{code}: {}", self.name, self.hint)
    }
}

/// Hash of RSA-OAEP that the token really takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OaepHash {
    /// `RSA-OAEP`: SHA-1 and MGF1-SHA-1.
    Sha1,
    /// `RSA-OAEP-256`: SHA-256 and MGF1-SHA-256.
    Sha256,
}

impl OaepHash {
    /// The `alg` of the enrolment parameters (RFC 7518 §4.3).
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "RSA-OAEP",
            Self::Sha256 => "RSA-OAEP-256",
        }
    }
}

/// What the module can do, found by trying it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "a list of independent capabilities")]
pub struct Profile {
    /// Mechanism number that is AES-KWP (RFC 5649): 0x210B (PKCS#11 3.0), or 0x210A where the module means KWP by it.
    pub kwp: Option<u64>,
    /// `C_UnwrapKey` wants `CKA_VALUE_LEN`. Where it need not be given it is not: kryoptic 1.5 cuts a longer key to it.
    pub value_len_on_unwrap: bool,
    /// Keys can carry `CKA_ALLOWED_MECHANISMS`.
    pub allowed_mechanisms: bool,
    /// Keys can carry `CKA_UNWRAP_TEMPLATE`, and it binds.
    pub unwrap_template: bool,
    /// Keys can carry `CKA_DERIVE_TEMPLATE`, and it binds.
    pub derive_template: bool,
    /// `CKM_ECDH1_DERIVE` with `CKD_SHA256_KDF` and shared data gives what RFC 5753 says.
    pub ecdh: bool,
    /// A 32-byte derivation can be cut to 24 (AES-192).
    pub aes_192: bool,
    /// Ed25519 keys can be made.
    pub ed25519: bool,
    /// A copy of a key that cannot be modified cannot be modified either: only then are keys made that can be copied.
    pub copies_sealed: bool,
    /// Hot signing keys are used as session copies.
    pub session_copies: bool,
    /// Hash of RSA-OAEP, once the transport key is there to try it.
    pub oaep: Option<OaepHash>,
    /// Managed keys that can be made while the host runs.
    pub managed: Vec<(Purpose, KeyAlgorithm)>,
}

/// The host, its module, its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Process id of the host.
    pub pid: u32,
    /// Worker threads, one PKCS#11 session each.
    pub workers: usize,
    /// Whether ceremonies are allowed.
    pub ceremony: bool,
    /// Path of the module.
    pub module: String,
    /// Description and version of the library.
    pub library: Option<String>,
    /// The token, if it is there.
    pub token: Option<TokenRecord>,
    /// Capabilities, once logged in.
    pub profile: Option<Profile>,
    /// Every check that was made, passed ones too.
    pub findings: Vec<Finding>,
    /// Generation of the pool of sessions and handles: grows with every recovery of the host.
    pub generation: u64,
    /// PKCS#11 sessions of this host.
    pub sessions: Budget,
    /// Token objects that this host sees.
    pub objects: Budget,
    /// Session objects made (derived, unwrapped, generated) since the module was initialised: SoftHSM 2.6.1 keeps 240 bytes of each.
    pub made_objects: u64,
    /// Resident memory of the host, KiB.
    pub memory_kib: u64,
    /// How often the host did what a failure rule says, by the action's name.
    pub recoveries: BTreeMap<String, u64>,
}

/// How much of something is used, and how much may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// In use now.
    pub used: u64,
    /// The most by configuration; `None` is no limit.
    pub most: Option<u64>,
    /// The most that the token itself gives, where it says so or has refused more.
    pub token: Option<u64>,
}

impl HostStatus {
    /// The checks that failed.
    pub fn problems(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.ok)
    }

    /// Whether the main job can run.
    pub fn is_ready(&self) -> bool {
        self.problems().next().is_none()
    }
}

/// What the token says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Label.
    pub label: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Firmware version.
    pub firmware: String,
}

/// Kind of a key on the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// Generic secret for HMAC-SHA-256.
    GenericSecret,
    /// AES.
    Aes,
    /// RSA key pair.
    Rsa,
    /// EC P-256 key pair.
    P256,
    /// EC P-384 key pair.
    P384,
    /// Ed25519 key pair.
    Ed25519,
}

/// One key (or key pair) of the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its label.
    pub label: String,
    /// Its kind.
    pub kind: KeyKind,
    /// Length in bits.
    pub bits: u16,
    /// First five bytes of AES-CMAC over 16 zero bytes (X9.24-1:2017), where the key's usage lets the token make it.
    pub kcv: Option<[u8; 5]>,
    /// `CKA_CHECK_VALUE` as the token gives it (three bytes of AES-ECB over zeros).
    pub check_value: Option<Vec<u8>>,
    /// Public half: `SubjectPublicKeyInfo`, DER.
    pub spki: Option<Vec<u8>>,
    /// SHA-256 of the `SubjectPublicKeyInfo`.
    pub fingerprint: Option<[u8; 32]>,
    /// Attributes as read back from the secret or private key, by name without `CKA_`.
    pub attributes: BTreeMap<String, bool>,
    /// Whether the call that gave this record made the key.
    pub created: bool,
}

/// A key that signs for the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SigningKey {
    /// `attestation-signing`, P-256.
    Attestation,
    /// `personalization-signing`, P-256.
    Personalization,
    /// `issuing-ca`, P-256.
    IssuingCa,
    /// `audit-signing`: Ed25519 over the 32-byte digest as its message, or P-256.
    Audit,
}

/// A key whose public half is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PublicKeyOf {
    /// A signing key.
    Signing(SigningKey),
    /// A transport key of enrolment.
    Transport(TransportKind),
    /// `root-ca`.
    RootCa,
}

/// What an initial key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPurpose {
    /// Encrypts PIN blocks.
    Pin,
    /// Encrypts and MACs account data.
    Data,
}

/// An initial key on its way to a phone, wrapped under the phone's personalization KEK.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedInitialKey {
    /// PIN or data.
    pub usage: KeyPurpose,
    /// Its IKID.
    pub ikid: Ikid,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// AES-KWP (RFC 5649).
    pub wrapped: Vec<u8>,
    /// First five bytes of AES-CMAC over 16 zero bytes.
    pub kcv: [u8; 5],
}

impl fmt::Debug for WrappedInitialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedInitialKey({:?}, {}, {})", self.usage, self.ikid, self.algorithm.name())
    }
}

/// A way in which second secrets travel, and the key that they travel to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TransportKind {
    /// RSA-OAEP under `enrollment-transport`, with the hash that [`Profile::oaep`] names.
    Rsa,
    /// Key agreement with `enrollment-transport-ec`, as [`crate::agreement`] says.
    Ecdh,
}

/// The second secret as a phone sent it, and the proof that goes with it.
#[derive(Clone, Serialize, Deserialize)]
pub struct OpenEnrolment {
    /// How it is wrapped.
    pub transport: TransportKind,
    /// An RSA block, or the phone's ephemeral point and the AES-KWP blob.
    pub wrapped_secret: Vec<u8>,
    /// IKID of the data key that the activation has reserved.
    pub ikid: Ikid,
    /// SHA-256 of the enrolment transcript.
    pub transcript: [u8; 32],
    /// AES-CMAC over it, under the key derived from the second secret.
    pub mac: [u8; 16],
}

impl fmt::Debug for OpenEnrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenEnrolment({})", self.ikid)
    }
}

/// The base derivation keys of one acquirer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcquirerKeys {
    /// The acquirer.
    pub name: String,
    /// BDK id of `bdk-pin`.
    pub bdk_pin: BdkId,
    /// BDK id of `bdk-data`.
    pub bdk_data: BdkId,
    /// 128 or 256.
    pub bits: u16,
}

/// Keys to be made: the fixed ones of the design, and the BDKs of these acquirers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpec {
    /// The acquirers.
    pub acquirers: Vec<AcquirerKeys>,
}

/// A derivation with public test values, for the known-answer test over the published vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAnswer {
    /// The BDK's public test value.
    pub bdk: Vec<u8>,
    /// Initial key id.
    pub ikid: Ikid,
    /// Which key of the tree.
    pub at: KnownAnswerKey,
}

/// A key of the DUKPT tree. The counter is a plain number, because the DUKPT update key stands at FFFFFFFF, which no transaction has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KnownAnswerKey {
    /// The initial key.
    Initial,
    /// The intermediate (transaction) key.
    Intermediate {
        /// Transaction counter.
        counter: u32,
    },
    /// A working key.
    Working {
        /// Transaction counter.
        counter: u32,
        /// Its usage.
        usage: crate::derivation::Usage,
        /// Its own size.
        algorithm: Algorithm,
    },
}
