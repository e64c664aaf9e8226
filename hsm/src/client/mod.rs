//! What the service holds: a cloneable, async handle on one or more HSM hosts.

mod call;
mod link;
mod supervisor;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::error::{HsmError, Outage};
use crate::model::{Finding, HostStatus};
use crate::op::{Answer, Operation};
use crate::uri::Pkcs11Uri;
use link::Link;
use supervisor::{Phase, Source, State};

/// How the hosts are run.
#[derive(Debug, Clone)]
pub struct HsmConfig {
    /// The `tillward` binary.
    pub executable: PathBuf,
    /// Module, token and PIN file.
    pub uri: Pkcs11Uri,
    /// The whole environment of a host: what the module needs (`SOFTHSM2_CONF`) and nothing else.
    pub environment: BTreeMap<String, String>,
    /// Host processes. One is enough until SoftHSM's lock is what limits.
    pub hosts: usize,
    /// Worker threads in each.
    pub workers: usize,
    /// Calls in flight at most; more are refused at once.
    pub queue: usize,
    /// How long a call may take.
    pub deadline: Duration,
    /// PKCS#11 sessions of each host at most, the one that holds the login included; 0 is one for each worker and one for the login.
    pub sessions: usize,
    /// Token objects at most: nothing is made beyond.
    pub objects: Option<u64>,
    /// A host from which nothing came for so long while it was asked hangs, and is replaced.
    pub stuck: Duration,
    /// Session objects after which a host is replaced; 0 is never.
    pub recycle_objects: u64,
    /// Resident memory above which a host is replaced, KiB.
    pub recycle_kib: u64,
    /// Whether the host does ceremonies.
    pub ceremony: bool,
    /// What the host logs on standard error: a level, or tracing's filter syntax.
    pub log: String,
}

impl HsmConfig {
    /// The defaults: one host, two workers, 256 calls in flight, five seconds.
    pub fn new(executable: PathBuf, uri: Pkcs11Uri) -> Self {
        Self {
            executable,
            uri,
            environment: BTreeMap::new(),
            hosts: 1,
            workers: 2,
            queue: 256,
            deadline: Duration::from_secs(5),
            sessions: 0,
            objects: None,
            stuck: Duration::from_secs(2),
            recycle_objects: 1_000_000,
            recycle_kib: 512 * 1024,
            ceremony: false,
            log: "info".to_owned(),
        }
    }
}

/// A handle on the HSM. When the last clone is dropped, the hosts are killed; [`Hsm::shutdown`] ends them in order.
#[derive(Clone)]
pub struct Hsm {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<HsmConfig>,
    permits: Semaphore,
    hosts: Vec<watch::Receiver<State>>,
    shutdown: watch::Sender<bool>,
    supervisors: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for supervisor in self.supervisors.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            supervisor.abort();
        }
    }
}

impl std::fmt::Debug for Hsm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hsm({} hosts)", self.inner.hosts.len())
    }
}

impl Hsm {
    /// Starts the hosts and waits until one has logged in and tested the token. With [`HsmConfig::ceremony`], a host that is not ready will do:
    /// a ceremony is what makes it ready.
    ///
    /// # Errors
    /// [`HsmError::Unavailable`], with the failed checks where a host got that far. The hosts are ended before it is returned.
    pub async fn start(config: HsmConfig) -> Result<Self, HsmError> {
        let tolerant = config.ceremony;
        Self::start_for_diagnosis(config).await?.demand(tolerant).await
    }

