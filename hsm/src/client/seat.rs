//! What is known of one host, whichever process or connection it is just now: written by its supervisor, read by the calls.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore, watch};

use super::breaker::{Breaker, BreakerState};
use super::counts::Counts;
use super::identity::Identity;
use super::link::Link;
use super::process::Login;
use super::view::HostView;
use crate::error::Outage;
use crate::model::{Finding, HostStatus};

/// An outage that is older is known: calls are refused at once.
const FRESH: Duration = Duration::from_secs(1);

/// What all seats of a client share.
pub(super) struct Shared {
    /// Changes with everything that a waiting call may want to know.
    pub(super) news: watch::Sender<u64>,
    /// Which token it has to be, once that is known.
    pub(super) identity: watch::Sender<Arc<Identity>>,
    /// What is known of the PIN; held by who tries it for the first time.
    pub(super) login: AsyncMutex<Login>,
    /// Where the hosts tell each other of their tries to log in; every child inherits it. Nothing on a disk: it goes with the service.
    pub(super) logins: Option<OwnedFd>,
    /// Held while a host is recycled: one at a time.
    pub(super) recycling: Arc<Semaphore>,
    pub(super) counts: Counts,
    epoch: Instant,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            news: watch::Sender::new(0),
            identity: watch::Sender::new(Arc::default()),
            login: AsyncMutex::default(),
            logins: rustix::fs::memfd_create("tillward-logins", rustix::fs::MemfdFlags::empty()).ok(),
            recycling: Arc::new(Semaphore::new(1)),
            counts: Counts::default(),
            epoch: Instant::now(),
        })
    }

    /// The breakers' time.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub(super) fn tell(&self) {
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }
}

/// What a host's token was compared with, and what came of it.
#[derive(Clone)]
pub(super) struct Fit {
    pub(super) with: Arc<Identity>,
    /// Why it is not the token that it has to be.
    pub(super) misfit: Option<Finding>,
}

impl PartialEq for Fit {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.with, &other.with) && self.misfit == other.misfit
    }
}

/// Said of a host while its keys are compared.
pub(super) fn comparing() -> Finding {
    Finding::failed("token", None, "its keys are being compared with those that this service is bound to")
}

#[derive(Clone)]
pub(super) enum Phase {
    Starting,
    Up(Up),
    Down(Outage),
}

/// A host that answers.
#[derive(Clone)]
pub(super) struct Up {
    pub(super) link: Arc<Link>,
    pub(super) status: Arc<HostStatus>,
    /// How its token compares.
    pub(super) fit: Fit,
    pub(super) child: bool,
}

impl Up {
    /// Whether it can do the main job, and on the right token.
    pub(super) fn serves(&self) -> bool {
        self.status.is_ready() && self.fit.misfit.is_none()
    }

    pub(super) fn problems(&self) -> Vec<Finding> {
        self.status.problems().chain(&self.fit.misfit).cloned().collect()
    }
}

struct State {
    phase: Phase,
    /// Hosts there were, those that did not start too.
    launches: u64,
    /// Since when none has served.
    away: Option<Instant>,
    breaker: Breaker,
    replacements: BTreeMap<&'static str, u64>,
}

/// The place of one host.
pub(super) struct Seat {
    pub(super) shared: Arc<Shared>,
    state: Mutex<State>,
    /// Something was answered that calls for a look at once.
    pub(super) look: Notify,
    /// The breaker wants a probe.
    pub(super) doubt: Notify,
    pub(super) stop: watch::Sender<bool>,
}

