//! `tillward hsm-host`: the process that loads the PKCS#11 module. Started by `tillward serve` over a socket pair; by hand, it listens.

use std::process::ExitCode;

use clap::Args;
use tillward_hsm::host::HostArgs;

/// Arguments of `tillward hsm-host`.
#[derive(Debug, Args)]
pub(super) struct HsmHost {
    #[command(flatten)]
    host: HostArguments,
}
