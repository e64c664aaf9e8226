//! The host process: the only one that loads the PKCS#11 module, holds the PIN, sessions and handles.
//!
//! Threads: one reader a connection -> bounded queue -> workers with one session each -> the connection's writer. The end is always the same:
//! stop intake, answer what is queued, join the workers, `C_Finalize`, exit. SoftHSM crashes if it is finalised under a running thread.

mod context;
mod create;
mod dukpt;
mod fault;
mod ffi;
mod mark;
mod module;
mod object;
mod phone;
mod profile;
mod prove;
mod public;
mod ring;
mod selftest;
mod sign;
mod socket;
mod templates;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::uri::Pkcs11Uri;

use context::Host;
use socket::Peers;

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
    /// A Unix socket to listen on, instead of serving the socket that is standard input.
    pub listen: Option<PathBuf>,
    /// A user besides this process's own who may connect to `listen`.
    pub allow_uid: Option<u32>,
}

/// Runs a host until its peer ends. Logs through `tracing`; never a secret.
pub fn run(args: HostArgs) -> ExitCode {
    harden();
    let workers = args.workers.clamp(1, 16);
    let host = Host::open(args.uri, workers, args.ceremony);
    tracing::info!(pid = std::process::id(), workers, ceremony = args.ceremony, ready = host.status().is_ready(), "HSM host started");
    let peers = Peers::new(args.listen.clone());
    let (jobs, queue) = crossbeam_channel::bounded(args.queue.clamp(1, 65_536));
    let served = std::thread::scope(|scope| {
        for _ in 0..workers {
            let (host, peers, queue) = (&host, &peers, queue.clone());
            scope.spawn(move || worker::work(host, peers, &queue));
        }
        drop(queue);
        let served = match &args.listen {
            None => socket::serve_parent(&peers, &jobs),
            Some(path) => {
                let own = rustix::process::getuid().as_raw();
                let mut allowed = vec![own];
                allowed.extend(args.allow_uid.filter(|other| *other != own));
                socket::serve_socket(path, &allowed, &peers, &jobs)
            }
        };
        // Closes the queue: the workers answer what is in it and end.
        drop(jobs);
        served
    });
    let replace = host.has_ended();
    host.close();
    if let Some(path) = &args.listen {
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
