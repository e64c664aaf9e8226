//! A host as a process or a connection: how it comes about, and how it ends.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::HsmConfig;
use super::link::Link;
use super::seat::{Fit, Shared, Up};
use crate::error::Outage;
use crate::model::{Finding, HostStatus};
use crate::op::{Answer, Operation};

/// A host may take this long until it has loaded its module and says the first word.
pub(super) const START: Duration = Duration::from_secs(30);
/// A host that was asked to end may take this long.
const END: Duration = Duration::from_secs(10);

/// What a login is tried with: token, PIN file, and the state of the file. Its content is for the host only.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    uri: String,
    file: Option<(u64, u64, Option<SystemTime>)>,
}

impl Stamp {
    fn of(config: &HsmConfig) -> Self {
        let file = std::fs::metadata(config.uri.pin_path()).ok().map(|file| (file.ino(), file.len(), file.modified().ok()));
        Self { uri: config.uri.to_string(), file }
    }
}

/// What is known of the PIN. A refused one is never tried again, by no host: a few wrong tries lock a token.
#[derive(Debug, Default)]
pub(super) struct Login {
    proven: Option<Stamp>,
    refused: Option<Stamp>,
}

impl Login {
    /// What a host says of its login now.
    pub(super) fn hear(&mut self, config: &HsmConfig, status: &HostStatus) {
        // A file that was changed after the host's try is not the one that was refused.
        if self.refused.is_none() || !is_refused(status) {
            self.note(Stamp::of(config), status);
        }
    }

    fn note(&mut self, stamp: Stamp, status: &HostStatus) {
        if is_refused(status) {
            (self.proven, self.refused) = (None, Some(stamp));
        } else if status.is_ready() {
            (self.proven, self.refused) = (Some(stamp), None);
        }
    }
}

fn is_refused(status: &HostStatus) -> bool {
    status.problems().any(|finding| finding.name == "pin")
}

/// A host that has answered.
pub(super) struct Running {
    pub(super) config: Arc<HsmConfig>,
    child: Option<Child>,
    pub(super) link: Arc<Link>,
    pub(super) status: Arc<HostStatus>,
    pub(super) since: Instant,
}

/// Starts or reaches a host and waits for its first word. While it is not known whether the token takes the PIN, one host at a time finds out.
pub(super) async fn launch(shared: &Shared, config: &Arc<HsmConfig>) -> Result<Running, Outage> {
    if let Some(path) = &config.socket {
        return greeted(config.clone(), None, connect(path, config.socket_uid).await?).await;
    }
    let login = shared.login.lock().await;
    let stamp = Stamp::of(config);
    if login.refused.as_ref() == Some(&stamp) {
        let hint = "the token refused the PIN, so it is not tried again: correct the PIN file";
        return Err(Outage::NotReady(vec![Finding::failed("pin", None, hint)]));
    }
    let login = if login.proven.as_ref() == Some(&stamp) {
        drop(login);
        None
    } else {
        Some(login)
    };
    let (child, stream) = spawn(shared, config).map_err(not_started)?;
    let running = greeted(config.clone(), Some(child), stream).await?;
    if let Some(mut login) = login {
        login.note(stamp, &running.status);
    }
    Ok(running)
}

fn not_started(error: impl std::fmt::Display) -> Outage {
    tracing::debug!(%error, "the HSM host could not be started or reached");
    Outage::NotStarted
}

/// Whoever can put a socket there could answer "verified" to every MAC, so the kernel is asked who it is.
async fn connect(path: &Path, expected: Option<u32>) -> Result<StdStream, Outage> {
    let stream = UnixStream::connect(path).await.map_err(not_started)?;
    let user = stream.peer_cred().map_err(not_started)?.uid();
    if ![Some(rustix::process::getuid().as_raw()), Some(0), expected].contains(&Some(user)) {
        let hint = format!("the process behind the socket is of user {user}, whom hsm.socket_uid does not name: it is not spoken to");
        return Err(Outage::NotReady(vec![Finding::failed("host", None, hint)]));
    }
    stream.into_std().map_err(not_started)
}

async fn greeted(config: Arc<HsmConfig>, child: Option<Child>, stream: StdStream) -> Result<Running, Outage> {
    let link = Link::new(stream).map_err(not_started)?;
    // The child is killed where it is dropped.
    match link.call(&Operation::Status, START).await {
        Ok(Answer::Status(status)) => Ok(Running { config, child, link, status: Arc::new(*status), since: Instant::now() }),
        Ok(_) => Err(Outage::NotStarted),
        Err(_) => Err(Outage::Ended),
    }
}

/// The host's standard input is its socket. It gets the configured environment and no other, and a process group of its own: a Ctrl-C is for
/// the service, which ends its hosts in order.
fn spawn(shared: &Shared, config: &HsmConfig) -> std::io::Result<(Child, StdStream)> {
    let (ours, theirs) = StdStream::pair()?;
    let mut command = Command::new(&config.executable);
    command.arg("hsm-host");
    command.arg("--workers").arg(config.workers.to_string());
    command.arg("--queue").arg(config.queue.to_string());
    command.arg("--sessions").arg(config.sessions.to_string());
    if let Some(objects) = config.objects {
        command.arg("--objects").arg(objects.to_string());
    }
    command.arg("--stuck-ms").arg(config.stuck.as_millis().to_string());
    if let Some(logins) = &shared.logins {
        command.arg("--logins").arg(format!("/proc/self/fd/{}", logins.as_raw_fd()));
    }
    command.arg("--log").arg(&config.log);
    if let Some(officers) = &config.officers {
        command.arg("--officers").arg(officers);
    }
    if config.ceremony {
        command.arg("--ceremony");
    }
    command.arg(config.uri.to_string());
    command.env_clear().envs(&config.environment);
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.process_group(0).kill_on_drop(true);
    Ok((command.spawn()?, ours))
}

impl Running {
    pub(super) fn is_child(&self) -> bool {
        self.child.is_some()
    }

    /// Asks how it is.
    pub(super) async fn look_again(&mut self) {
        if let Ok(Answer::Status(status)) = self.link.call(&Operation::Status, START).await {
            self.status = Arc::new(*status);
        }
    }

    /// As the seat knows it.
    pub(super) fn up(&self, fit: Fit) -> Up {
        Up { link: self.link.clone(), status: self.status.clone(), fit, child: self.is_child() }
    }

    /// No more requests; the host answers what it has, finalises the module and exits. Killed if it does not.
    pub(super) async fn end(mut self) {
        self.link.finish();
        let Some(child) = &mut self.child else {
            // Not ours to kill.
            drop(tokio::time::timeout(END, self.link.closed()).await);
            return;
        };
        match tokio::time::timeout(END, child.wait()).await {
            Ok(Ok(status)) => tracing::info!(pid = self.status.pid, %status, "HSM host ended"),
            Ok(Err(error)) => tracing::error!(%error, "the HSM host cannot be waited for"),
            Err(_) => {
                tracing::error!(pid = self.status.pid, "the HSM host did not end and is killed");
                self.kill().await;
            }
        }
    }

    pub(super) async fn kill(mut self) {
        self.link.finish();
        self.link.give_up();
        if let Some(child) = &mut self.child
            && let Err(error) = child.kill().await
        {
            tracing::error!(%error, "the HSM host could not be killed");
        }
    }
}
