//! The phone's side of Tillward, and the consumer's: everything `docs/protocol.md` says about a device.
//!
//! The core does no input or output over the network: it makes a message and takes the answer. [`http`] carries both.
//! Time is an argument everywhere; the only other things the core touches are the system's random source ([`random`])
//! and, where the phone is kept in a directory, its files ([`store`]).
//!
//! | step | module |
//! |---|---|
//! | what the maker put on the device, and what follows from it | [`trust`], [`certificate`], [`crl`], [`jws`] |
//! | the activation code and its QR payload | [`code`], [`qr`] |
//! | enrolment, up to the [`Phone`](phone::Phone) | [`challenge`], [`enrolment`], [`transcript`], [`secret`], [`transport_key`], [`package`] |
//! | evidence, attestation, renewal | [`evidence`], [`phone`], [`result`] |
//! | a payment: AES DUKPT with a counter that never repeats | [`derivation`], [`dukpt`], [`ksn`], [`counter`], [`payment`], [`pin_block`] |
//! | the consumer's device, offline | [`consumer`] |
//!
//! A phone here holds its keys in ordinary memory and files. It stands for a phone in demonstrations, tests and load; it
//! is not a hardened application.

#![expect(clippy::missing_panics_doc, reason = "an expect here says why it cannot panic")]

pub mod certificate;
pub mod challenge;
pub mod code;
pub mod consumer;
pub mod counter;
pub mod crl;
pub mod derivation;
pub mod dukpt;
pub mod encoding;
pub mod enrolment;
pub mod evidence;
pub mod http;
pub mod id;
pub mod json;
pub mod jws;
pub mod key;
pub mod ksn;
pub mod merchant_key;
pub mod message;
pub mod package;
pub mod payment;
pub mod payment_request;
pub mod phone;
pub mod pin_block;
pub mod qr;
pub mod random;
pub mod result;
pub mod secret;
pub mod store;
pub mod transcript;
pub mod transport_key;
pub mod trust;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod worked_examples;
