//! Enrolment, pure: activation code, transcript, transport keys, personalization package, life cycles.

pub mod code;
pub mod package;
pub mod request;
pub mod state;
pub mod transcript;
pub mod transport;
