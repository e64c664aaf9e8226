//! The device's side against a service made of software keys, written from docs/protocol.md apart from the library.

#![expect(clippy::panic, reason = "helpers of tests panic as tests do")]

mod consumer;
mod enrolment;
mod http;
mod pki;
mod service;
mod trust;
