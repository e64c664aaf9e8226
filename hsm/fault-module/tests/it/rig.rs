//! A token, the module in front of it and a process of its own for every test: a PKCS#11 module is initialised once a process, and reads its
//! environment then. So a test starts itself anew, with the environment set, whatever runner runs it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use tempfile::TempDir;
use tillward_fault_module::{Counts, library_path, write_script};

const DIRECTORY: &str = "FAULT_RIG_DIRECTORY";
pub(crate) const PIN: &str = "user-pin";
pub(crate) const SO_PIN: &str = "officer-pin";
pub(crate) const LABEL: &str = "fault-rig";
/// What is signed.
pub(crate) const MESSAGE: &[u8] = b"a message";
/// Long enough for a machine that is busy; nothing is expected to take so long.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// SoftHSM, or a loud word that it is missing.
pub(crate) fn softhsm() -> Option<&'static Path> {
    let found = MODULES.into_iter().map(Path::new).find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: no SoftHSM in {MODULES:?}; on Debian: apt install softhsm2");
    }
    found
}

/// Directory of a test: token, script, state, sockets.
pub(crate) struct Rig {
    directory: PathBuf,
}

/// Runs a test in a process of its own, on a token of its own. The test's name is that of the function that calls.
pub(crate) fn alone<F: FnOnce(&Rig)>(test: F) {
    let place = std::any::type_name::<F>();
    let name = place.split_once("::").map_or(place, |(_, name)| name).trim_end_matches("::{{closure}}");
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return test(&Rig { directory: directory.into() });
    }
    if softhsm().is_none() {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let rig = Rig { directory: directory.path().to_owned() };
    std::fs::create_dir(rig.path("tokens")).expect("token directory");
    let configuration = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", rig.path("tokens").display());
    std::fs::write(rig.path("softhsm2.conf"), configuration).expect("configuration");
    if name != PREPARES {
        let prepared = rig.command(PREPARES).env_remove("TILLWARD_FAULT_STATE").output().expect("starts");
        assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
    }
    let ran = finish(rig.command(name).spawn().expect("starts"));
    assert!(ran.success(), "{name}, in a process of its own: {ran}");
}

/// Waits for a process, but not for ever.
pub(crate) fn finish(mut child: Child) -> std::process::ExitStatus {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            assert!(Instant::now() <= until, "the process did not end by itself");
            return status;
        }
        if Instant::now() > until {
            child.kill().expect("ends");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a condition, but not for ever.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "{what}: has not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const PREPARES: &str = "rig::prepares_a_token";

#[test]
#[ignore = "makes the token of the other tests"]
fn prepares_a_token() {
    alone(|_| {
        let module = load();
        let slot = module.get_all_slots().expect("slots")[0];
        module.init_token(slot, &AuthPin::new(SO_PIN.into()), LABEL).expect("initialises the token");
        let slot = slot_of(&module);
        let session = module.open_rw_session(slot).expect("opens");
        session.login(UserType::So, Some(&AuthPin::new(SO_PIN.into()))).expect("logs in");
        session.init_pin(&AuthPin::new(PIN.into())).expect("sets the PIN");
        session.logout().expect("logs out");
        log_in(&session, PIN).expect("logs in");
        make_key(&session, true).expect("makes the key");
        drop(session);
        module.finalize().expect("ends");
    });
}

impl Rig {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// This executable again, for one of its tests.
    pub(crate) fn command(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("an executable"));
        command.args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=2"]);
        command.stdin(Stdio::null());
        self.environment(&mut command);
        command
    }

    /// The environment of a client of the module.
    pub(crate) fn environment(&self, command: &mut Command) {
        command
            .env(DIRECTORY, &self.directory)
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .env("TILLWARD_FAULT_MODULE", softhsm().expect("was found before"))
            .env("TILLWARD_FAULT_SCRIPT", self.path("script"))
            .env("TILLWARD_FAULT_STATE", self.path("state"))
            .env("TILLWARD_FAULT_SOCKET", self.path("control-%p"));
    }

    /// Another process on the same token.
    pub(crate) fn start(&self, test: &str) -> Child {
        self.command(test).spawn().expect("starts")
    }

    /// Replaces the script.
    pub(crate) fn script(&self, text: &str) {
        write_script(&self.path("script"), text).expect("a script");
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::read(&self.path("state")).expect("the state file")
    }
}

/// The module, initialised.
pub(crate) fn load() -> Pkcs11 {
    let module = Pkcs11::new(library_path()).expect("loads");
    initialize(&module).expect("initialises");
    module
}

pub(crate) fn slot_of(module: &Pkcs11) -> Slot {
    let slots = module.get_slots_with_token().expect("slots");
    let slot = slots.into_iter().find(|slot| module.get_token_info(*slot).is_ok_and(|info| info.label() == LABEL));
    slot.expect("the token")
}

/// A session that is logged in, and the key.
pub(crate) fn open(module: &Pkcs11) -> (Session, ObjectHandle) {
    let session = module.open_rw_session(slot_of(module)).expect("opens");
    log_in(&session, PIN).expect("logs in");
    let key = find_key(&session).expect("the key");
    (session, key)
}

pub(crate) fn initialize(module: &Pkcs11) -> Result<(), Error> {
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
}

pub(crate) fn log_in(session: &Session, pin: &str) -> Result<(), Error> {
    session.login(UserType::User, Some(&AuthPin::new(pin.into())))
}

/// An AES key for CMAC: the same message always has the same signature.
pub(crate) fn make_key(session: &Session, token: bool) -> Result<ObjectHandle, Error> {
    let template = [
        Attribute::Token(token),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Sign(true),
        Attribute::Verify(true),
        Attribute::Encrypt(true),
        Attribute::ValueLen(32.into()),
        Attribute::Label(b"key".to_vec()),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template)
}

pub(crate) fn find_key(session: &Session) -> Option<ObjectHandle> {
    session.find_objects(&[Attribute::Label(b"key".to_vec()), Attribute::Token(true)]).expect("finds").pop()
}

pub(crate) fn sign(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, Error> {
    session.sign(&Mechanism::AesCMac, key, MESSAGE)
}

/// The code that a call has failed with.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> RvError {
    let error = result.expect_err("a fault");
    let Error::Pkcs11(code, _) = error else { unreachable!("the module's own error, not {error}") };
    code
}
