//! Keeps one host running: starts it, waits for its first status, replaces it when it ends, hangs, bloats or is not ready.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::HsmConfig;
use super::link::Link;
use crate::error::{HsmError, Outage};
use crate::memory::resident_kib;
use crate::model::{Finding, HostStatus};
use crate::op::{Answer, Operation};

/// A host may take this long until it has logged in and tested the token.
const START: Duration = Duration::from_mins(1);
/// A host that was asked to end may take this long.
const END: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A host that lived this long starts its back-off anew.
const STEADY: Duration = Duration::from_secs(30);
/// How often the memory of a host is looked at: SoftHSM 2.6.1 keeps 240 bytes of every key it ever derived.
const LOOK: Duration = Duration::from_secs(10);

/// Where the host is.
#[derive(Clone)]
pub(super) enum Source {
    /// A child of this process.
    Child,
    /// Somebody else's, behind its Unix socket.
    Socket(PathBuf),
}

/// What is known of a host. `generation` counts the hosts there were, those that did not start too.
#[derive(Clone)]
pub(super) struct State {
    pub(super) generation: u64,
    pub(super) phase: Phase,
}

#[derive(Clone)]
pub(super) enum Phase {
    Starting,
    /// It answers. With problems, it answers only what its state allows.
    Up(Arc<Link>, Arc<HostStatus>),
    Down(Outage),
}

/// A host that has answered.
struct Running {
    child: Option<Child>,
    link: Arc<Link>,
    status: Arc<HostStatus>,
    since: Instant,
}

enum Event {
    Closed,
    Hangs,
    /// It is not ready, or it has grown too large: another one is to take over.
    Replace,
    Shutdown,
}

/// Runs until `shutdown` says so, or the token refuses the PIN.
pub(super) async fn supervise(config: Arc<HsmConfig>, source: Source, state: watch::Sender<State>, mut shutdown: watch::Receiver<bool>) {
    let mut pause = FIRST_PAUSE;
    let mut endings = JoinSet::new();
    let mut next = None;
    loop {
        let running = match next.take() {
            Some(running) => running,
            None => match start(&config, &source, &state).await {
                Ok(running) => running,
                Err(outage) => {
                    tracing::error!(%outage, "there is no HSM host");
                    state.send_modify(|state| {
                        state.generation = state.generation.saturating_add(1);
                        state.phase = Phase::Down(outage);
                    });
                    if paused(&mut pause, &mut shutdown).await {
                        continue;
                    }
                    break;
                }
            },
        };
        match watch_over(&config, &running, pause, &mut shutdown).await {
            Event::Closed => {
                let steady = running.since.elapsed() >= STEADY || config.ceremony;
                let latched = running.is_latched();
                running.end().await;
                if latched {
                    break;
                }
                if steady {
                    pause = FIRST_PAUSE;
                }
                state.send_modify(|state| state.phase = Phase::Down(Outage::Ended));
                if !paused(&mut pause, &mut shutdown).await {
                    break;
                }
            }
            Event::Hangs => {
                tracing::error!("the HSM host does not answer and is ended");
                running.kill().await;
            }
            // The new one answers before the old one goes: a caller always finds a host.
            Event::Replace => {
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                if let Ok(replacement) = launch(&config, &source).await {
                    publish(&state, &replacement);
                    next = Some(replacement);
                    endings.spawn(running.end());
                } else {
                    next = Some(running);
                }
            }
            Event::Shutdown => {
                running.end().await;
                break;
            }
        }
    }
    endings.join_all().await;
    let shut = *shutdown.borrow();
    state.send_modify(|state| {
        let pin = || Finding::failed("pin", None, "the token refused the PIN; correct it and start again");
        state.phase = Phase::Down(if shut { Outage::ShuttingDown } else { Outage::NotReady(vec![pin()]) });
    });
}

/// Waits before the next try, twice as long each time. False if it is time to shut down.
async fn paused(pause: &mut Duration, shutdown: &mut watch::Receiver<bool>) -> bool {
    let length = *pause;
    *pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    tokio::select! {
        () = tokio::time::sleep(length) => true,
        _ = shutdown.wait_for(|shutdown| *shutdown) => false,
    }
}

