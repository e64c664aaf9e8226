//! The parsers of Tillward, as their fuzz targets see them.
//!
//! The modules are the service's and the HSM crate's own files. Both keep them pure (no tokio, no database, no PKCS#11), so they
//! compile here by themselves: in a fraction of the time, with instrumentation of what parses and nothing else. What is
//! private to the HSM crate, its socket's frames and operations, is in reach that way and stays private there.

#![expect(dead_code, reason = "the modules hold more than their parsers")]

// The service's files name the HSM crate's words by the crate.
extern crate self as tillward_hsm;

#[path = "../../../src/attestation/mod.rs"]
pub mod attestation;
#[path = "../../../src/clock.rs"]
pub mod clock;
#[path = "../../../src/enrolment/mod.rs"]
pub mod enrolment;
#[path = "../../../src/id.rs"]
pub mod id;
#[path = "../../../src/jose.rs"]
pub mod jose;
#[path = "../../../src/payment/mod.rs"]
pub mod payment;
#[path = "../../../src/pki/mod.rs"]
pub mod pki;
#[path = "../../../src/schema.rs"]
pub mod schema;
#[path = "../../../src/wire.rs"]
pub mod wire;

#[path = "../../../hsm/src/approval.rs"]
pub mod approval;
#[path = "../../../hsm/src/block.rs"]
pub mod block;
#[path = "../../../hsm/src/derivation.rs"]
pub mod derivation;
#[path = "../../../hsm/src/error.rs"]
pub mod error;
#[path = "../../../hsm/src/escrow.rs"]
pub mod escrow;
#[path = "../../../hsm/src/frame.rs"]
mod frame;
#[path = "../../../hsm/src/keyblock.rs"]
pub mod keyblock;
#[path = "../../../hsm/src/ksn.rs"]
pub mod ksn;
#[path = "../../../hsm/src/managed.rs"]
pub mod managed;
#[path = "../../../hsm/src/managed_op.rs"]
mod managed_op;
#[path = "../../../hsm/src/model.rs"]
pub mod model;
#[path = "../../../hsm/src/op.rs"]
mod op;
#[path = "../../../hsm/src/partner.rs"]
pub mod partner;
#[path = "../../../hsm/src/plan.rs"]
pub mod plan;
#[path = "../../../hsm/src/uri.rs"]
pub mod uri;

pub mod hsm_wire;
pub mod sent;
pub mod signer;