impl Seat {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        let state = State {
            phase: Phase::Starting,
            launches: 0,
            away: Some(Instant::now()),
            breaker: Breaker::new(),
            replacements: BTreeMap::new(),
        };
        Arc::new(Self { shared, state: Mutex::new(state), look: Notify::new(), doubt: Notify::new(), stop: watch::Sender::new(false) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        {
            let mut state = self.state();
            change(&mut state);
            let serves = matches!(&state.phase, Phase::Up(up) if up.serves());
            state.away = if serves { None } else { state.away.or_else(|| Some(Instant::now())) };
        }
        self.shared.tell();
    }

    /// A new process or connection answers. A process that begins is not to blame for the one before it.
    pub(super) fn seated(&self, up: Up) {
        self.change(|state| {
            state.launches = state.launches.saturating_add(1);
            if up.child {
                state.breaker = state.breaker.renewed();
            }
            state.phase = Phase::Up(up);
        });
        self.doubt.notify_one();
    }

    /// The host that is there said something new of itself.
    pub(super) fn says(&self, link: &Arc<Link>, status: Arc<HostStatus>, fit: Fit) {
        let same = |up: &Up| Arc::ptr_eq(&up.link, link) && up.status == status && up.fit == fit;
        if matches!(&self.state().phase, Phase::Up(up) if same(up)) {
            return;
        }
        self.change(|state| {
            if let Phase::Up(up) = &mut state.phase
                && Arc::ptr_eq(&up.link, link)
            {
                (up.status, up.fit) = (status, fit);
            }
        });
    }

    pub(super) fn starting(&self) {
        self.change(|state| state.phase = Phase::Starting);
    }

    /// Nobody is there.
    pub(super) fn down(&self, outage: Outage, launched: bool) {
        self.change(|state| {
            state.launches = state.launches.saturating_add(u64::from(launched));
            state.phase = Phase::Down(outage);
        });
    }

    pub(super) fn replaced(&self, why: &'static str) {
        *self.state().replacements.entry(why).or_default() += 1;
    }

    /// A host does not serve before its keys were compared with what is demanded now.
    fn seen(&self, phase: &Phase) -> Phase {
        let mut phase = phase.clone();
        if let Phase::Up(up) = &mut phase
            && up.serves()
            && !Arc::ptr_eq(&up.fit.with, &self.shared.identity.borrow())
        {
            up.fit.misfit = Some(comparing());
        }
        phase
    }

    pub(super) fn phase(&self) -> Phase {
        self.seen(&self.state().phase)
    }

    /// Phase and number of launches.
    pub(super) fn settled(&self) -> (Phase, u64) {
        let state = self.state();
        (state.phase.clone(), state.launches)
    }

    /// The host that answers, and whether its breaker lets calls through.
    pub(super) fn up(&self) -> Option<(Up, bool)> {
        let state = self.state();
        match self.seen(&state.phase) {
            Phase::Up(up) if up.link.is_open() => Some((up, state.breaker.admits())),
            Phase::Starting | Phase::Up(_) | Phase::Down(_) => None,
        }
    }

    /// Whether waiting for it is of no use: an operator has to act, or a probe decides.
    pub(super) fn is_hopeless(&self) -> bool {
        let state = self.state();
        let refused = match &state.phase {
            Phase::Up(up) => up.problems().iter().any(|finding| finding.name == "pin"),
            Phase::Down(Outage::NotReady(findings)) => findings.iter().any(|finding| finding.name == "pin"),
            Phase::Down(Outage::ShuttingDown) => true,
            Phase::Starting | Phase::Down(_) => false,
        };
        refused || !state.breaker.admits()
    }

    /// The same, or it has not served for so long that everybody knows.
    pub(super) fn is_lastingly_away(&self) -> bool {
        self.state().away.is_some_and(|since| since.elapsed() > FRESH) || self.is_hopeless()
    }

    /// Asks or tells the breaker.
    pub(super) fn breaker<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let (result, changed) = {
            let mut state = self.state();
            let before = state.breaker.state();
            let result = act(&mut state.breaker);
            (result, state.breaker.state() != before)
        };
        if changed {
            self.shared.tell();
        }
        result
    }

    /// A call was answered well.
    pub(super) fn succeeded(&self) {
        self.breaker(Breaker::succeeded);
    }

    /// A call was answered with an error that speaks against the HSM.
    pub(super) fn failed(&self) {
        let due = self.breaker(|breaker| {
            breaker.failed();
            breaker.due().is_some()
        });
        if due {
            self.doubt.notify_one();
        }
    }

    pub(super) fn is_breaker_closed(&self) -> bool {
        self.state().breaker.state() == BreakerState::Closed
    }

    pub(super) fn view(&self, socket: bool) -> HostView {
        let state = self.state();
        let phase = self.seen(&state.phase);
        let up = match &phase {
            Phase::Up(up) => Some(up),
            Phase::Starting | Phase::Down(_) => None,
        };
        let status = up.map(|up| up.status.clone());
        let status = status.as_deref();
        HostView {
            state: match &phase {
                Phase::Up(up) if up.serves() => "serving",
                Phase::Up(_) => "not-ready",
                Phase::Starting => "starting",
                Phase::Down(_) => "down",
            },
            outage: match &phase {
                Phase::Down(outage) => Some(outage.to_string()),
                Phase::Up(up) if up.serves() && !state.breaker.admits() => Some(Outage::Breaker.to_string()),
                Phase::Starting | Phase::Up(_) => None,
            },
            problems: match &phase {
                Phase::Up(up) => up.problems(),
                Phase::Down(Outage::NotReady(findings)) => findings.clone(),
                Phase::Starting | Phase::Down(_) => Vec::new(),
            },
            kind: if up.map_or(socket, |up| !up.child) { "socket" } else { "child" },
            pid: status.map(|status| status.pid),
            breaker: state.breaker.state(),
            breaker_opened: state.breaker.opened(),
            launches: state.launches,
            replacements: state.replacements.clone(),
            in_flight: up.map_or(0, |up| up.link.in_flight()),
            generation: status.map_or(0, |status| status.generation),
            sessions: status.map(|status| status.sessions).unwrap_or_default(),
            objects: status.map(|status| status.objects).unwrap_or_default(),
            made_objects: status.map_or(0, |status| status.made_objects),
            memory_kib: status.map_or(0, |status| status.memory_kib),
            recoveries: status.map(|status| status.recoveries.clone()).unwrap_or_default(),
        }
    }
}
