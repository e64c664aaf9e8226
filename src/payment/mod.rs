//! Payments, pure: the message whose account data the back end asks for.

pub mod message;
