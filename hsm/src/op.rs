//! The whole vocabulary between service and host. A compromised service can say these sentences and no other.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::Refusal;
use crate::keyblock::KeyBlock;
use crate::ksn::{BdkId, Ikid, Ksn};
use crate::managed_op::{Exchange, Managed, ManagedAnswer};
use crate::model::{AcquirerKeys, HostStatus, KeyRecord, KeySpec, KnownAnswer, OpenEnrolment, PublicKeyOf, SigningKey, WrappedInitialKey};

/// Plaintext on its way through a socket: wiped when dropped, never printed.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Plaintext(pub(crate) Vec<u8>);

/// One message to the host, as the client writes it.
#[derive(Serialize)]
pub(crate) struct Asked<'a> {
    pub(crate) id: u64,
    pub(crate) budget_ms: u32,
    pub(crate) operation: &'a Operation,
}

/// One message to the host.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    /// How long the caller waits. What waited longer in the queue is not done at all.
    pub(crate) budget_ms: u32,
    pub(crate) operation: Operation,
}

/// One message from the host.
#[derive(Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) id: u64,
    pub(crate) result: Result<Answer, Refusal>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Operation {
    Status,
    /// The keys whose labels come after that one, as many as have room in a frame.
    Inventory {
        after: Option<String>,
    },
    Acquirers,
    Canary,
    Random {
        length: u16,
    },
    ActivationMac {
        message: Vec<u8>,
    },
    Sign {
        key: SigningKey,
        digest: Vec<u8>,
    },
    PublicKey {
        key: PublicKeyOf,
    },
    OpenEnrolment(OpenEnrolment),
    Personalize {
        secret: KeyBlock,
        ikid: Ikid,
        acquirer: String,
    },
    VerifyDeviceMac {
        secret: KeyBlock,
        ikid: Ikid,
        message: [u8; 32],
        mac: [u8; 16],
    },
    DukptVerifyMac {
        ksn: Ksn,
        data: Vec<u8>,
        mac: [u8; 16],
    },
    DukptDecrypt {
        ksn: Ksn,
        iv: [u8; 16],
        aad: Vec<u8>,
        ciphertext: Vec<u8>,
        mac: [u8; 16],
    },
    DerivationMark {
        acquirer: String,
    },
    ReserveDerivationIds {
        acquirer: String,
        expect: u32,
        count: u32,
    },
    InitToken {
        so_pin: std::path::PathBuf,
    },
    CreateKeys(KeySpec),
    SignRoot {
        digest: Vec<u8>,
    },
    KnownAnswer(KnownAnswer),
    Managed(Managed),
    Exchange(Exchange),
}

impl Operation {
    /// For the log: the name, never the content.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Inventory { .. } => "inventory",
            Self::Acquirers => "acquirers",
            Self::Canary => "canary",
            Self::Random { .. } => "random",
            Self::ActivationMac { .. } => "activation_mac",
            Self::Sign { .. } => "sign",
            Self::PublicKey { .. } => "public_key",
            Self::OpenEnrolment(_) => "open_enrolment",
            Self::Personalize { .. } => "personalize",
            Self::VerifyDeviceMac { .. } => "verify_device_mac",
            Self::DukptVerifyMac { .. } => "dukpt_verify_mac",
            Self::DukptDecrypt { .. } => "dukpt_decrypt",
            Self::DerivationMark { .. } => "derivation_mark",
            Self::ReserveDerivationIds { .. } => "reserve_derivation_ids",
            Self::InitToken { .. } => "init_token",
            Self::CreateKeys(_) => "create_keys",
            Self::SignRoot { .. } => "sign_root",
            Self::KnownAnswer(_) => "known_answer",
            Self::Managed(managed) => managed.name(),
            Self::Exchange(exchange) => exchange.name(),
        }
    }

    /// Whether it may be asked twice: it has no effect on the token, or the same one again.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Self::ReserveDerivationIds { .. } | Self::InitToken { .. } | Self::CreateKeys(_) | Self::Exchange(_) => false,
            Self::Managed(managed) => managed.is_repeatable(),
            _ => true,
        }
    }

    /// What only a host started for ceremonies does.
    pub(crate) fn is_ceremony(&self) -> bool {
        match self {
            Self::InitToken { .. } | Self::CreateKeys(_) | Self::SignRoot { .. } | Self::KnownAnswer(_) => true,
            Self::Exchange(exchange) => exchange.is_ceremony(),
            _ => false,
        }
    }
}

impl Operation {
    /// Whether an answer shows that keys work. The others are answered by a token that has lost its keys, too.
    pub(crate) fn needs_a_key(&self) -> bool {
        match self {
            Self::Status | Self::Inventory { .. } | Self::Acquirers | Self::PublicKey { .. } | Self::Random { .. } => false,
            Self::Managed(managed) => managed.needs_a_key(),
            _ => true,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Status(Box<HostStatus>),
    Keys(Vec<KeyRecord>),
    /// A page of the inventory, and whether there are more.
    Page(Vec<KeyRecord>, bool),
    Acquirers(Vec<AcquirerKeys>),
    Bytes(Vec<u8>),
    Plaintext(Plaintext),
    KeyBlock(KeyBlock),
    InitialKeys(Vec<WrappedInitialKey>),
    Mark(Option<u32>),
    Created(bool),
    Managed(ManagedAnswer),
}

/// The label of a BDK: `bdk-pin:<acquirer>:<BDK id>`.
pub(crate) fn bdk_label(purpose: crate::model::KeyPurpose, acquirer: &str, id: BdkId) -> String {
    match purpose {
        crate::model::KeyPurpose::Pin => format!("bdk-pin:{acquirer}:{id}"),
        crate::model::KeyPurpose::Data => format!("bdk-data:{acquirer}:{id}"),
    }
}
