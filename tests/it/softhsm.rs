//! SoftHSM 2: the suite of every module, and what was measured of this one.

use crate::token::Module;

const MODULE: Module = Module::SoftHsm;

#[path = "flow/day.rs"]
mod day;
mod exchange;
#[path = "hsm.rs"]
pub(crate) mod hsm;
#[path = "managed.rs"]
pub(crate) mod managed;
#[path = "managed_life.rs"]
mod managed_life;
#[path = "memory.rs"]
mod memory;
#[path = "flow/once.rs"]
pub(crate) mod once;
mod profile;
#[path = "flow/refusals.rs"]
mod refusals;
mod separation;
