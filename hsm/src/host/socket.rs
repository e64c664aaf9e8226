//! Where requests come from: the socket that the parent handed over as standard input, or a Unix socket with peer credentials checked.

use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::keeper::Host;
use super::worker::Job;
use crate::error::Refusal;
use crate::frame;
use crate::op::{Answer, Operation, Request, Response};

/// A client that does not read its answers is cut off after this, so that it cannot hold the workers.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// After a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection; closed when its reader has ended and its last answer is out.
struct Connection {
    stream: UnixStream,
    /// Held while a frame is written.
    writing: Mutex<()>,
}

/// The way back to who asked.
#[derive(Clone)]
pub(super) struct Peer(Arc<Connection>);

impl Peer {
    /// Sends the answer; a peer that is gone does not get one.
    pub(super) fn answer(&self, response: &Response) {
        let too_long =
            || Response { id: response.id, result: Err(Refusal::InvalidInput { what: "answer longer than a frame".to_owned() }) };
        let Ok(frame) = frame::encode(response).or_else(|_| frame::encode(&too_long())) else { return };
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if (&self.0.stream).write_all(&frame).is_err() {
            // Half a frame may be out: nothing that follows could be understood.
            drop(self.0.stream.shutdown(Shutdown::Both));
        }
    }
}

/// All connections, so that intake can be stopped while their answers still go out.
pub(super) struct Peers {
    open: Mutex<Open>,
    /// Where to knock to wake the accepting thread.
    listening: Option<PathBuf>,
}

#[derive(Default)]
struct Open {
    connections: Vec<Weak<Connection>>,
    stopped: bool,
}

impl Peers {
    pub(super) fn new(listening: Option<PathBuf>) -> Self {
        Self { open: Mutex::new(Open::default()), listening }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No new request is read from now on.
    pub(super) fn stop_intake(&self) {
        let mut open = self.open();
        if std::mem::replace(&mut open.stopped, true) {
            return;
        }
        for connection in open.connections.drain(..).filter_map(|connection| connection.upgrade()) {
            drop(connection.stream.shutdown(Shutdown::Read));
        }
        if let Some(path) = &self.listening {
            drop(UnixStream::connect(path));
        }
    }

    fn is_stopped(&self) -> bool {
        self.open().stopped
    }

    /// False where intake was stopped meanwhile.
    fn add(&self, connection: &Arc<Connection>) -> bool {
        let mut open = self.open();
        open.connections.retain(|connection| connection.strong_count() > 0);
        open.connections.push(Arc::downgrade(connection));
        !open.stopped
    }
}

/// Reads requests until the peer ends or breaks the protocol.
fn read(stream: UnixStream, host: &Host, peers: &Peers, jobs: &Sender<Job>) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let connection = Arc::new(Connection { stream, writing: Mutex::new(()) });
    if !peers.add(&connection) {
        return Ok(());
    }
    while let Some(body) = frame::read(&mut &connection.stream)? {
        let request: Request = frame::decode(&body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // Answered here, so that a host whose workers all wait can still tell why.
        if matches!(request.operation, Operation::Status) {
            Peer(connection.clone()).answer(&Response { id: request.id, result: Ok(Answer::Status(Box::new(host.status()))) });
            continue;
        }
        if jobs.send(Job { request, peer: Peer(connection.clone()), received: Instant::now() }).is_err() {
            break;
        }
    }
    Ok(())
}

/// Serves the socket that is this process's standard input.
pub(super) fn serve_parent(host: &Host, peers: &Peers, jobs: &Sender<Job>) -> io::Result<()> {
    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    // Reading from something that is not a socket fails at the first `shutdown`-able call: better at once.
    rustix::net::sockopt::socket_type(&descriptor)?;
    read(UnixStream::from(descriptor), host, peers, jobs)
}

/// Serves everybody of the allowed users who connects to `path`, until SIGTERM (what stops a container) or SIGINT. Without a handler, the
/// first process of a container would not hear them.
pub(super) fn serve_socket(path: &Path, allowed: &[u32], host: &Host, peers: &Peers, jobs: &Sender<Job>) -> io::Result<()> {
    // What a dead host left behind; anything else at that path is not ours to delete.
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) && UnixStream::connect(path).is_err() {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Another user connects through the socket's group: the folder's, if that is set-group-ID. Who it is, is asked of the kernel below.
    let mode = if allowed.len() > 1 { 0o660 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    std::thread::scope(|scope| {
        let ended = runtime.block_on(async {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok(accepted) => accepted,
                        // Too many descriptors are open, or the peer is gone again: no reason to leave those who are being served.
                        Err(error) => {
                            tracing::warn!(%error, "a connection could not be accepted");
                            std::thread::sleep(ACCEPT_PAUSE);
                            continue;
                        }
                    },
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                };
                if peers.is_stopped() {
                    break;
                }
                // Tokio's, because the process id of a peer outside this container is 0, which rustix 1.1 takes for an error.
                let Ok(user) = stream.peer_cred().map(|peer| peer.uid()) else { continue };
                if !allowed.contains(&user) {
                    tracing::warn!(user, "a connection of another user is refused");
                    continue;
                }
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                scope.spawn(move || {
                    if let Err(error) = read(stream, host, peers, jobs) {
                        tracing::warn!(%error, "a connection ended");
                    }
                });
            }
            Ok(())
        });
        drop(listener);
        // The scope waits for the readers.
        peers.stop_intake();
        ended
    })
}
