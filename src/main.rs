<<<<<<< HEAD
//! The `tillward` command. Everything it does stands in the library; here is only the end of the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillward::cli::run()
=======
//! The `tillward` command.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// HSM-backed key management for phones that take card payments.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// The HSM host process.
    HsmHost(cli::hsm_host::HsmHostArgs),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::HsmHost(args) => cli::hsm_host::run(args),
    }
>>>>>>> hsm
}
