//! The HSM of Tillward: typed operations over a PKCS#11 token, in a process of their own.
//!
//! ```text
//!   service                              HSM host (`tillward hsm-host`)
//!   [client::Hsm]  -- frame over a Unix socket -->  queue -> workers, one PKCS#11 session each
//!   no PIN, no handle, no key            the module, the PIN, the templates
//! ```
//!
//! The service holds an [`Hsm`]: cloneable, async, a deadline for every call, refused at once when too many are in flight. The host knows only the
//! operations of `op.rs`: a compromised service can ask for a signature, it cannot ask for a key.
//!
//! Pure and public: [`agreement`], [`approval`], [`block`], [`escrow`], [`uri`], [`ksn`], [`derivation`], [`keyblock`], [`managed`], [`model`], [`plan`], [`error`]. This crate is the only place that names cryptoki, and
//! `host/ffi.rs` its only unsafe code.

#![deny(unsafe_code)]

pub mod agreement;
pub mod approval;
pub mod block;
pub mod client;
pub mod derivation;
pub mod error;
pub mod escrow;
pub mod host;
pub mod keyblock;
pub mod ksn;
pub mod managed;
pub mod model;
pub mod partner;
pub mod plan;
pub mod raw;
pub mod rules;
pub mod trial;
pub mod uri;

mod frame;
mod managed_op;
mod memory;
mod op;

pub use approval::{Approval, ApprovalError, Approved, Roster, RosterError};
pub use block::{Block, BlockError};
pub use client::{BreakerState, CallCount, HostView, Hsm, HsmConfig, HsmView, Identity};
pub use derivation::{Algorithm, Usage};
pub use error::{Fault, HsmError, Outage, Refusal};
pub use escrow::{Escrow, EscrowError};
pub use keyblock::{KeyBlock, KeyBlockError};
pub use ksn::{BdkId, Counter, DerivationId, Ikid, Ksn, KsnError};
pub use managed::{KekForm, KekRef, KeyAlgorithm, KeyName, KeyRef, Purpose, SignatureScheme};
pub use managed_op::{Generated, MadeKek};
pub use model::{
    AcquirerKeys, Budget, Finding, HostStatus, KeyKind, KeyPurpose, KeyRecord, KeySpec, KnownAnswer, KnownAnswerKey, OaepHash,
    OpenEnrolment, Profile, PublicKeyOf, SigningKey, TransportKind, WrappedInitialKey,
};
pub use partner::{PartnerKey, PartnerKeyError};
pub use plan::{Deed, Plan, PlanError};
pub use uri::{Pkcs11Uri, UriError};
