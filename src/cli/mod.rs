//! The command line.

pub(crate) mod hsm_host;
