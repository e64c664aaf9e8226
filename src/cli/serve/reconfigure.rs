//! `[hsm]` of the configuration file, followed while the service runs: an operator who corrects a label does not have to restart it. The file is
//! looked at twice a second while no host serves, and on SIGHUP. Everything else in it takes a restart.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tillward_hsm::Hsm;
use tokio::signal::unix::Signal;

use crate::config::Config;
use crate::ops::error::chain;

const EVERY: Duration = Duration::from_millis(500);

/// What tells one state of a file from another without reading it.
type Stamp = Option<(u64, u64, Option<SystemTime>)>;

fn stamp(path: &Path) -> Stamp {
    std::fs::metadata(path).ok().map(|file| (file.ino(), file.len(), file.modified().ok()))
}

/// Follows the file for ever. `read` is the text that the service was started with. A file that is being written is not read: it has to be the
/// same at two looks.
pub(super) async fn follow(path: PathBuf, mut read: String, executable: PathBuf, hsm: Hsm, mut hangups: Signal) {
    let mut seen = stamp(&path);
    let mut last = seen;
    loop {
        let asked = tokio::select! {
            Some(()) = hangups.recv() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let now = stamp(&path);
        let changed = now != seen && now == std::mem::replace(&mut last, now);
        if asked || (changed && !hsm.is_ready()) {
            seen = now;
            read = apply(&path, &read, &executable, &hsm).unwrap_or(read);
        }
    }
}

/// Reads the file and runs the hosts by it. Answers its text, if it can be used.
fn apply(path: &Path, before: &str, executable: &Path, hsm: &Hsm) -> Option<String> {
    let read = Config::read(path).and_then(|config| config.hsm_config(executable.to_owned(), false));
    let (config, text) = match (read, std::fs::read_to_string(path)) {
        (Ok(config), Ok(text)) => (config, text),
        (Err(error), _) => {
            tracing::error!(error = %chain(&error), "the configuration has changed and cannot be used: the service goes on with the old one");
            return None;
        }
        (_, Err(error)) => {
            tracing::error!(%error, "the configuration has changed and cannot be read: the service goes on with the old one");
            return None;
        }
    };
    for section in others(before, &text) {
        tracing::warn!(section, "the configuration has changed here too, which takes a restart");
    }
    tracing::info!("the HSM hosts are run by the configuration as it is now");
    hsm.reconfigure(config);
    Some(text)
}

/// What differs besides `[hsm]`.
fn others(before: &str, now: &str) -> Vec<String> {
    let parse = |text: &str| toml::from_str::<toml::Table>(text).unwrap_or_default();
    let (before, now) = (parse(before), parse(now));
    let mut names: Vec<_> = before.keys().chain(now.keys()).filter(|name| *name != "hsm").cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| before.get(name) != now.get(name));
    names
}

#[cfg(test)]
mod tests {
    use super::others;

    #[test]
    fn only_what_is_not_of_the_hsm_takes_a_restart() {
        let before = "issuer = 'a'\n[hsm]\nuri = 'x'\n[limits]\nrequests = 1\n";
        assert!(others(before, "issuer = 'a'\n[limits]\nrequests = 1\n[hsm]\nuri = 'y'\nhosts = 2\n").is_empty());
        assert_eq!(others(before, "issuer = 'b'\n[hsm]\nuri = 'x'\n[pki]\ncrl_hours = 1\n"), ["issuer", "limits", "pki"]);
    }
}
