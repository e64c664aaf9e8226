//! The keeper: the one thread that loads the module, logs in, looks for the keys, and does what a failure rule says (`ladder`). Nobody else does any
//! of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;

use super::HostArgs;
use super::context::Context;
use super::fault;
use super::gate::{Gate, Inside};
use super::logins::Logins;
use super::module::RefusedPin;
use super::objects::Objects;
use super::pool::Counters;
use super::view::View;
use super::watchdog::Beat;
use crate::model::Finding;
use crate::rules::Action;

/// Pauses between tries while the token is away: it serves again within the second pause after it came back.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Only a key is missing: to look for it holds the others up.
const KEY_PAUSE: Duration = Duration::from_secs(10);
/// A call waits this long for a recovery. An outage that lasts longer is answered at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// A host that worked and cannot be repaired for so long ends: a new process may fare better. Once: the next never worked.
const HOPELESS: Duration = Duration::from_secs(10);
/// A call of the keeper may take so many times as long as a worker's before it hangs: `C_Initialize` and `C_Login` of a network HSM take seconds.
const KEEPER: u32 = 15;
/// A call in a ceremony may take this long: RSA-3072 on a slow token takes its time.
pub(super) const CEREMONY: Duration = Duration::from_mins(3);

/// What is behind the gate.
#[derive(Default)]
pub(super) struct Inner {
    pub(super) module: Option<Pkcs11>,
    pub(super) context: Option<Context>,
}

/// What the keeper is woken for.
enum Wish {
    Asked(Action),
    Idle { due: bool },
}

/// Where the keeper is told what to do.
struct Desk {
    /// Counts the recoveries that were tried.
    serial: u64,
    wanted: Option<Action>,
    ready: bool,
    unready_since: Option<Instant>,
    stop: bool,
    due: Option<Instant>,
    pause: Duration,
}

