//! The whole flow of docs/protocol.md through TLS and mTLS with the real service, SoftHSM and SQLite (`day`, `once` and `refusals` over each module, from there): what goes well, what is refused and
//! with which reason, and what the audit log says of both.

mod again;
mod clock;
mod house;
mod keys;
mod keys_end;
mod kms;
mod nodes;
mod plans;
mod plans_over_keys;
mod principals;
mod restored;
