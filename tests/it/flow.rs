//! The whole flow of docs/protocol.md through TLS and mTLS with the real service, SoftHSM and SQLite (`day` over each module): what goes well, what is refused and
//! with which reason, and what the audit log says of both.

mod clock;
mod house;
mod nodes;
mod once;
mod principals;
mod refusals;
mod restored;
