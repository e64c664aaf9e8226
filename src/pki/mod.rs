//! Merchant PKI, pure (RFC 5280): requests, profiles, certificates and revocation lists for a signer that is elsewhere.
//!
//! A certificate goes through these types: [`request::ProvenRequest`] (who asks holds the key; [`request::VouchedRequest`]: it is an
//! enrolled phone),
//! [`tbs::LintedTbs`] (what would be signed is what the profile says), [`certificate::Certificate`] (the signature
//! verifies). The signer sees a digest only.

pub mod certificate;
pub mod crl;
pub mod key;
pub mod lint;
pub mod names;
pub mod profile;
pub mod request;
pub mod serial;
mod signed;
pub mod tbs;
