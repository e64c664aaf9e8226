//! Integration tests, one binary: the real thing, over SoftHSM, SQLite and PostgreSQL. A module each; `softhsm`, `service` and
//! `scene` prepare.
#![expect(clippy::panic, reason = "a test stops at the first surprise")]

mod architecture;
mod bad_input;
mod cli;
mod container;
mod doctor;
mod faults;
mod flow;
mod hsm;
mod memory;
mod outage;
mod pki_lint;
mod published;
mod scene;
mod service;
mod soak;
mod softhsm;
mod software;
mod store;
mod storm;
mod weather;
