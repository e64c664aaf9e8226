//! Tillward: HSM-backed key management for phones that take card payments.

pub mod audit;
pub mod authz;
pub mod clock;
pub mod enrolment;
pub mod id;
pub mod store;
