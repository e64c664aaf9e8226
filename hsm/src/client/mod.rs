//! What the service holds: a cloneable, async handle on one or more HSM hosts.

mod breaker;
mod call;
mod counts;
mod identity;
mod link;
mod managed;
mod process;
mod route;
mod seat;
mod supervisor;
mod view;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::error::{HsmError, Outage};
use crate::model::{Budget, Finding};
use crate::op::{Answer, Operation};
use crate::uri::Pkcs11Uri;
use route::Place;
use seat::{Phase, Seat, Shared};

pub use breaker::BreakerState;
pub use counts::{BUCKETS, CallCount};
pub use identity::Identity;
pub use view::{HostView, HsmView};

/// How the hosts are run.
#[derive(Debug, Clone, PartialEq)]
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
    /// A host that listens on this socket, in a container or under another user, instead of processes of our own: executable, environment, URI,
    /// sessions and number of hosts are its own affair then.
    pub socket: Option<PathBuf>,
    /// The user whose process may be behind `socket`, besides this process's own and root: nobody else is spoken to.
    pub socket_uid: Option<u32>,
    /// Officers whose approvals the host takes ([`crate::Roster`]); without the file it takes none. A host behind a socket has its own.
    pub officers: Option<PathBuf>,
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
            socket: None,
            socket_uid: None,
            officers: None,
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
    config: tokio::sync::watch::Sender<Arc<HsmConfig>>,
    places: AtomicUsize,
    closed: AtomicBool,
    shared: Arc<Shared>,
    seats: Mutex<Vec<Taken>>,
}

/// A seat with the task that keeps it.
struct Taken {
    seat: Arc<Seat>,
    supervisor: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for taken in self.seats.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            taken.supervisor.abort();
        }
    }
}

impl std::fmt::Debug for Hsm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hsm({} hosts)", self.seats().len())
    }
}

impl HsmConfig {
    fn within_bounds(mut self) -> Self {
        // A ceremony changes what a host knows of the keys, so there is only one to tell; behind a socket there is one.
        self.hosts = if self.ceremony || self.socket.is_some() { 1 } else { self.hosts.clamp(1, 16) };
        self.workers = self.workers.clamp(1, 256);
        self.queue = self.queue.clamp(1, 65_536);
        self.stuck = self.stuck.max(Duration::from_millis(100));
        self
    }
}

impl Hsm {
    /// Starts the hosts, or reaches the one behind the socket, and does not wait for them: until one serves, calls are refused.
    pub fn open(config: HsmConfig) -> Self {
        let config = Arc::new(config.within_bounds());
        let hosts = config.hosts;
        let hsm = Self {
            inner: Arc::new(Inner {
                config: tokio::sync::watch::Sender::new(config),
                places: AtomicUsize::new(0),
                closed: AtomicBool::new(false),
                shared: Shared::new(),
                seats: Mutex::default(),
            }),
        };
        hsm.seat(hosts);
        hsm
    }

    /// Starts the hosts and waits until one has logged in and tested the token. With [`HsmConfig::ceremony`], a host that is not ready will do:
    /// a ceremony is what makes it ready.
    ///
    /// # Errors
    /// [`HsmError::Unavailable`], with the failed checks where a host got that far. The hosts are ended before it is returned.
    pub async fn start(config: HsmConfig) -> Result<Self, HsmError> {
        let tolerant = config.ceremony;
        let hsm = Self::start_for_diagnosis(config).await?;
        if tolerant || hsm.is_ready() {
            return Ok(hsm);
        }
        let problems = hsm.problems();
        hsm.shutdown().await;
        Err(HsmError::Unavailable(Outage::NotReady(problems)))
    }

