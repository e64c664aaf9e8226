//! kryoptic: the suite of every module, and what was measured of this one.

use crate::token::Module;

const MODULE: Module = Module::Kryoptic;

#[expect(clippy::duplicate_mod, reason = "the suite is the same, the module is another")]
#[path = "flow/day.rs"]
mod day;
#[expect(clippy::duplicate_mod, reason = "the suite is the same, the module is another")]
#[path = "softhsm/exchange.rs"]
mod exchange;
#[expect(clippy::duplicate_mod, reason = "the suite is the same, the module is another")]
#[path = "hsm.rs"]
mod hsm;
#[expect(clippy::duplicate_mod, reason = "the suite is the same, the module is another")]
#[path = "managed.rs"]
mod managed;
#[expect(clippy::duplicate_mod, reason = "the suite is the same, the module is another")]
#[path = "managed_life.rs"]
mod managed_life;
#[expect(clippy::duplicate_mod, reason = "the suite is the same, the module is another")]
#[path = "memory.rs"]
mod memory;
#[expect(clippy::duplicate_mod, reason = "the suite is the same, the module is another")]
#[path = "flow/once.rs"]
mod once;
mod profile;
#[expect(clippy::duplicate_mod, reason = "the suite is the same, the module is another")]
#[path = "flow/refusals.rs"]
mod refusals;
#[expect(clippy::duplicate_mod, reason = "the suite is the same, the module is another")]
#[path = "softhsm/separation.rs"]
mod separation;
