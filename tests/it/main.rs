//! Integration tests, one binary: the real thing, over SoftHSM, kryoptic, SQLite and PostgreSQL. A module each; `token`,
//! `service` and `scene` prepare.
#![expect(clippy::panic, reason = "a test stops at the first surprise")]

mod architecture;
mod bad_input;
mod ceremony;
mod cli;
mod container;
mod doctor;
mod faults;
mod flow;
mod kryoptic;
mod outage;
mod partner;
mod pki_lint;
mod policy;
mod published;
mod quorum;
mod scene;
mod service;
mod soak;
mod softhsm;
mod software;
mod store;
mod storm;
mod token;
mod weather;