/// The host's view of the token, and the way to mend it.
pub(super) struct Host {
    pub(super) args: HostArgs,
    pub(super) counters: Arc<Counters>,
    /// The keeper's.
    pub(super) beat: Arc<Beat>,
    pub(super) began: Instant,
    gate: Gate<Inner>,
    pub(super) view: Mutex<View>,
    pub(super) looked: Condvar,
    desk: Mutex<Desk>,
    rung: Condvar,
    pub(super) refused_pin: Mutex<Option<RefusedPin>>,
    pub(super) logins: Logins,
    pub(super) objects: Arc<Objects>,
    /// Public keys that this process has worked with, by label.
    pub(super) known: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Why the last step that did not help did not.
    told: Mutex<Option<Finding>>,
    ended: AtomicBool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub(super) fn new(args: HostArgs) -> Self {
        let logins = args.logins.as_deref().map_or_else(Logins::default, |path| {
            Logins::open(path).unwrap_or_else(|error| {
                tracing::error!(%error, "the file of logins cannot be opened: this host does not know of the other hosts' tries");
                Logins::default()
            })
        });
        Self {
            objects: Arc::new(Objects::new(logins.file())),
            logins,
            beat: Beat::new(if args.ceremony { CEREMONY } else { args.stuck.saturating_mul(KEEPER) }),
            began: Instant::now(),
            args,
            counters: Arc::default(),
            gate: Gate::new(Inner::default()),
            view: Mutex::default(),
            looked: Condvar::new(),
            desk: Mutex::new(Desk {
                serial: 0,
                wanted: None,
                ready: false,
                unready_since: None,
                stop: false,
                due: None,
                pause: FIRST_PAUSE,
            }),
            rung: Condvar::new(),
            refused_pin: Mutex::default(),
            known: Mutex::default(),
            told: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// Looks for the first time, where there is no keeper's thread.
    pub(super) fn look(&self) {
        self.mend(Action::Reinitialise);
    }

    /// The keeper's life: the first look, then what the desk says. Tells when the process is to be replaced.
    pub(super) fn keep(&self, replace: impl Fn()) {
        self.mend(Action::Reinitialise);
        while let Some(wish) = self.next_wish() {
            let action = match wish {
                Wish::Asked(action) => Some(action),
                Wish::Idle { due } => self.chore(due),
            };
            if let Some(action) = action {
                self.mend(action);
            }
            if self.has_ended() {
                replace();
            }
        }
    }

    fn next_wish(&self) -> Option<Wish> {
        let mut desk = lock(&self.desk);
        loop {
            if desk.stop {
                return None;
            }
            if let Some(action) = desk.wanted {
                return Some(Wish::Asked(action));
            }
            // A ceremony is about to change what is not ready; nothing is tried meanwhile.
            let due = desk.due.filter(|_| !self.args.ceremony);
            let pause = due.map_or(Duration::from_secs(1), |due| due.saturating_duration_since(Instant::now()));
            let (again, waited) = self.rung.wait_timeout(desk, pause).unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() && again.wanted.is_none() && !again.stop {
                return Some(Wish::Idle { due: due.is_some() });
            }
            desk = again;
        }
    }

    /// What is due without anybody asking.
    fn chore(&self, due: bool) -> Option<Action> {
        let args = &self.args;
        if args.listen.is_some() && args.recycle > 0 && self.counters.made.load(Ordering::Relaxed) >= args.recycle {
            tracing::info!(objects = args.recycle, "the module is initialised anew: it keeps memory of every object it ever made");
            return Some(Action::Reinitialise);
        }
        if !due {
            return None;
        }
        let view = lock(&self.view);
        let problems: Vec<_> = view.findings.iter().filter(|finding| !finding.ok).collect();
        if problems.is_empty() {
            return None;
        }
        if problems.iter().all(|finding| finding.name.starts_with("key:")) {
            return Some(Action::FindAgain);
        }
        // A refused PIN is not tried again, so that to look whether it has changed is all that happens.
        let pin = problems.iter().any(|finding| finding.name == "pin");
        if pin && lock(&self.refused_pin).as_ref().is_some_and(|refused| refused.stands(&args.uri)) {
            drop(view);
            self.look_again(LONGEST_PAUSE);
            return None;
        }
        Some(Action::Reinitialise)
    }

    /// The next try, a little later than the last.
    fn look_again(&self, longest: Duration) {
        let mut desk = lock(&self.desk);
        desk.due = Some(Instant::now() + desk.pause);
        desk.pause = desk.pause.saturating_mul(2).min(longest);
    }

    /// Alone in the module: does what was asked, and more where that does not help.
    fn mend(&self, asked: Action) {
        let began = Instant::now();
        let mut inner = self.gate.close();
        let watched = self.beat.watch();
        let mut mended = false;
        for action in [Action::Reopen, Action::FindAgain, Action::LogIn, Action::Reinitialise].into_iter().filter(|action| *action >= asked)
        {
            self.count(action);
            self.beat.tick();
            match self.step(action, &mut inner) {
                Ok(()) => {
                    mended = true;
                    tracing::info!(
                        action = action.name(),
                        micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
                        "recovered"
                    );
                    break;
                }
                // Twice a second for as long as an outage lasts: what is known is not told again.
                Err(finding) if lock(&self.told).replace(finding.clone()).as_ref() == Some(&finding) => {
                    tracing::debug!(action = action.name(), %finding, "did not help");
                }
                Err(finding) => tracing::warn!(action = action.name(), %finding, "did not help"),
            }
        }
        drop(watched);
        drop(inner);
        let mut view = lock(&self.view);
        view.looked = true;
        // Where a key is missing, the others still work.
        let ready = mended && view.findings.iter().all(|finding| finding.ok || finding.name.starts_with("key:"));
        let complete = ready && view.findings.iter().all(|finding| finding.ok);
        view.worked |= ready;
        let (worked, pin) = (view.worked, view.findings.iter().any(|finding| !finding.ok && finding.name == "pin"));
        drop(view);
        self.looked.notify_all();
        if !complete {
            self.look_again(if ready { KEY_PAUSE } else { LONGEST_PAUSE });
        }
        let mut desk = lock(&self.desk);
        if complete {
            lock(&self.told).take();
            desk.due = None;
            desk.pause = FIRST_PAUSE;
        }
        desk.ready = ready;
        desk.unready_since = if ready { None } else { desk.unready_since.or(Some(Instant::now())) };
        if worked && !pin && desk.unready_since.is_some_and(|since| since.elapsed() > HOPELESS) {
            tracing::error!("the token could not be brought back; the process is replaced");
            self.end();
        }
        desk.serial = desk.serial.wrapping_add(1);
        desk.wanted = None;
        drop(desk);
        self.rung.notify_all();
    }

    fn step(&self, action: Action, inner: &mut Inner) -> Result<(), Finding> {
        let failed = |error: Error| Finding::failed("token", Some(fault::code(&error)), "the token does not answer as it has to");
        if action == Action::Reinitialise {
            return self.initialise(inner);
        }
        let Some(mut context) = inner.context.take() else {
            return Err(Finding::failed("token", None, "the token is not open"));
        };
        let result = match action {
            Action::Reopen => self.reopen(&mut context).map_err(failed),
            Action::FindAgain => self.find_again(&mut context).map_err(failed),
            _ => self.log_in_again(&mut context),
        };
        inner.context = Some(context);
        result
    }

    /// Into the module, with a token that is logged in or without. `None` where the keeper is busy until then.
    pub(super) fn enter(&self, until: Instant) -> Option<Inside<'_, Inner>> {
        self.gate.enter(until.min(Instant::now() + PATIENCE))
    }

    /// The number of recoveries until now: what is asked of [`Self::recover`] for an error that was seen then.
    pub(super) fn serial(&self) -> u64 {
        lock(&self.desk).serial
    }

    /// Asks the keeper for `action`, unless it has mended something since `seen`, and waits for it. Whether the token works again.
    pub(super) fn recover(&self, action: Action, seen: u64, until: Instant) -> bool {
        let mut desk = lock(&self.desk);
        if desk.serial == seen {
            desk.wanted = desk.wanted.max(Some(action));
            self.rung.notify_all();
        }
        self.await_change(desk, seen, until)
    }

    /// Waits for a token that went away a moment ago. Whether it works again.
    pub(super) fn await_token(&self, until: Instant) -> bool {
        let desk = lock(&self.desk);
        let seen = if desk.ready { desk.serial.wrapping_sub(1) } else { desk.serial };
        self.await_change(desk, seen, until)
    }

    /// An outage that is older than [`PATIENCE`] is not waited for.
    fn await_change(&self, desk: MutexGuard<'_, Desk>, seen: u64, until: Instant) -> bool {
        let since = desk.unready_since.unwrap_or_else(Instant::now);
        let patience = until.min(since + PATIENCE).saturating_duration_since(Instant::now());
        let waiting = |desk: &mut Desk| !desk.stop && (desk.serial == seen || !desk.ready);
        let (desk, _) = self.rung.wait_timeout_while(desk, patience, waiting).unwrap_or_else(PoisonError::into_inner);
        desk.ready && desk.serial != seen
    }

    /// Marks the process as to be replaced.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Whether the process is to be replaced.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Ends the keeper.
    pub(super) fn dismiss(&self) {
        lock(&self.desk).stop = true;
        self.rung.notify_all();
    }

    /// `C_Finalize`. Only when no other thread can be inside the module: SoftHSM crashes otherwise.
    pub(super) fn close(self) {
        let Inner { module, context } = self.gate.into_inner();
        drop(context);
        if let Some(module) = module
            && let Err(error) = module.finalize()
        {
            tracing::warn!(code = fault::code(&error), "the module was not finalised");
        }
    }
}
