//! HSM.
