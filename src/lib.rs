//! Tillward: HSM-backed key management for phones that take card payments.

pub mod clock;
pub mod enrolment;
pub mod id;
