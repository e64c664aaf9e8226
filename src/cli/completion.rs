//! `tillward completion`

use clap::Args;
use clap_complete::Shell;

/// Arguments of `tillward completion`.
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// Around the generated function: after `--profile`, the names of this user's profiles beside the files.
const BASH: &str = r#"
_tillward_with_profiles() {
    _tillward "$@"
    if [[ "$3" == --profile ]]; then
        local file
        for file in "${XDG_CONFIG_HOME:-$HOME/.config}"/tillward/profiles/"$2"*.toml; do
            if [[ -e "$file" ]]; then COMPREPLY+=("$(basename "$file" .toml)"); fi
        done
    fi
}
complete -F _tillward_with_profiles -o bashdefault -o default tillward
"#;

const FISH: &str = r#"
complete -c tillward -l profile -a '(for file in (string length -q "$XDG_CONFIG_HOME"; and echo $XDG_CONFIG_HOME; or echo ~/.config)/tillward/profiles/*.toml; basename $file .toml; end)'
"#;

pub(super) fn run(args: &Completion) {
    let (shell, more) = match args.shell.as_str() {
        "zsh" => (Shell::Zsh, ""),
        "fish" => (Shell::Fish, FISH),
        _ => (Shell::Bash, BASH),
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut super::shown(), "tillward", &mut text);
    print!("{}{more}", String::from_utf8_lossy(&text));
}
