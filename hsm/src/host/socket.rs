//! Where requests come from: the socket that the parent handed over as standard input, or a Unix socket with peer credentials checked.

use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::worker::Job;
use crate::error::Refusal;
use crate::frame;
use crate::op::{Request, Response};

/// A client that does not read its answers is cut off after this, so that it cannot hold the workers.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The way back to who asked.
#[derive(Clone)]
pub(super) struct Peer(Arc<Mutex<UnixStream>>);

impl Peer {
    /// Sends the answer; a peer that is gone does not get one.
    pub(super) fn answer(&self, response: &Response) {
        let too_long =
            || Response { id: response.id, result: Err(Refusal::InvalidInput { what: "answer longer than a frame".to_owned() }) };
        let Ok(frame) = frame::encode(response).or_else(|_| frame::encode(&too_long())) else { return };
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.write_all(&frame).is_err() {
            // Half a frame may be out: nothing that follows could be understood.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

/// All connections, so that intake can be stopped while their answers still go out.
pub(super) struct Peers {
    streams: Mutex<Vec<UnixStream>>,
    stopped: AtomicBool,
    /// Where to knock to wake the accepting thread.
    listening: Option<PathBuf>,
}

impl Peers {
    pub(super) fn new(listening: Option<PathBuf>) -> Self {
        Self { streams: Mutex::new(Vec::new()), stopped: AtomicBool::new(false), listening }
    }

    /// No new request is read from now on.
    pub(super) fn stop_intake(&self) {
        if self.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            drop(stream.shutdown(Shutdown::Read));
        }
        if let Some(path) = &self.listening {
            drop(UnixStream::connect(path));
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn add(&self, stream: UnixStream) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        if self.is_stopped() {
            self.stopped.store(false, Ordering::SeqCst);
            self.stop_intake();
        }
    }
}

/// Reads requests until the peer ends or breaks the protocol.
fn read(mut stream: UnixStream, peers: &Peers, jobs: &Sender<Job>) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let peer = Peer(Arc::new(Mutex::new(stream.try_clone()?)));
    peers.add(stream.try_clone()?);
    while let Some(body) = frame::read(&mut stream)? {
        let request: Request = frame::decode(&body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if jobs.send(Job { request, peer: peer.clone(), received: Instant::now() }).is_err() {
            break;
        }
    }
    Ok(())
}

/// Serves the socket that is this process's standard input.
pub(super) fn serve_parent(peers: &Peers, jobs: &Sender<Job>) -> io::Result<()> {
    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    // Reading from something that is not a socket fails at the first `shutdown`-able call: better at once.
    rustix::net::sockopt::socket_type(&descriptor)?;
    read(UnixStream::from(descriptor), peers, jobs)
}

/// Serves everybody of the allowed users who connects to `path`.
pub(super) fn serve_socket(path: &Path, allowed: &[u32], peers: &Peers, jobs: &Sender<Job>) -> io::Result<()> {
    // What a dead host left behind; anything else at that path is not ours to delete.
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) && UnixStream::connect(path).is_err() {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            if peers.is_stopped() {
                break;
            }
            let stream = stream?;
            let user = rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw();
            if allowed.contains(&user) {
                scope.spawn(move || {
                    if let Err(error) = read(stream, peers, jobs) {
                        tracing::warn!(%error, "a connection ended");
                    }
                });
            } else {
                tracing::warn!(user, "a connection of another user is refused");
            }
        }
        Ok(())
    })
}
