//! The stage: folder, token, service; and its end.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;
use tillward_device::trust::RootPin;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::Teller;
use crate::cli::api::Api;
use crate::cli::phone::Line;
use crate::cli::this_program;
use crate::cli::workplace::{self, Workplace};
use crate::clock::Clock;
use crate::config::Config;
use crate::ops::init;

/// The acquirer of the story.
pub(super) const ACQUIRER: &str = "example-bank";

pub(super) struct Stage {
    pub(super) workplace: Workplace,
    pub(super) line: Line,
    pub(super) backend: Api,
    pub(super) operator: Api,
    pub(super) auditor: Api,
    service: Mutex<Child>,
    log: PathBuf,
    thrown_away: Option<TempDir>,
}

impl Stage {
    /// Makes the folder, the token and its keys, and starts the service.
    pub(super) async fn set(keep: Option<PathBuf>, teller: Teller) -> anyhow::Result<Self> {
        teller.chapter("The stage");
        let (dir, thrown_away) = if let Some(dir) = keep {
            (dir, None)
        } else {
            let temporary = tempfile::Builder::new().prefix("tillward-demo-").tempdir()?;
            (temporary.path().join("service"), Some(temporary))
        };
        let workplace = workplace::create(&dir, ACQUIRER, None)?;
        teller.say(&format!("A throw-away SoftHSM token, a SQLite file and a TLS authority in {}", workplace.dir.display()));
        let config = Config::read(&workplace.config())?;
        let made = init::init(&config, this_program()?, Some(&workplace.so_pin()), false, &Clock::system()).await?;
        let count = made.keys.len();
        teller.good(&format!("{count} keys generated on the token, read back, each proven by use"), "non-extractable, sensitive");
        teller.good(
            "Root CA, issuing CA and signing certificates",
            &format!("root pin {}…", &data_encoding::HEXLOWER.encode(&made.root_pin)[..16]),
        );

        let log = workplace.dir.join("service.log");
        let mut service = Command::new(this_program()?)
            .args(["serve", "--config"])
            .arg(workplace.config())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(service.stdout.take().context("standard output is piped")?).lines();
        let Some(first) = lines.next_line().await? else {
            bail!("the service did not start:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        };
        let serving: Value = serde_json::from_str(&first)?;
        let address =
            |name: &str| serving.pointer(&format!("/serving/{name}")).and_then(Value::as_str).map(str::to_owned).context("an address");
        workplace.settle(&address("device")?, &address("backend")?, &address("local")?)?;
        teller.good(
            "Service up: phones by TLS, back ends and operators by mTLS, health on loopback",
            &format!("process {}", service.id().unwrap_or(0)),
        );
        Ok(Self {
            line: Line::open(&format!("https://{}", address("device")?), &workplace.ca(), RootPin(made.root_pin))?,
            backend: Api::open(&workplace.profile("backend"))?,
            operator: Api::open(&workplace.profile("operator"))?,
            auditor: Api::open(&workplace.profile("auditor"))?,
            service: Mutex::new(service),
            log,
            thrown_away,
            workplace,
        })
    }

    /// Ends the service the ordinary way, and takes the folder away unless it is kept.
    pub(super) async fn strike(&self) -> anyhow::Result<()> {
        let mut service = self.service.lock().await;
        if let Some(id) = service.id() {
            Command::new("kill").arg(id.to_string()).status().await?;
        }
        let status = service.wait().await?;
        if !status.success() {
            bail!("the service ended with {status}:\n{}", self.log_tail());
        }
        Ok(())
    }

    pub(super) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub(super) fn kept(&self) -> bool {
        self.thrown_away.is_none()
    }

    /// What to type to look around in a folder that was kept.
    pub(super) fn next_commands(&self) -> String {
        let dir = self.workplace.dir.display();
        format!(
            "\nEverything is in {dir}. To go on from here:\n\
             \n  tillward serve --config {dir}/tillward.toml &\
             \n  export TILLWARD_PROFILE={dir}/profiles/operator.toml\
             \n  tillward device list\
             \n  tillward key inventory --profile {dir}/profiles/auditor.toml\
             \n  tillward audit list --profile {dir}/profiles/auditor.toml\
             \n  tillward terminal add T-NEW --merchant M-1 --profile {dir}/profiles/backend.toml\
             \n  tillward activation create --terminal T-NEW --profile {dir}/profiles/backend.toml\
             \n  tillward device enrol --phone {dir}/phone --ca {dir}/tls/ca.pem --qr 'THE QR LINE OF THE LAST COMMAND'\
             \n  tillward device attest --phone {dir}/phone\
             \n  tillward device pay --phone {dir}/phone --account-data 4111111111111111=3012 --out {dir}/payment.json\
             \n  tillward payment decrypt {dir}/payment.json --profile {dir}/profiles/backend.toml\
             \n  tillward doctor --config {dir}/tillward.toml"
        )
    }
}
