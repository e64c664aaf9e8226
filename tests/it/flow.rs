//! The whole flow of docs/protocol.md through TLS and mTLS with the real service, SoftHSM and SQLite (`day`, `once` and `refusals` over each module, from there): what goes well, what is refused and
//! with which reason, and what the audit log says of both.

mod clock;
mod house;
mod nodes;
mod plans;
mod principals;
mod restored;
