//! Tillward: HSM-backed key management for phones that take card payments.
//!
//! The architecture on one page. An arrow never points upward; `tests/it/architecture.rs` greps that it stays so.
//!
//! ```text
//! main -> cli -> http -> ops -> { store, tillward_hsm, authz, audit } -> { key, attestation, pki, payment, enrolment } -> { wire, id, clock }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | the command line, one file a noun; the demo |
//! | [`http`] | three listeners (phones, back ends, this machine), the only error-to-HTTP mapping |
//! | [`ops`] | **the table of contents**: one operation a file, all of one shape |
//! | [`app`], [`service`] | the shared state: store, HSM, authorization, clock, settings; and the service before its token is there |
//! | [`policies`] | the folder of policies, read whole and followed |
//! | [`store`] | the database; the only place that names sqlx |
//! | [`authz`], [`audit`] | who may do what gives a `Permit`; an audit event is made from a permit; a commit takes the event |
//! | [`key`], [`attestation`], [`pki`], [`payment`], [`enrolment`] | pure: time, nonces and serial numbers are arguments |
//! | [`jose`], [`wire`], [`schema`], [`id`], [`clock`] | encodings, their forms for the readers of the API, identifiers, time |
//!
//! The PKCS#11 module is in another process, behind the crate `tillward-hsm`; the phone's side is the crate `tillward-device`.

pub mod app;
pub mod attestation;
pub mod audit;
pub mod authz;
pub mod ceremony;
pub mod cli;
pub mod clock;
pub mod config;
pub mod enrolment;
pub mod http;
pub mod id;
pub mod jose;
pub mod key;
pub mod ops;
pub mod payment;
pub mod pki;
pub mod policies;
pub mod schema;
pub mod service;
pub mod store;
pub mod wire;
