//! `tillward hsm-host`: the process that loads the PKCS#11 module. Started by `tillward serve` over a socket pair; by hand, it listens.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tillward_hsm::Pkcs11Uri;
use tillward_hsm::host::{self, HostArgs};

/// Arguments of `tillward hsm-host`.
#[derive(Debug, Args)]
pub(super) struct HsmHost {
    /// PKCS#11 URI with token, module-path and pin-source
    #[arg(long)]
    uri: Pkcs11Uri,
    /// Worker threads, a PKCS#11 session each
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Operations that wait at most
    #[arg(long, default_value_t = 256)]
    queue: usize,
    /// Make tokens and keys: for `tillward init` only
    #[arg(long)]
    ceremony: bool,
    /// Listen on this Unix socket instead of serving the one on standard input
    #[arg(long, value_name = "PATH")]
    listen: Option<PathBuf>,
    /// Also serve callers of this user id
    #[arg(long, requires = "listen")]
    allow_uid: Option<u32>,
}

pub(super) fn run(args: HsmHost) -> ExitCode {
    let HsmHost { uri, workers, queue, ceremony, listen, allow_uid } = args;
    host::run(HostArgs { uri, workers, queue, ceremony, listen, allow_uid })
}
