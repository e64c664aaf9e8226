//! The environment: read here, and by clap where an argument says so.

use std::path::PathBuf;

/// Where this user's settings of every program live (XDG base directory specification): a relative `XDG_CONFIG_HOME` does not count.
pub(super) fn settings() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    named.or_else(|| std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".config")))
}

/// Whether this user wants no colours: `NO_COLOR` (no-color.org), or a terminal that has none.
pub(super) fn is_plain() -> bool {
    let is = |name: &str, wanted: &dyn Fn(&std::ffi::OsStr) -> bool| std::env::var_os(name).is_some_and(|value| wanted(&value));
    is("NO_COLOR", &|value| !value.is_empty()) || is("TERM", &|value| value == "dumb")
}
