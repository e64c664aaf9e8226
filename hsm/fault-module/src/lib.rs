//! A PKCS#11 module that sits in front of another one and injects faults. See README.md for the rules and the environment.
//!
//! `rule` says what a script may say, `rules` where it comes from, `active` what it means for one call, `module` what is done around the
//! call, `ffi` is the border: the only `unsafe`. Tests in Rust find [`library_path`], [`write_script`] and [`Counts`] here.

#![deny(unsafe_op_in_unsafe_fn)]

mod active;
mod code;
mod control;
mod ffi;
mod function;
mod gate;
mod harm;
mod limits;
mod masks;
mod module;
mod rule;
mod rules;
mod state;
mod testing;

pub use rule::{Script, ScriptError};
pub use state::Counts;
pub use testing::{library_path, write_script};

/// Tells the person who runs the test. A PKCS#11 module has no other way to say more than a code.
fn complain(what: &str) {
    use std::io::Write;
    // Nothing can be done where standard error is closed.
    let _ = writeln!(std::io::stderr(), "tillward-fault-module: {what}");
}
