//! A real service for a test: its own folder, SoftHSM token, database and ports; started as a process, ended by its id.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tillward::cli::api::Api;
use tillward::cli::phone::Line;
use tillward::cli::workplace::{self, Workplace};
use tillward_device::trust::RootPin;

use crate::token::Module;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tillward");

/// The acquirer that the workplace is made for.
pub(crate) const ACQUIRER: &str = "example-bank";

/// A prepared folder and, while it runs, the service in it.
pub(crate) struct Service {
    pub(crate) workplace: Workplace,
    child: Option<Child>,
    log: PathBuf,
    pin: [u8; 32],
    _dir: TempDir,
}

impl Service {
    /// A folder with keys on its token, and the service running. `adjust` may change the configuration's text first.
    pub(crate) fn start_with(adjust: impl FnOnce(String) -> String) -> Self {
        Self::start_on(Module::SoftHsm, adjust).expect("SoftHSM is installed")
    }

    /// The same on a token of that module; `None` where the module is not there.
    pub(crate) fn start_on(module: Module, adjust: impl FnOnce(String) -> String) -> Option<Self> {
        let library = module.library()?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::Builder::new().prefix("tillward-").tempdir().expect("a temporary folder");
        let workplace = workplace::create(&dir.path().join("service"), ACQUIRER, None).expect("a workplace");
        let text = std::fs::read_to_string(workplace.config()).expect("the configuration");
        let text = if module == Module::SoftHsm { text } else { on_module(&text, module, &library, &workplace) };
        std::fs::write(workplace.config(), adjust(text)).expect("the configuration");
        let init = Command::new(PROGRAM)
            .args(["init", "--json", "--config"])
            .arg(workplace.config())
            .arg("--so-pin-file")
            .arg(workplace.so_pin())
            .output()
            .expect("init starts");
        assert!(init.status.success(), "init: {}", String::from_utf8_lossy(&init.stderr));
        let log = dir.path().join("service.log");
        let mut service = Self { workplace, child: None, log, pin: root_pin(&init.stdout), _dir: dir };
        service.restart();
        Some(service)
    }

    /// Another node beside `other`: the same token, database, TLS and principals, its own process and ports.
    pub(crate) fn beside(other: &Self) -> Self {
        let dir = tempfile::Builder::new().prefix("tillward-").tempdir().expect("a temporary folder");
        let (from, to) = (&other.workplace.dir, dir.path().join("service"));
        for folder in ["", "tls", "profiles"] {
            std::fs::create_dir_all(to.join(folder)).expect("makes");
            for file in std::fs::read_dir(from.join(folder)).expect("a folder").map(|file| file.expect("a file")) {
                if file.file_type().expect("a type").is_file() {
                    std::fs::copy(file.path(), to.join(folder).join(file.file_name())).expect("copies");
                }
            }
        }
        let log = dir.path().join("service.log");
        let mut service = Self { workplace: Workplace { dir: to }, child: None, log, pin: other.pin, _dir: dir };
        service.restart();
        service
    }

    /// As [`Self::start_with`], nothing adjusted.
    pub(crate) fn start() -> Self {
        Self::start_with(|text| text)
    }

    /// Starts the service (again) and waits for its line. It takes free ports: while it was away, others may have taken the old ones.
    pub(crate) fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// As [`Self::restart`], with more arguments.
    pub(crate) fn restart_with(&mut self, more: &[&str]) {
        assert!(self.child.is_none(), "it runs");
        self.forget_addresses();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log file");
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(self.workplace.config())
            .args(more)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("serve starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its line");
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the service did not start: {}", self.log_text()));
        let address = |name: &str| line["serving"][name].as_str().expect("an address").to_owned();
        self.workplace.settle(&address("device"), &address("backend"), &address("local")).expect("settles");
        self.child = Some(child);
    }

    /// Writes port 0 into the configuration.
    pub(crate) fn forget_addresses(&self) {
        self.workplace.settle("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0").expect("settles");
    }

    /// The process id of the service.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The process ids of its HSM hosts.
    pub(crate) fn hosts(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("its threads");
        let children = tasks.map(|task| std::fs::read_to_string(task.expect("a thread").path().join("children")).unwrap_or_default());
        children.flat_map(|pids| pids.split_whitespace().map(|pid| pid.parse().expect("a number")).collect::<Vec<_>>()).collect()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// SIGTERM, and the exit status.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let killed = Command::new("kill").arg(child.id().to_string()).status().expect("kill");
        assert!(killed.success());
        child.wait().expect("ended")
    }

    /// Waits until the service ends by itself, and gives its exit status.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        self.child.take().expect("it runs").wait().expect("ended")
    }

    /// Everything the service and its HSM host have logged.
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The API as a role.
    pub(crate) fn api(&self, role: &str) -> Api {
        Api::open(&self.workplace.profile(role)).expect("a profile")
    }

    /// An address of the running service.
    pub(crate) fn address(&self, section: &str) -> String {
        let text = std::fs::read_to_string(self.workplace.config()).expect("the configuration");
        let config: toml::Table = toml::from_str(&text).expect("TOML");
        config["listen"][section]["address"].as_str().expect("an address").to_owned()
    }

    /// URL of the device listener.
    pub(crate) fn device_url(&self) -> String {
        format!("https://{}", self.address("device"))
    }

    /// A client that trusts the service's throw-away authority, as a phone does.
    pub(crate) fn phone_client(&self) -> reqwest::Client {
        let ca = std::fs::read(self.workplace.ca()).expect("the authority");
        reqwest::Client::builder().tls_certs_only(reqwest::Certificate::from_pem_bundle(&ca).expect("PEM")).build().expect("a client")
    }

    /// SHA-256 of the root certificate, as init prints it.
    pub(crate) fn root_pin(&self) -> [u8; 32] {
        self.pin
    }

    /// A phone's way to the running service.
    pub(crate) fn line(&self) -> Line {
        Line::open(&self.device_url(), &self.workplace.ca(), RootPin(self.pin)).expect("a line")
    }

    /// Registers a merchant and a terminal, and gives a fresh code.
    pub(crate) async fn code(&self, terminal: &str, level: &str) -> String {
        let api = self.api("backend");
        api.put("/v1/merchants/m1", &json!({"acquirer": ACQUIRER, "name": "Merchant"})).await.expect("a merchant");
        api.put(&format!("/v1/terminals/{terminal}"), &json!({"merchant": "m1", "level": level})).await.expect("a terminal");
        let answer = api.post("/v1/activations", &json!({"terminal": terminal})).await.expect("an activation");
        answer["code"].as_str().expect("a code").to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the service\n{}", self.log_text());
        }
    }
}

/// The configuration with another module than SoftHSM, otherwise line for line the same.
fn on_module(text: &str, module: Module, library: &Path, workplace: &Workplace) -> String {
    let (variable, path) = module.configure(&workplace.dir);
    let uri = tillward_hsm::Pkcs11Uri::new("tillward", library, &workplace.dir.join("pin")).expect("a URI");
    let line = |line: &str| match line.split_once(" = ") {
        Some(("uri", old)) if old.starts_with("\"pkcs11:") => format!("uri = \"{uri}\"\n"),
        Some(("SOFTHSM2_CONF", _)) => format!("{variable} = \"{}\"\n", path.display()),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The root pin in what `init --json` prints.
fn root_pin(init: &[u8]) -> [u8; 32] {
    let value: Value = serde_json::from_slice(init).expect("JSON");
    let pin = value["root_pin"].as_str().expect("a pin");
    data_encoding::HEXLOWER.decode(pin.as_bytes()).expect("hex").try_into().expect("32 bytes")
}
