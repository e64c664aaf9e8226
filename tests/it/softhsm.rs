//! A SoftHSM token of its own for a test: directory, configuration, PIN files, keys made by the ceremony.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tillward_hsm::{AcquirerKeys, BdkId, Hsm, HsmConfig, KeySpec, Pkcs11Uri};

/// Debian's and the usual other places.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// PIN and data BDK of acquirer `acme`: AES-256.
pub(crate) const ACME: (BdkId, BdkId) = (BdkId([0xAC, 0, 0, 1]), BdkId([0xAC, 0, 0, 2]));
/// PIN and data BDK of acquirer `bolt`: AES-128.
pub(crate) const BOLT: (BdkId, BdkId) = (BdkId([0xB0, 0, 0, 1]), BdkId([0xB0, 0, 0, 2]));

/// A token directory that goes with the test.
pub(crate) struct SoftHsm {
    directory: TempDir,
}

impl SoftHsm {
    /// A directory without a token.
    pub(crate) fn empty() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("mode");
        fs::create_dir(path.join("tokens")).expect("token directory");
        let configuration = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            path.join("tokens").display()
        );
        fs::write(path.join("softhsm2.conf"), configuration).expect("configuration");
        let token = Self { directory };
        token.write_pin("pin", "user-pin-4711\n");
        token.write_pin("so-pin", "so-pin-0815\n");
        token
    }

    /// A token with the fixed keys and two acquirers.
    pub(crate) async fn with_keys() -> Self {
        let token = Self::empty();
        let hsm = token.ceremony().await;
        hsm.create_keys(Self::spec()).await.expect("makes the keys");
        hsm.shutdown().await;
        token
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
        let environment = [("SOFTHSM2_CONF".to_owned(), self.path("softhsm2.conf").display().to_string())].into();
        let executable = PathBuf::from(env!("CARGO_BIN_EXE_tillward"));
        HsmConfig { environment, deadline: Duration::from_secs(30), ..HsmConfig::new(executable, self.uri()) }
    }

    pub(crate) fn uri(&self) -> Pkcs11Uri {
        let module = MODULES.into_iter().map(Path::new).find(|path| path.exists()).expect("SoftHSM is installed: apt install softhsm2");
        Pkcs11Uri::new("tillward-test", module, &self.path("pin")).expect("a URI")
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