    /// Uses the host that listens on `socket` instead of starting one: it may run in a container or under another user. Executable,
    /// environment and number of hosts of `config` are not used; URI and ceremony are the host's own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn attach(config: HsmConfig, socket: PathBuf) -> Result<Self, HsmError> {
        let tolerant = config.ceremony;
        Self::open(HsmConfig { hosts: 1, ..config }, &Source::Socket(socket)).await?.demand(tolerant).await
    }

    async fn demand(self, tolerant: bool) -> Result<Self, HsmError> {
        let hsm = self;
        if tolerant || hsm.ready().is_some() {
            return Ok(hsm);
        }
        let problems = hsm.problems();
        hsm.shutdown().await;
        Err(HsmError::Unavailable(Outage::NotReady(problems)))
    }

    /// Starts the hosts and waits until one answers, whatever it says of itself: for the doctor, who wants to hear it.
    ///
    /// # Errors
    /// [`HsmError::Unavailable`] if no host answers.
    pub async fn start_for_diagnosis(config: HsmConfig) -> Result<Self, HsmError> {
        Self::open(config, &Source::Child).await
    }

    async fn open(mut config: HsmConfig, source: &Source) -> Result<Self, HsmError> {
        // A ceremony changes what a host knows of the keys, so there is only one to tell.
        config.hosts = if config.ceremony { 1 } else { config.hosts.clamp(1, 16) };
        config.workers = config.workers.clamp(1, 256);
        config.queue = config.queue.clamp(1, 65_536);
        let config = Arc::new(config);
        let (shutdown, told) = watch::channel(false);
        let (mut hosts, mut supervisors) = (Vec::new(), Vec::new());
        for _ in 0..config.hosts {
            let (state, seen) = watch::channel(State { generation: 0, phase: Phase::Starting });
            supervisors.push(tokio::spawn(supervisor::supervise(config.clone(), source.clone(), state, told.clone())));
            hosts.push(seen);
        }
        let permits = Semaphore::new(config.queue);
        let hsm = Self { inner: Arc::new(Inner { config, permits, hosts, shutdown, supervisors: Mutex::new(supervisors) }) };
        let mut outage = Outage::NotStarted;
        let mut up = false;
        for host in &hsm.inner.hosts {
            match settled(host, 0).await {
                Phase::Up(..) => up = true,
                Phase::Down(reason) => outage = reason,
                Phase::Starting => {}
            }
        }
        if up {
            return Ok(hsm);
        }
        hsm.shutdown().await;
        Err(HsmError::Unavailable(outage))
    }

    /// Ends the hosts in order: no new calls, those in flight are answered, the module is finalised.
    pub async fn shutdown(&self) {
        self.inner.permits.close();
        self.inner.shutdown.send_replace(true);
        let supervisors: Vec<_> = self.inner.supervisors.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for supervisor in supervisors {
            drop(supervisor.await);
        }
    }

    /// A ready host with the fewest calls in flight.
    fn ready(&self) -> Option<Arc<Link>> {
        self.links().filter(|(_, status)| status.is_ready()).map(|(link, _)| link).min_by_key(|link| link.in_flight())
    }

    fn links(&self) -> impl Iterator<Item = (Arc<Link>, Arc<HostStatus>)> {
        self.inner.hosts.iter().filter_map(|host| match &host.borrow().phase {
            Phase::Up(link, status) => Some((link.clone(), status.clone())),
            Phase::Starting | Phase::Down(_) => None,
        })
    }

    fn problems(&self) -> Vec<Finding> {
        self.links().flat_map(|(_, status)| status.problems().cloned().collect::<Vec<_>>()).collect()
    }

    /// Why there is no host to ask.
    fn outage(&self) -> Outage {
        let down = self.inner.hosts.iter().find_map(|host| match &host.borrow().phase {
            Phase::Down(outage) => Some(outage.clone()),
            Phase::Starting | Phase::Up(..) => None,
        });
        down.unwrap_or(Outage::Ended)
    }

    async fn ask(&self, operation: Operation) -> Result<Answer, HsmError> {
        self.ask_within(operation, self.inner.config.deadline).await
    }

    /// Sends the operation to the least loaded host; to one that is not ready only if there is no other, and it says itself what it can do.
    async fn ask_within(&self, operation: Operation, deadline: Duration) -> Result<Answer, HsmError> {
        let _permit = self.inner.permits.try_acquire().map_err(|error| match error {
            tokio::sync::TryAcquireError::NoPermits => HsmError::Busy,
            tokio::sync::TryAcquireError::Closed => HsmError::Unavailable(Outage::ShuttingDown),
        })?;
        loop {
            let link = self.ready().or_else(|| self.links().map(|(link, _)| link).min_by_key(|link| link.in_flight()));
            let link = link.ok_or_else(|| HsmError::Unavailable(self.outage()))?;
            match link.call(&operation, deadline).await {
                // Not sent: the successor is there already, or there is none and the next look tells so.
                Err(HsmError::Unavailable(Outage::Replaced)) if !self.is_current(&link) => {}
                result => return result,
            }
        }
    }

    fn is_current(&self, link: &Arc<Link>) -> bool {
        self.links().any(|(current, _)| Arc::ptr_eq(&current, link))
    }

    /// Does what changes the token; where it `changed`, waits for the new host: the old one ends, because its view of the token is old.
    async fn change(&self, operation: Operation, deadline: Duration, changed: impl Fn(&Answer) -> bool) -> Result<Answer, HsmError> {
        let before = self.inner.hosts.first().map_or(0, |host| host.borrow().generation);
        let result = self.ask_within(operation, deadline).await;
        if result.as_ref().is_ok_and(changed)
            && let Some(host) = self.inner.hosts.first()
        {
            settled(host, before).await;
        }
        result
    }
}

/// The phase of a host that was started after `generation`, once it is up or down.
async fn settled(host: &watch::Receiver<State>, generation: u64) -> Phase {
    let mut host = host.clone();
    let state = host.wait_for(|state| state.generation > generation && !matches!(state.phase, Phase::Starting)).await;
    state.map_or(Phase::Down(Outage::Ended), |state| state.phase.clone())
}
