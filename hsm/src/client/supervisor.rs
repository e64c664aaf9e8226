//! Keeps one host running: starts it, waits for its first status, replaces it when it ends or hangs.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::HsmConfig;
use super::link::Link;
use crate::error::{HsmError, Outage};
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

/// What is known of a host. `generation` counts the starts.
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

/// Runs until `shutdown` says so.
pub(super) async fn supervise(config: Arc<HsmConfig>, state: watch::Sender<State>, mut shutdown: watch::Receiver<bool>) {
    let mut pause = FIRST_PAUSE;
    loop {
        state.send_modify(|state| {
            state.generation = state.generation.saturating_add(1);
            state.phase = Phase::Starting;
        });
        let started = Instant::now();
        let mut latched = false;
        let mut orderly = false;
        match start(&config).await {
            Ok((mut child, link, status)) => {
                let ready = status.is_ready();
                latched = status.problems().any(|finding| finding.name == "pin");
                for problem in status.problems() {
                    tracing::error!(pid = status.pid, %problem, "the HSM host is not ready");
                }
                state.send_modify(|state| state.phase = Phase::Up(link.clone(), Arc::new(status)));
                // A host that is not ready stays only for who asks for its status, and is tried anew after the pause.
                // Not where the PIN was refused (every try brings the token nearer to its lock), and not in a ceremony (it is about to change that).
                let retry = async {
                    if ready || latched || config.ceremony { std::future::pending().await } else { tokio::time::sleep(pause).await }
                };
                tokio::select! {
                    () = link.closed() => orderly = true,
                    () = link.hangs.notified() => {
                        tracing::error!("the HSM host does not answer and is ended");
                        drop(child.start_kill());
                    }
                    () = retry => {}
                    _ = shutdown.wait_for(|shutdown| *shutdown) => {}
                }
                end(&mut child, &link).await;
            }
            Err(outage) => {
                tracing::error!(%outage, "the HSM host did not start");
                state.send_modify(|state| state.phase = Phase::Down(outage));
            }
        }
        if *shutdown.borrow() {
            break;
        }
        if latched {
            let pin = Finding::failed("pin", None, "the token refused the PIN; correct it and start again");
            state.send_modify(|state| state.phase = Phase::Down(Outage::NotReady(vec![pin])));
            break;
        }
        if started.elapsed() >= STEADY || (orderly && config.ceremony) {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = shutdown.wait_for(|shutdown| *shutdown) => break,
        }
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
    state.send_modify(|state| {
        if !matches!(state.phase, Phase::Down(Outage::NotReady(_))) {
            state.phase = Phase::Down(Outage::ShuttingDown);
        }
    });
}

async fn start(config: &HsmConfig) -> Result<(Child, Arc<Link>, HostStatus), Outage> {
    let (child, stream) = spawn(config).map_err(|error| {
        tracing::error!(%error, "the HSM host could not be started");
        Outage::NotStarted
    })?;
    let link = Link::new(stream, config.workers.saturating_mul(4)).map_err(|_| Outage::NotStarted)?;
    match link.call(Operation::Status, START).await {
        Ok(Answer::Status(status)) => Ok((child, link, *status)),
        Ok(_) | Err(HsmError::Protocol) => Err(Outage::NotStarted),
        // The child is killed when it is dropped.
        Err(_) => Err(Outage::Ended),
    }
}

/// The host's standard input is its socket. It gets the configured environment and no other, and a process group of its own: a Ctrl-C is for
/// the service, which ends its hosts in order.
fn spawn(config: &HsmConfig) -> std::io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(&config.executable);
    command.arg("hsm-host");
    command.arg("--workers").arg(config.workers.to_string());
    command.arg("--queue").arg(config.queue.to_string());
    if config.ceremony {
        command.arg("--ceremony");
    }
    command.arg(config.uri.to_string());
    command.env_clear().envs(&config.environment);
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.process_group(0).kill_on_drop(true);
    Ok((command.spawn()?, ours))
}

/// No more requests; the host answers what it has, finalises the module and exits. Killed if it does not.
async fn end(child: &mut Child, link: &Link) {
    link.finish();
    match tokio::time::timeout(END, child.wait()).await {
        Ok(Ok(status)) => tracing::info!(%status, "HSM host ended"),
        Ok(Err(error)) => tracing::error!(%error, "the HSM host cannot be waited for"),
        Err(_) => {
            tracing::error!("the HSM host did not end and is killed");
            drop(child.kill().await);
        }
    }
}
