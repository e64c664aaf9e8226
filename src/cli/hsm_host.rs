//! `tillward hsm-host`: the HSM host process. Started by `tillward serve`; by hand only with `--listen`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tillward_hsm::Pkcs11Uri;
use tillward_hsm::host::{self, HostArgs};
use tracing_subscriber::EnvFilter;

/// Serve HSM operations on the socket that is standard input, or on a Unix socket.
#[derive(Debug, clap::Args)]
pub(super) struct HsmHost {
    /// Module, token and PIN file: `pkcs11:token=LABEL?module-path=/lib.so&pin-source=file:/pin`.
    uri: Pkcs11Uri,
    /// Worker threads, one PKCS#11 session each.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Requests that may wait for a worker.
    #[arg(long, default_value_t = 256)]
    queue: usize,
    /// PKCS#11 sessions at most, the one that holds the login included; 0: one for each worker and one for the login.
    #[arg(long, default_value_t = 0)]
    sessions: usize,
    /// Token objects at most: nothing is made beyond.
    #[arg(long)]
    objects: Option<u64>,
    /// Milliseconds after which a call of the module hangs: the process ends then.
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    stuck_ms: u64,
    /// Session objects after which a host with --listen initialises its module anew; 0: never.
    #[arg(long, default_value_t = 1_000_000, value_name = "OBJECTS")]
    recycle: u64,
    /// Allow ceremonies: making a token, making keys, signing with the root.
    #[arg(long)]
    ceremony: bool,
    /// Listen on this Unix socket (mode 0600, users checked) instead of serving standard input, until SIGTERM or SIGINT.
    #[arg(long, value_name = "PATH")]
    listen: Option<PathBuf>,
    /// Another user who may connect to --listen: the socket's mode is 0660 then, its group that of a set-group-ID folder.
    #[arg(long, value_name = "UID", requires = "listen")]
    allow_uid: Option<u32>,
    /// An existing file that all hosts of this token share: one at a time tries the PIN, and none tries one that another has had refused.
    #[arg(long, value_name = "FILE")]
    logins: Option<PathBuf>,
    /// File of the officers whose approvals are taken for what only a quorum may ask: destroying, exporting and importing keys.
    #[arg(long, value_name = "FILE")]
    officers: Option<PathBuf>,
    /// What to log to standard error, as JSON lines: a level, or tracing's filter syntax.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: EnvFilter,
}

/// Runs the host until its peer ends.
pub(super) fn run(args: HsmHost) -> ExitCode {
    let HsmHost { uri, workers, queue, sessions, objects, stuck_ms, recycle, ceremony, listen, allow_uid, logins, officers, log } = args;
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(log).with_writer(std::io::stderr).init();
    let stuck = Duration::from_millis(stuck_ms);
    host::run(HostArgs { uri, workers, queue, ceremony, sessions, objects, stuck, recycle, listen, allow_uid, logins, officers })
}
