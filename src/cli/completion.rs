//! `tillward completion`

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Arguments of `tillward completion`.
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell: bash, zsh or fish
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(["bash", "zsh", "fish"]))]
    shell: String,
}

/// The names of this user's profiles, as a shell finds them.
const NAMES: &str =
    r#"$(for f in "${XDG_CONFIG_HOME:-$HOME/.config}"/tillward/profiles/*.toml; do [ -e "$f" ] && basename "$f" .toml; done)"#;

pub(super) fn run(args: &Completion) {
    let shell = match args.shell.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut super::shown(), "tillward", &mut text);
    print!("{}", String::from_utf8_lossy(&text));
}
