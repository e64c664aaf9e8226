//! The border to C: the only `unsafe` of this crate. What comes from the client goes on to the real module as it is, so whatever PKCS#11 asks
//! of a client's pointers holds for the real module if it held for this one.

#![expect(unsafe_code, reason = "PKCS#11 is a C interface")]

pub(crate) mod death;
mod forward;
pub(crate) mod map;
mod objects;
pub(crate) mod output;
pub(crate) mod real;
mod special;
mod table;
