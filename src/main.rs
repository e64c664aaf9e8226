//! The `tillward` command. Everything it does stands in the library; here is only the end of the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    tillward::cli::run()
}
