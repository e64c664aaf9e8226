//! The keeper: the one thread that loads the module, logs in, looks for the keys, and does what a failure rule says. Nobody else does any of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};

use super::context::{Context, copy_hot_keys};
use super::fault;
use super::gate::{Gate, Inside};
use super::logins::Logins;
use super::module::{self, RefusedPin};
use super::pool::{Counters, Pool, Session};
use super::watchdog::Beat;
use super::{HostArgs, profile, prove, ring, selftest, templates};
use crate::model::{Budget, Finding, HostStatus, Profile, TokenRecord};
use crate::rules::Action;

/// Pauses between tries while the token is away: it serves again within the second pause after it came back.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A call waits this long for a recovery. An outage that lasts longer is answered at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// A host that worked and cannot be repaired for so long ends: a new process may fare better. Once: the next never worked.
const HOPELESS: Duration = Duration::from_secs(10);
/// The finding that goes with the transport key.
const OAEP: &str = "mechanism:RSA-OAEP";
/// How long the first answer to "how are you" waits for the first look.
const FIRST_LOOK: Duration = Duration::from_secs(10);

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

/// What can be told without going through the gate.
#[derive(Default)]
struct View {
    findings: Vec<Finding>,
    /// Those of mechanisms and self-tests, when they were made last.
    tested: Vec<Finding>,
    library: Option<String>,
    token: Option<TokenRecord>,
    profile: Option<Profile>,
    generation: u64,
    recoveries: BTreeMap<String, u64>,
    looked: bool,
    worked: bool,
}

/// A token that passed the tests, and what its module was found to do.
struct Known {
    token: TokenRecord,
    profile: Profile,
    findings: Vec<Finding>,
}

impl View {
    /// The token that passed last. Tokens change under a label, modules do not under a process.
    fn known(&self) -> Option<Known> {
        let tested: Vec<_> = self.tested.clone();
        let passed = !tested.is_empty() && tested.iter().all(|finding| finding.ok);
        let (token, profile) = (self.token.clone()?, self.profile.clone()?);
        passed.then_some(Known { token, profile, findings: tested })
    }
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
    began: Instant,
    gate: Gate<Inner>,
    view: Mutex<View>,
    looked: Condvar,
    desk: Mutex<Desk>,
    rung: Condvar,
    refused_pin: Mutex<Option<RefusedPin>>,
    logins: Logins,
    /// Public keys that this process has worked with, by label.
    known: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Why the last step that did not help did not.
    told: Mutex<Option<Finding>>,
    ended: AtomicBool,
}