    /// Uses the host that listens on `socket` instead of starting one: it may run in a container or under another user. Executable,
    /// environment and number of hosts of `config` are not used; URI and ceremony are the host's own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn attach(config: HsmConfig, socket: PathBuf) -> Result<Self, HsmError> {
        Self::start(HsmConfig { socket: Some(socket), ..config }).await
    }

    /// Starts the hosts and waits until one answers, whatever it says of itself: for the doctor, who wants to hear it.
    ///
    /// # Errors
    /// [`HsmError::Unavailable`] if no host answers.
    pub async fn start_for_diagnosis(config: HsmConfig) -> Result<Self, HsmError> {
        let hsm = Self::open(config);
        let mut outage = Outage::NotStarted;
        let mut up = false;
        for seat in hsm.seats() {
            match hsm.settled(&seat, 0).await {
                Phase::Up(_) => up = true,
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

    /// Waits until a host serves, or until each has said that it does not, but no longer than `limit`. Whether one serves.
    pub async fn first_word(&self, limit: Duration) -> bool {
        let said = async {
            for seat in self.seats() {
                self.settled(&seat, 0).await;
                if self.is_ready() {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(limit, said).await);
        self.is_ready()
    }

    /// Resolves when a host serves.
    pub async fn ready(&self) {
        let mut news = self.inner.shared.news.subscribe();
        // The sender lives as long as this.
        drop(news.wait_for(|_| self.is_ready()).await);
    }

    /// Whether a host serves.
    pub fn is_ready(&self) -> bool {
        self.seats().iter().any(|seat| seat.up().is_some_and(|(up, admitted)| up.serves() && admitted))
    }

    /// From now on, only hosts serve whose token is this one. Hosts that serve now are compared first.
    pub fn bind(&self, identity: Identity) {
        self.inner.shared.identity.send_replace(Arc::new(identity));
        self.inner.shared.tell();
    }

    /// Runs the hosts by another configuration. Where one serves, it goes only when its successor serves.
    pub fn reconfigure(&self, config: HsmConfig) {
        let config = config.within_bounds();
        if *self.config() == config {
            return;
        }
        let hosts = config.hosts;
        self.inner.config.send_replace(Arc::new(config));
        self.seat(hosts);
    }

    /// As many seats as hosts.
    fn seat(&self, hosts: usize) {
        let mut seats = self.inner.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = hosts.min(seats.len());
        for spare in seats.drain(kept..) {
            spare.seat.stop.send_replace(true);
        }
        while seats.len() < hosts && !self.inner.closed.load(Ordering::SeqCst) {
            let seat = Seat::new(self.inner.shared.clone());
            let supervisor = tokio::spawn(supervisor::supervise(seat.clone(), self.inner.config.subscribe()));
            seats.push(Taken { seat, supervisor });
        }
    }

    /// Ends the hosts in order: no new calls, those in flight are answered, the module is finalised.
    pub async fn shutdown(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        let mut supervisors = Vec::new();
        for taken in self.inner.seats.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            taken.seat.stop.send_replace(true);
            supervisors.push(taken.supervisor);
        }
        self.inner.shared.tell();
        for supervisor in supervisors {
            drop(supervisor.await);
        }
    }

    fn config(&self) -> Arc<HsmConfig> {
        self.inner.config.borrow().clone()
    }

    fn seats(&self) -> Vec<Arc<Seat>> {
        self.inner.seats.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|taken| taken.seat.clone()).collect()
    }

    /// The checks that failed at the hosts, first those of the first.
    pub fn problems(&self) -> Vec<Finding> {
        self.seats().iter().filter_map(|seat| seat.up()).flat_map(|(up, _)| up.problems()).collect()
    }

    /// The hosts as they are shown.
    pub fn view(&self) -> HsmView {
        let config = self.config();
        let used = u64::try_from(self.inner.places.load(Ordering::SeqCst)).unwrap_or(u64::MAX);
        HsmView {
            ready: self.is_ready(),
            queue: Budget { used, most: u64::try_from(config.queue).ok(), token: None },
            repeats: self.inner.shared.counts.repeats(),
            hosts: self.seats().iter().map(|seat| seat.view(config.socket.is_some())).collect(),
        }
    }

    /// The calls so far, by the operation's name.
    pub fn calls(&self) -> BTreeMap<&'static str, CallCount> {
        self.inner.shared.counts.calls()
    }

    async fn ask(&self, operation: Operation) -> Result<Answer, HsmError> {
        let deadline = self.config().deadline;
        self.ask_within(operation, deadline).await
    }

    async fn ask_within(&self, operation: Operation, deadline: Duration) -> Result<Answer, HsmError> {
        let started = Instant::now();
        let result = if self.inner.closed.load(Ordering::SeqCst) {
            Err(HsmError::Unavailable(Outage::ShuttingDown))
        } else {
            match Place::take(&self.inner.places, self.config().queue) {
                Some(_place) => self.route(&operation, deadline).await,
                None => Err(HsmError::Busy),
            }
        };
        self.inner.shared.counts.count(operation.name(), &result, started.elapsed());
        result
    }

    /// Does what changes the token; where it `changed`, waits for the new host: the old one ends, because its view of the token is old.
    async fn change(&self, operation: Operation, deadline: Duration, changed: impl Fn(&Answer) -> bool) -> Result<Answer, HsmError> {
        let seat = self.seats().into_iter().next();
        let before = seat.as_ref().map_or(0, |seat| seat.settled().1);
        let result = self.ask_within(operation, deadline).await;
        if result.as_ref().is_ok_and(changed)
            && let Some(seat) = seat
        {
            self.settled(&seat, before).await;
        }
        result
    }

    /// The phase of a seat after `launches`, once its host is up or down.
    async fn settled(&self, seat: &Seat, launches: u64) -> Phase {
        let mut news = self.inner.shared.news.subscribe();
        loop {
            news.borrow_and_update();
            let (phase, count) = seat.settled();
            if (count > launches && !matches!(phase, Phase::Starting)) || news.changed().await.is_err() {
                return phase;
            }
        }
    }
}
