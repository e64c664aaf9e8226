<<<<<<< HEAD
//! Integration tests, one binary.

mod store;
=======
//! Integration tests, one binary: the real thing in process, over SoftHSM.

mod hsm;
mod softhsm;
mod software;
>>>>>>> hsm
