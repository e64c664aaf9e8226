//! `tillward hsm-trial`: the process in which `tillward doctor hsm` and `tillward bench hsm` put a module on trial. Never by hand.

use std::process::ExitCode;

use tillward_hsm::Pkcs11Uri;

/// Serve a trial on the socket that is standard input.
#[derive(Debug, clap::Args)]
pub(super) struct HsmTrial {
    /// Module, token and PIN file: `pkcs11:token=LABEL?module-path=/lib.so&pin-source=file:/pin`.
    uri: Pkcs11Uri,
}

/// Runs until its peer ends.
pub(super) fn run(args: &HsmTrial) -> ExitCode {
    tillward_hsm::host::trial::run(&args.uri)
}
