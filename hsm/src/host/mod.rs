//! The host process: the only one that loads the PKCS#11 module, holds the PIN, sessions and handles.
//!
//! Threads: one reader a connection -> bounded queue -> workers, which the pool lends a session for each operation -> the connection's writer. The keeper
//! logs in, looks for the keys and mends what the failure rules say; the watchdog ends the process when a call hangs. The end is always the same:
//! stop intake, answer what is queued, join the workers, `C_Finalize`, exit. SoftHSM crashes if it is finalised under a running thread.

#[cfg(test)]
mod attacks;
mod conformance;
mod context;
mod create;
mod dukpt;
mod fault;
mod ffi;
mod gate;
mod keeper;
mod ladder;
mod logins;
mod managed;
mod mark;
mod module;
mod object;
mod objects;
mod phone;
mod pool;
mod profile;
mod prove;
mod public;
mod ring;
mod selftest;
mod sign;
mod socket;
mod templates;
pub mod trial;
mod view;
mod watchdog;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::uri::Pkcs11Uri;

use keeper::Host;
use socket::Peers;
use watchdog::Watchdog;

pub(crate) mod bench;

/// The process has to be replaced: its login or its view of the token's keys is gone. (`EX_TEMPFAIL` of sysexits.)
pub const EXIT_REPLACE: u8 = 75;
/// The socket failed. (`EX_IOERR`.)
pub const EXIT_SOCKET: u8 = 74;

/// How a host is run.
#[derive(Debug, Clone)]
pub struct HostArgs {
    /// Module, token and PIN file.
    pub uri: Pkcs11Uri,
    /// Worker threads, 1 to 16; two to four are right for SoftHSM.
    pub workers: usize,
    /// Requests that wait for a worker.
    pub queue: usize,
    /// Whether ceremonies are allowed: making a token, making keys, signing with the root.
    pub ceremony: bool,
    /// PKCS#11 sessions at most, the one that holds the login included; 0 is one for each worker and one for the login.
    pub sessions: usize,
    /// Token objects at most: nothing is made beyond.
    pub objects: Option<u64>,
    /// A call of the module that takes longer hangs: the process ends, and its successor takes over. Not in a ceremony.
    pub stuck: Duration,
    /// Session objects after which a listening host initialises its module anew; 0 is never. A host with a parent is replaced by it instead.
    pub recycle: u64,
    /// A Unix socket to listen on, instead of serving the socket that is standard input.
    pub listen: Option<PathBuf>,
    /// A user besides this process's own who may connect to `listen`.
    pub allow_uid: Option<u32>,
    /// A file that all hosts of this token share: one at a time tries the PIN, and none tries one that another has had refused.
    pub logins: Option<PathBuf>,
    /// Officers whose approvals are taken, read anew for each plan; without the file none are.
    pub officers: Option<PathBuf>,
}

impl HostArgs {
    /// The defaults of the command line.
    pub(crate) fn of(uri: Pkcs11Uri) -> Self {
        Self {
            uri,
            workers: 2,
            queue: 256,
            ceremony: false,
            sessions: 0,
            objects: None,
            stuck: Duration::from_secs(2),
            recycle: 0,
            listen: None,
            allow_uid: None,
            logins: None,
            officers: None,
        }
    }
}

/// Runs a host until its peer ends. Logs through `tracing`; never a secret.
pub fn run(mut args: HostArgs) -> ExitCode {
    args.workers = args.workers.clamp(1, 256);
    let workers = args.workers;
    let listen = args.listen.clone();
    let (jobs, queue) = crossbeam_channel::bounded(args.queue.clamp(1, 65_536));
    let limit = if args.ceremony { keeper::CEREMONY } else { args.stuck };
    let peers = Peers::new(listen.clone());
    let own = rustix::process::getuid().as_raw();
    let mut allowed = vec![own];
    allowed.extend(args.allow_uid.filter(|other| *other != own));
    tracing::info!(pid = std::process::id(), workers, ceremony = args.ceremony, "HSM host started");
    let host = Host::new(args);
    // Not before the host has opened what it was given: afterwards, its descriptors are hidden from itself.
    harden();
    let watchdog = Watchdog::new(workers, limit, host.beat.clone());
    let served = std::thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            let _end_on_panic = worker::EndOnPanic(&host, &peers);
            host.keep(|| peers.stop_intake());
        });
        scope.spawn(|| watchdog.look());
        let workers: Vec<_> = watchdog
            .workers()
            .iter()
            .map(|beat| {
                let (host, peers, queue) = (&host, &peers, queue.clone());
                scope.spawn(move || worker::work(host, beat, peers, &queue))
            })
            .collect();
        drop(queue);
        let served = match &listen {
            None => socket::serve_parent(&host, &peers, &jobs),
            Some(path) => socket::serve_socket(path, &allowed, &host, &peers, &jobs),
        };
        // Closes the queue: the workers answer what is in it and end.
        drop(jobs);
        for worker in workers {
            drop(worker.join());
        }
        host.dismiss();
        drop(keeper.join());
        watchdog.stop();
        served
    });
    let replace = host.has_ended();
    host.close();
    if let Some(path) = &listen {
        drop(std::fs::remove_file(path));
    }
    match served {
        Err(error) => {
            tracing::error!(%error, "the socket failed");
            ExitCode::from(EXIT_SOCKET)
        }
        Ok(()) if replace => ExitCode::from(EXIT_REPLACE),
        Ok(()) => {
            tracing::info!("HSM host ended");
            ExitCode::SUCCESS
        }
    }
}

/// Resident memory of this process.
fn memory_kib() -> u64 {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| crate::memory::resident_kib(&status)).unwrap_or(0)
}

/// This process holds the PIN and, with a software token, the keys: no core file, and no other process of the user may read its memory.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if rustix::process::setrlimit(Resource::Core, none).is_err()
        || rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err()
    {
        tracing::warn!("the process could not be protected from being dumped");
    }
}
