//! The module in front of SoftHSM, by cryptoki and by `pkcs11-tool` (package opensc).

mod answers;
mod damage;
mod death;
mod harm;
mod limits;
mod rig;
mod sources;
mod table;
mod time;
mod tool;
