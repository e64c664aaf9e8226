//! Tillward: HSM-backed key management for phones that take card payments.

pub mod attestation;
pub mod clock;
pub mod enrolment;
pub mod id;
pub mod jose;
pub mod payment;
pub mod pki;
pub mod wire;
