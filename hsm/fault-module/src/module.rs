//! One module in front of one real module: what is done around every call.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_GENERAL_ERROR, CKR_OK};

use crate::active::{Active, RuleSet, Step};
use crate::control;
use crate::ffi::output::Output;
use crate::ffi::real::Real;
use crate::function::Function;
use crate::gate::Gate;
use crate::masks::Masks;
use crate::rule::Settings;
use crate::rules::Rules;
use crate::state::{Count, State};

/// How often a call that hangs looks whether it still has to.
const LOOK: Duration = Duration::from_millis(2);

/// The module of this process.
pub(crate) struct Module {
    pub(crate) real: Real,
    pub(crate) rules: Rules,
    pub(crate) state: State,
    pub(crate) gate: Gate,
    pub(crate) masks: Masks,
    /// Open sessions and their slots, both in the real module's numbers.
    sessions: Mutex<HashMap<CK_SESSION_HANDLE, CK_SLOT_ID>>,
    pub(crate) open_sessions: AtomicU64,
    pub(crate) damage: Lasting,
}

/// What stays once its rule has hit.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    /// The module has forgotten that it was initialised.
    pub(crate) lost_init: AtomicBool,
    /// Every call answers this, until the module is finalised. 0 is `CKR_OK`: the device is well.
    pub(crate) broken: AtomicU64,
    /// The token is away for as long as the rule lives.
    pub(crate) removed: Mutex<Option<Arc<Active>>>,
    pub(crate) is_removed: AtomicBool,
}

/// The environment, read in this one place.
struct Environment {
    module: Option<PathBuf>,
    script: Option<PathBuf>,
    socket: Option<PathBuf>,
    state: Option<PathBuf>,
}

impl Environment {
    fn read() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            module: path("TILLWARD_FAULT_MODULE"),
            script: path("TILLWARD_FAULT_SCRIPT"),
            socket: path("TILLWARD_FAULT_SOCKET"),
            state: path("TILLWARD_FAULT_STATE"),
        }
    }
}

static MODULE: OnceLock<Option<Module>> = OnceLock::new();

/// The module, once it is loaded.
pub(crate) fn loaded() -> Option<&'static Module> {
    MODULE.get()?.as_ref()
}

/// The module, loaded now if it was not. What it cannot do without is said on standard error.
pub(crate) fn load() -> Option<&'static Module> {
    let module = MODULE.get_or_init(|| Module::load(Environment::read()).inspect_err(|reason| crate::complain(reason)).ok());
    module.as_ref()
}

/// A moment for spans that are told by the wall clock: the script's file has a date.
#[expect(clippy::disallowed_methods, reason = "the age of the script's file is the age of its rules, in every process")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// A call on its way through.
pub(crate) struct Passage {
    pub(crate) module: &'static Module,
    pub(crate) settings: Settings,
    /// The token was taken out.
    pub(crate) token_away: bool,
}

impl Passage {
    pub(crate) fn object(&self, handle: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        self.module.masks.object(handle)
    }

    pub(crate) fn session(&self, handle: CK_SESSION_HANDLE) -> CK_SESSION_HANDLE {
        self.module.masks.session(handle)
    }

    pub(crate) fn slot(&self, slot: CK_SLOT_ID) -> CK_SLOT_ID {
        self.module.masks.slot(slot)
    }
}

impl Module {
    fn load(environment: Environment) -> Result<Self, String> {
        let path = environment.module.ok_or("TILLWARD_FAULT_MODULE is not set: it names the real module")?;
        let real = Real::load(&path).map_err(|reason| format!("{}: {reason}", path.display()))?;
        let state = match &environment.state {
            Some(path) => State::open(path).map_err(|error| format!("{}: {error}", path.display()))?,
            None => State::private(),
        };
        if let Some(path) = environment.socket {
            control::listen(path);
        }
        Ok(Self {
            real,
            rules: Rules::new(environment.script, state),
            state,
            gate: Gate::default(),
            masks: Masks::new(),
            sessions: Mutex::default(),
            open_sessions: AtomicU64::new(0),
            damage: Lasting::default(),
        })
    }

    pub(crate) fn sessions(&self) -> MutexGuard<'_, HashMap<CK_SESSION_HANDLE, CK_SLOT_ID>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call with everything that the rules want around it.
    fn answer(
        &'static self,
        function: Function,
        session: Option<CK_SESSION_HANDLE>,
        output: Option<&Output>,
        call: impl FnOnce(&Passage) -> CK_RV,
    ) -> CK_RV {
        let Ok(rules) = self.rules.current() else { return CKR_GENERAL_ERROR };
        let plan = rules.plan(function, output.is_some_and(Output::is_wanted), now());
        self.perform(&plan.before, session);
        if let Some(code) = plan.refuse.or_else(|| self.lasting(function, session)) {
            return code;
        }
        if function == Function::Initialize {
            self.finalize_if_lost();
        }
        let passage = Passage { module: self, settings: rules.settings, token_away: self.damage.is_removed.load(Ordering::SeqCst) };
        let mut answer = self.pass(function, &passage, call);
        if answer == CKR_OK
            && let Some(output) = output
        {
            for (damage, drawn) in plan.damage {
                output.suffer(damage, drawn);
            }
        }
        self.perform(&plan.after, session);
        if let Some(code) = plan.deny {
            answer = code;
        }
        answer
    }

    fn pass(&self, function: Function, passage: &Passage, call: impl FnOnce(&Passage) -> CK_RV) -> CK_RV {
        self.state.count(function, Count::Reached);
        // It waits for an event that may never come.
        if function == Function::WaitForSlotEvent { call(passage) } else { self.gate.pass(|| call(passage)) }
    }

    fn perform(&self, steps: &[Step], session: Option<CK_SESSION_HANDLE>) {
        for step in steps {
            match step {
                Step::Wait(rule, time) => self.wait(rule, *time),
                Step::Die(death) => crate::ffi::death::die(*death),
                Step::Harm(rule, harm) => self.harm(rule, *harm, session),
            }
        }
    }

    /// Waits, but no longer than the rule lives. The script is looked at meanwhile: it may be what lifts the rule.
    fn wait(&self, rule: &Active, time: Option<Duration>) {
        let until = time.map(|time| Instant::now() + time);
        while !rule.is_over(now()) {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            std::thread::sleep(left.map_or(LOOK, |left| left.min(LOOK)));
            // A script that does not parse has lifted the rule; the next call tells.
            let _: Result<Arc<RuleSet>, String> = self.rules.current();
        }
    }
}

/// Makes a call of the client: the door through which all functions go but `C_GetFunctionList`.
pub(crate) fn run(
    function: Function,
    session: Option<CK_SESSION_HANDLE>,
    output: Option<&Output>,
    call: impl FnOnce(&Passage) -> CK_RV,
) -> CK_RV {
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let module =
            if function == Function::Initialize { load().ok_or(CKR_GENERAL_ERROR) } else { loaded().ok_or(CKR_CRYPTOKI_NOT_INITIALIZED) };
        let module = match module {
            Ok(module) => module,
            Err(code) => return code,
        };
        module.state.count(function, Count::Called);
        let answer = module.answer(function, session, output, call);
        if answer != CKR_OK {
            module.state.count(function, Count::Failed);
        }
        answer
    }));
    answered.unwrap_or(CKR_GENERAL_ERROR)
}
