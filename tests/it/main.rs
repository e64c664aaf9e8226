//! Integration tests, one binary: the real thing, over SoftHSM, SQLite and PostgreSQL. A module each; `softhsm` and `service` prepare.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod bad_input;
mod hsm;
mod service;
mod softhsm;
mod software;
mod store;