async fn watch_over(config: &HsmConfig, running: &Running, pause: Duration, shutdown: &mut watch::Receiver<bool>) -> Event {
    // A host that is not ready is tried anew after the pause. Not where the PIN was refused: every try brings the token nearer to its lock.
    // Not in a ceremony: it is about to change that.
    let retry = async {
        if running.status.is_ready() || running.is_latched() || config.ceremony {
            std::future::pending::<()>().await;
        } else {
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = running.link.closed() => Event::Closed,
        () = running.link.hangs.notified() => Event::Hangs,
        () = retry => Event::Replace,
        () = running.bloats(config.recycle_kib) => {
            tracing::warn!(pid = running.status.pid, "the HSM host has grown too large and is replaced");
            Event::Replace
        }
        _ = shutdown.wait_for(|shutdown| *shutdown) => Event::Shutdown,
    }
}

fn publish(state: &watch::Sender<State>, running: &Running) {
    state.send_modify(|state| {
        state.generation = state.generation.saturating_add(1);
        state.phase = Phase::Up(running.link.clone(), running.status.clone());
    });
}

async fn start(config: &HsmConfig, source: &Source, state: &watch::Sender<State>) -> Result<Running, Outage> {
    state.send_modify(|state| state.phase = Phase::Starting);
    let running = launch(config, source).await?;
    publish(state, &running);
    Ok(running)
}

async fn launch(config: &HsmConfig, source: &Source) -> Result<Running, Outage> {
    let connected = match source {
        Source::Child => spawn(config).map(|(child, stream)| (Some(child), stream)),
        Source::Socket(path) => UnixStream::connect(path).map(|stream| (None, stream)),
    };
    let (child, stream) = connected.map_err(|error| {
        tracing::error!(%error, "the HSM host could not be started or reached");
        Outage::NotStarted
    })?;
    let link = Link::new(stream, config.workers.saturating_mul(4)).map_err(|_| Outage::NotStarted)?;
    // The child is killed where it is dropped.
    let status = match link.call(&Operation::Status, START).await {
        Ok(Answer::Status(status)) => Arc::new(*status),
        Ok(_) | Err(HsmError::Protocol) => return Err(Outage::NotStarted),
        Err(_) => return Err(Outage::Ended),
    };
    for problem in status.problems() {
        tracing::error!(pid = status.pid, %problem, "the HSM host is not ready");
    }
    Ok(Running { child, link, status, since: Instant::now() })
}

/// The host's standard input is its socket. It gets the configured environment and no other, and a process group of its own: a Ctrl-C is for
/// the service, which ends its hosts in order.
fn spawn(config: &HsmConfig) -> std::io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(&config.executable);
    command.arg("hsm-host");
    command.arg("--workers").arg(config.workers.to_string());
    command.arg("--queue").arg(config.queue.to_string());
    command.arg("--sessions").arg(config.sessions.to_string());
    if let Some(objects) = config.objects {
        command.arg("--objects").arg(objects.to_string());
    }
    command.arg("--stuck-ms").arg(config.stuck.as_millis().to_string());
    command.arg("--log").arg(&config.log);
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
    fn is_latched(&self) -> bool {
        self.status.problems().any(|finding| finding.name == "pin")
    }

    /// Resolves when a child's resident memory is above the limit.
    async fn bloats(&self, most_kib: u64) {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(pid) = self.child.as_ref().and_then(Child::id) else { return std::future::pending().await };
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if resident_kib(&status).is_some_and(|kib| kib > most_kib) {
                return;
            }
        }
    }

    /// No more requests; the host answers what it has, finalises the module and exits. Killed if it does not.
    async fn end(mut self) {
        self.link.finish();
        let Some(child) = &mut self.child else {
            // Not ours to kill.
            drop(tokio::time::timeout(END, self.link.closed()).await);
            return;
        };
        match tokio::time::timeout(END, child.wait()).await {
            Ok(Ok(status)) => tracing::info!(%status, "HSM host ended"),
            Ok(Err(error)) => tracing::error!(%error, "the HSM host cannot be waited for"),
            Err(_) => {
                tracing::error!("the HSM host did not end and is killed");
                self.kill().await;
            }
        }
    }

    async fn kill(mut self) {
        self.link.finish();
        if let Some(child) = &mut self.child
            && let Err(error) = child.kill().await
        {
            tracing::error!(%error, "the HSM host could not be killed");
        }
    }
}
