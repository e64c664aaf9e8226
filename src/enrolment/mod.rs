//! Enrolment, pure: activation code, transcript, personalization package, life cycles.

pub mod state;
