//! Enrolment, pure: activation code, transcript, personalization package, life cycles.

pub mod code;
pub mod package;
pub mod request;
pub mod state;
pub mod transcript;
