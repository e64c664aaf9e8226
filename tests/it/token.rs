//! A token of its own for a test, of one of the modules that Tillward is tested with: directory, configuration, PIN files, keys made by
//! the ceremony.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tillward_hsm::{AcquirerKeys, BdkId, Hsm, HsmConfig, KeySpec, Pkcs11Uri};

/// Debian's and the usual other places.
const SOFTHSM: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Names kryoptic's module: `tests/kryoptic/build` makes it and prints the path.
const KRYOPTIC: &str = "TILLWARD_TEST_KRYOPTIC";

/// PIN and data BDK of acquirer `acme`: AES-256.
pub(crate) const ACME: (BdkId, BdkId) = (BdkId([0xAC, 0, 0, 1]), BdkId([0xAC, 0, 0, 2]));
/// PIN and data BDK of acquirer `bolt`: AES-128.
pub(crate) const BOLT: (BdkId, BdkId) = (BdkId([0xB0, 0, 0, 1]), BdkId([0xB0, 0, 0, 2]));

/// A PKCS#11 module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Module {
    SoftHsm,
    Kryoptic,
}

impl Module {
    /// The library. `None` where it is not there and need not be: said loudly, so that nobody takes the test for run.
    pub(crate) fn library(self) -> Option<PathBuf> {
        match self {
            Self::SoftHsm => {
                let found = SOFTHSM.into_iter().map(Path::new).find(|path| path.exists());
                Some(found.expect("SoftHSM is installed: apt install softhsm2").to_owned())
            }
            Self::Kryoptic => {
                let path = std::env::var_os(KRYOPTIC).map(PathBuf::from);
                if path.is_none() {
                    eprintln!("SKIPPED, NOT RUN: {KRYOPTIC} does not name kryoptic's module; tests/kryoptic/build makes it");
                }
                path
            }
        }
    }

    /// Writes the module's configuration for a token in `directory/tokens`; gives the environment variable that names it.
    pub(crate) fn configure(self, directory: &Path) -> (&'static str, PathBuf) {
        let tokens = directory.join("tokens");
        fs::create_dir_all(&tokens).expect("token directory");
        let tokens = tokens.display();
        let (variable, name, configuration) = match self {
            Self::SoftHsm => (
                "SOFTHSM2_CONF",
                "softhsm2.conf",
                format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"),
            ),
            Self::Kryoptic => {
                ("KRYOPTIC_CONF", "kryoptic.toml", format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{tokens}/token.sql\"\n"))
            }
        };
        let path = directory.join(name);
        fs::write(&path, configuration).expect("configuration");
        (variable, path)
    }
}

/// A token directory that goes with the test.
pub(crate) struct Token {
    library: PathBuf,
    configuration: (&'static str, PathBuf),
    directory: TempDir,
}

impl Token {
    /// A directory without a token.
    pub(crate) fn empty(module: Module) -> Option<Self> {
        let library = module.library()?;
        let directory = TempDir::new().expect("a temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("mode");
        let configuration = module.configure(directory.path());
        let token = Self { library, configuration, directory };
        token.write_pin("pin", "user-pin-4711\n");
        token.write_pin("so-pin", "so-pin-0815\n");
        Some(token)
    }

    /// A token with the fixed keys and two acquirers.
    pub(crate) async fn with_keys(module: Module) -> Option<Self> {
        let token = Self::empty(module)?;
        let hsm = token.ceremony().await;
        hsm.create_keys(Self::spec()).await.expect("makes the keys");
        hsm.shutdown().await;
        Some(token)
    }

    /// The keys of [`Self::with_keys`].
    pub(crate) fn spec() -> KeySpec {
        let acquirer = |name: &str, (bdk_pin, bdk_data), bits| AcquirerKeys { name: name.to_owned(), bdk_pin, bdk_data, bits };
        KeySpec { acquirers: vec![acquirer("acme", ACME, 256), acquirer("bolt", BOLT, 128)] }
    }

    /// A host for ceremonies on a token that is initialised.
    pub(crate) async fn ceremony(&self) -> Hsm {
        let hsm = Hsm::start(HsmConfig { ceremony: true, ..self.config() }).await.expect("a host answers");
        hsm.init_token(&self.path("so-pin")).await.expect("initialises the token");
        hsm
    }

    /// A host that works.
    pub(crate) async fn start(&self) -> Hsm {
        Hsm::start(self.config()).await.expect("the host is ready")
    }

    pub(crate) fn config(&self) -> HsmConfig {
        let (variable, path) = &self.configuration;
        let environment = [((*variable).to_owned(), path.display().to_string())].into();
        let executable = PathBuf::from(env!("CARGO_BIN_EXE_tillward"));
        HsmConfig { environment, deadline: Duration::from_secs(30), ..HsmConfig::new(executable, self.uri()) }
    }

    pub(crate) fn uri(&self) -> Pkcs11Uri {
        Pkcs11Uri::new("tillward-test", &self.library, &self.path("pin")).expect("a URI")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write_pin(&self, name: &str, pin: &str) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path(name)).expect("PIN file");
        file.write_all(pin.as_bytes()).expect("PIN");
    }
}