/// Probes the module, and tests it by known answers.
fn test(pool: &Pool, findings: &mut Vec<Finding>) -> Result<Profile, Error> {
    // A probe leaves errors behind, so its session is not used for anything else.
    let profile = profile::probe(&pool.aside()?);
    findings.push(match profile.kwp {
        Some(number) => Finding::passed("mechanism:AES-KWP", format!("{number:#06x}")),
        None => Finding::failed("mechanism:AES-KWP", None, "neither 0x210B nor 0x210A is RFC 5649: the main job needs it"),
    });
    findings.extend(selftest::run(&pool.aside()?, &profile));
    Ok(profile)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
            self.look_again();
            return None;
        }
        Some(Action::Reinitialise)
    }

    /// The next try, a little later than the last.
    fn look_again(&self) {
        let mut desk = lock(&self.desk);
        desk.due = Some(Instant::now() + desk.pause);
        desk.pause = desk.pause.saturating_mul(2).min(LONGEST_PAUSE);
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
            self.look_again();
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

    fn pool(&self, module: &Pkcs11, slot: cryptoki::slot::Slot, generation: u64) -> Pool {
        let asked = if self.args.sessions == 0 { self.args.workers.saturating_add(1) } else { self.args.sessions };
        // One of them is the anchor.
        Pool::new(module.clone(), slot, generation, asked.saturating_sub(1), self.counters.clone(), self.beat.clone())
    }

    fn reopen(&self, context: &mut Context) -> Result<(), Error> {
        context.pool = self.pool(&context.module, context.slot, context.pool.generation);
        let session = context.pool.aside()?;
        if !Context::is_logged_in(&session)? || !Context::is_logged_in(context.anchor())? {
            return Err(Error::Pkcs11(RvError::UserNotLoggedIn, cryptoki::context::Function::GetSessionInfo));
        }
        context.canary(&session)
    }

    /// A label names a token, its keys are what it is: the service compared those of this process's first token, and would learn of another one only
    /// after that has answered. So none other is taken on; a new process, which is compared before it is asked, may.
    fn is_the_same(&self, ring: &ring::Ring) -> Result<(), Finding> {
        let mut known = lock(&self.known);
        let public = || ring.keys().filter_map(|key| key.public.as_ref().map(|(_, public)| (&key.design.label, &public.spki)));
        if public().any(|(label, spki)| known.get(label).is_some_and(|before| before != spki)) {
            return Err(Finding::failed("token", None, "it has other keys than the token of this label that this process began with"));
        }
        known.extend(public().map(|(label, spki)| (label.clone(), spki.clone())));
        Ok(())
    }

    fn next_generation(&self) -> u64 {
        let mut view = lock(&self.view);
        view.generation = view.generation.saturating_add(1);
        view.generation
    }

    fn find_again(&self, context: &mut Context) -> Result<(), Error> {
        let generation = self.next_generation();
        context.pool = self.pool(&context.module, context.slot, generation);
        // The copies of the generation before go with the old anchor, which is closed when there is a new one: the login stays.
        *context.anchor() = context.pool.aside()?;
        let session = context.pool.aside()?;
        if !Context::is_logged_in(&session)? {
            return Err(Error::Pkcs11(RvError::UserNotLoggedIn, cryptoki::context::Function::GetSessionInfo));
        }
        let (ring, findings) = ring::load(&session)?;
        // Keys that were there and are not: the token is away and says nothing, or shows a part of itself.
        if context.ring.keys().any(|key| ring.get(&key.design.label).is_err()) {
            return Err(Error::Pkcs11(RvError::ObjectHandleInvalid, cryptoki::context::Function::FindObjects));
        }
        if self.is_the_same(&ring).is_err() {
            return Err(Error::Pkcs11(RvError::TokenNotRecognized, cryptoki::context::Function::FindObjects));
        }
        context.take_ring(ring);
        context.canary(&session)?;
        if let Ok(transport) = context.ring.get(templates::ENROLMENT_TRANSPORT) {
            context.profile.oaep = context.profile.oaep.or_else(|| prove::oaep(&session, &context.profile, transport));
        }
        let mut view = lock(&self.view);
        view.findings.retain(|finding| !finding.name.starts_with("key:"));
        view.findings.extend(findings);
        view.profile = Some(context.profile.clone());
        Ok(())
    }

    fn log_in_again(&self, context: &mut Context) -> Result<(), Finding> {
        let failed = |error: Error| Finding::failed("token", Some(fault::code(&error)), "the token does not answer as it has to");
        let generation = self.next_generation();
        context.pool = self.pool(&context.module, context.slot, generation);
        let session = context.pool.aside().map_err(failed)?;
        self.log_in(&context.module, context.slot, &session)?;
        *context.anchor() = session;
        self.find_again(context).map_err(failed)
    }

    fn log_in(&self, module: &Pkcs11, slot: cryptoki::slot::Slot, session: &Session) -> Result<(), Finding> {
        let turn = self.logins.turn(&self.args.uri, || self.beat.tick());
        self.beat.tick();
        module::log_in(module, slot, session, &self.args.uri, &mut lock(&self.refused_pin), &turn)
    }

    /// Everything from the beginning. The library stays loaded: a module is not made for being unloaded.
    fn initialise(&self, inner: &mut Inner) -> Result<(), Finding> {
        inner.context = None;
        let known = lock(&self.view).known();
        if let Some(module) = &inner.module
            && let Err(error) = module.clone().finalize()
        {
            tracing::warn!(code = fault::code(&error), "the module was not finalised");
        }
        self.beat.tick();
        self.counters.made.store(0, Ordering::Relaxed);
        let mut findings = Vec::new();
        let outcome = self.prepare(inner, known, &mut findings);
        let mut view = lock(&self.view);
        let result = match outcome {
            Ok(context) => {
                let of_module = |finding: &&Finding| finding.name.starts_with("mechanism:") || finding.name.starts_with("self-test:");
                view.tested = findings.iter().filter(of_module).filter(|finding| finding.name != OAEP).cloned().collect();
                view.token = Some(context.token.clone());
                view.profile = Some(context.profile.clone());
                inner.context = Some(context);
                Ok(())
            }
            Err(finding) => {
                findings.push(finding.clone());
                Err(finding)
            }
        };
        view.library = inner.module.as_ref().and_then(module::library);
        for finding in findings.iter().filter(|finding| !finding.ok && !view.findings.contains(finding)) {
            tracing::error!(name = finding.name, code = finding.code, hint = finding.hint, "check failed");
        }
        view.findings = findings;
        result
    }

    /// Loads, finds, logs in, probes, tests and looks for the keys; stops at the first step without which the next makes no sense. A token whose module
    /// passed the tests in this process is not tested again.
    fn prepare(&self, inner: &mut Inner, known: Option<Known>, findings: &mut Vec<Finding>) -> Result<Context, Finding> {
        let module = match &inner.module {
            Some(module) => module.clone(),
            None => inner.module.insert(module::load(&self.args.uri)?).clone(),
        };
        self.beat.tick();
        module::initialise(&module)?;
        self.beat.tick();
        findings.push(Finding::passed("module", module::library(&module).unwrap_or_default()));
        let (slot, token) = module::find_token(&module, &self.args.uri)?;
        self.beat.tick();
        findings.push(Finding::passed("token", format!("{} {}, serial {}", token.manufacturer, token.model, token.serial)));
        let failed = |name: &str| {
            let name = name.to_owned();
            move |error: Error| Finding::failed(name, Some(fault::code(&error)), "the token does not answer as it has to")
        };
        let pool = self.pool(&module, slot, self.next_generation());
        let anchor = pool.aside().map_err(failed("token"))?;
        self.log_in(&module, slot, &anchor)?;
        findings.push(Finding::passed("pin", "the token takes it"));
        let mut profile = if let Some(Known { profile, findings: before, .. }) = known.filter(|known| known.token == token) {
            findings.extend(before);
            profile
        } else {
            findings.extend(profile::mechanisms(&module, slot));
            test(&pool, findings).map_err(failed("token"))?
        };

        let session = pool.aside().map_err(failed("token"))?;
        let (mut ring, found) = ring::load(&session).map_err(failed("keys"))?;
        findings.extend(found);
        self.is_the_same(&ring)?;
        profile.session_copies = copy_hot_keys(&anchor, &mut ring);
        if let Ok(transport) = ring.get(templates::ENROLMENT_TRANSPORT) {
            profile.oaep = profile.oaep.or_else(|| prove::oaep(&session, &profile, transport));
            findings.push(match profile.oaep {
                Some(hash) => Finding::passed(OAEP, hash.name()),
                None => Finding::failed(OAEP, None, "neither SHA-256 nor SHA-1 unwraps what the public key wrapped"),
            });
        }
        findings.extend(prove::ecdh(&session, &mut profile, &ring));
        drop(session);
        let anchor = Mutex::new(anchor);
        let context = Context { module, slot, token, profile, ring, pool, anchor, objects: std::sync::RwLock::default() };
        let session = context.pool.aside().map_err(failed("token"))?;
        context.canary(&session).map_err(failed("canary"))?;
        Ok(context)
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

    /// Counts what was done about a failure.
    pub(super) fn count(&self, action: Action) {
        *lock(&self.view).recoveries.entry(action.name().to_owned()).or_default() += 1;
    }

    /// What is known of module, token and keys. Waits for the first look only, and no longer than it may take: who asks again is not silent meanwhile.
    pub(super) fn status(&self) -> HostStatus {
        let view = lock(&self.view);
        let patience = FIRST_LOOK.saturating_sub(self.began.elapsed());
        let (view, _) = self.looked.wait_timeout_while(view, patience, |view| !view.looked).unwrap_or_else(PoisonError::into_inner);
        let mut findings = view.findings.clone();
        if !view.looked {
            findings.push(Finding::failed("module", None, "the module is being loaded and has not answered yet"));
        }
        let counters = &self.counters;
        let limit = |number: u64| (number > 0).then_some(number);
        let asked = if self.args.sessions == 0 { self.args.workers.saturating_add(1) } else { self.args.sessions };
        HostStatus {
            pid: std::process::id(),
            workers: self.args.workers,
            ceremony: self.args.ceremony,
            module: self.args.uri.module_path().display().to_string(),
            library: view.library.clone(),
            token: view.token.clone(),
            profile: view.profile.clone(),
            findings,
            generation: view.generation,
            sessions: Budget {
                used: counters.sessions.load(Ordering::SeqCst),
                most: u64::try_from(asked).ok(),
                token: limit(counters.session_limit.load(Ordering::SeqCst)),
            },
            objects: Budget { used: counters.objects.load(Ordering::Relaxed), most: self.args.objects, token: None },
            made_objects: counters.made.load(Ordering::Relaxed),
            memory_kib: super::memory_kib(),
            recoveries: view.recoveries.clone(),
        }
    }

    /// The first failed check; where it is only that a key is missing, the other keys still work, so that is left out.
    pub(super) fn first_problem(&self) -> Option<Finding> {
        lock(&self.view).findings.iter().find(|finding| !finding.ok && !finding.name.starts_with("key:")).cloned()
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
