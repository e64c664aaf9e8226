//! Configuration: one TOML file, unknown fields refused, every relative path taken from the file's own folder.
//! Nothing secret stands in it: keys and PINs are named by path.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tillward_hsm::ksn::BdkId;

use crate::authz::{PrincipalEntry, Role};
use crate::id::AcquirerId;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML of the right shape.
    #[error("the configuration {path} is not acceptable: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// The parser's words, with line and column.
        message: String,
    },
    /// A value is out of its range, or two values do not fit each other.
    #[error("configuration: {0}")]
    Check(String),
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Issuer (`iss`) of every token; an https URL.
    pub issuer: String,
    /// The HSM.
    pub hsm: Hsm,
    /// The database.
    pub store: Store,
    /// The listeners.
    pub listen: Listen,
    /// Limits of the HTTP border.
    #[serde(default)]
    pub limits: Limits,
    /// Certificates that Tillward issues.
    #[serde(default)]
    pub pki: Pki,
    /// Activation codes.
    #[serde(default)]
    pub activation: Activation,
    /// Attestation.
    pub attestation: Attestation,
    /// Approvals by several officers.
    #[serde(default)]
    pub approval: Approval,
    /// Managed keys.
    #[serde(default)]
    pub keys: Keys,
    /// Who may do what.
    #[serde(default)]
    pub authorization: Authorization,
    /// Acquirers, each with a pair of base derivation keys.
    #[serde(default, rename = "acquirer")]
    pub acquirers: Vec<Acquirer>,
    /// Who may call the mTLS listener, by the SAN URI of the client certificate.
    #[serde(default, rename = "principal")]
    pub principals: Vec<PrincipalEntry>,
}

/// `[hsm]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsm {
    /// PKCS#11 URI (RFC 7512) with `token`, `module-path` and `pin-source`.
    pub uri: String,
    /// Environment of the HSM host, and all of it (SoftHSM wants `SOFTHSM2_CONF`).
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Host processes.
    #[serde(default = "one")]
    pub hosts: usize,
    /// Worker threads in each host, a PKCS#11 session each.
    #[serde(default = "two")]
    pub workers: usize,
    /// Operations in flight before the service answers 503.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// A host that listens on this Unix socket, in a container or under another user, instead of hosts of the service's own.
    pub socket: Option<PathBuf>,
    /// The user of the process that listens there, where it is neither the service's own nor root.
    pub socket_uid: Option<u32>,
    /// PKCS#11 sessions of each host at most; 0: one for each worker and one for the login.
    #[serde(default)]
    pub sessions: usize,
    /// Token objects at most: nothing is made beyond.
    pub objects: Option<u64>,
    /// Silence of a host that was asked, milliseconds, after which it hangs and is replaced.
    #[serde(default = "default_stuck")]
    pub stuck_ms: u64,
    /// Session objects after which a host is replaced; 0: never.
    #[serde(default = "default_recycle_objects")]
    pub recycle_objects: u64,
    /// Memory of a host, MiB, above which it is replaced.
    #[serde(default = "default_recycle_mib")]
    pub recycle_mib: u64,
    /// What the host logs: a level, or tracing's filter syntax.
    #[serde(default = "default_log")]
    pub log: String,
    /// Deadline of one operation, milliseconds.
    #[serde(default = "default_deadline")]
    pub deadline_ms: u64,
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `sqlite:PATH` or `postgres://...`.
    pub url: String,
    /// Connections at most: for reading (SQLite has one more to write), or in all (PostgreSQL).
    #[serde(default = "default_connections")]
    pub connections: u32,
}

/// `[listen]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Phones: TLS, public.
    pub device: TlsListener,
    /// Back ends and operators: mTLS.
    pub backend: MutualTlsListener,
    /// Health and metrics: plain HTTP, loopback only.
    pub local: LocalListener,
}

/// `[listen.device]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsListener {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Server certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The URL by which phones reach this listener; stands in QR payloads.
    pub url: Option<String>,
}

/// `[listen.backend]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutualTlsListener {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Server certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Certificates of the authorities that client certificates must come from, PEM.
    pub client_ca: PathBuf,
}

/// `[listen.local]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalListener {
    /// Address and port; must be loopback.
    pub address: SocketAddr,
}

/// `[limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest request body, bytes.
    pub body_bytes: usize,
    /// Longest time for the work on one request that has arrived, milliseconds.
    pub request_ms: u64,
    /// Longest time for a TLS handshake, for the head and for the body of a request, milliseconds.
    pub handshake_ms: u64,
    /// Open connections of one listener.
    pub connections: usize,
    /// Requests at work at once on one listener; more are answered 503.
    pub requests: usize,
    /// Longest wait for open requests at shutdown, milliseconds.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 64 * 1024, request_ms: 15_000, handshake_ms: 10_000, connections: 4096, requests: 512, drain_ms: 10_000 }
    }
}

/// `[pki]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pki {
    /// Organisation in the subject names.
    pub organisation: String,
    /// Validity of a merchant certificate, hours.
    pub merchant_hours: u32,
    /// Validity of the root certificate, days.
    pub root_days: u32,
    /// Validity of issuing and signing certificates, days.
    pub issuing_days: u32,
    /// Extended key usage of merchant certificates, an OID; default id-kp-documentSigning (RFC 9336).
    pub merchant_key_usage: String,
    /// Where the revocation list can be fetched; stands in merchant certificates.
    pub crl_url: Option<String>,
    /// Validity of a revocation list, hours.
    pub crl_hours: u32,
}

impl Default for Pki {
    fn default() -> Self {
        Self {
            organisation: "Tillward".to_owned(),
            merchant_hours: 24 * 7,
            root_days: 3650,
            issuing_days: 1095,
            merchant_key_usage: "1.3.6.1.5.5.7.3.36".to_owned(),
            crl_url: None,
            crl_hours: 24,
        }
    }
}

/// `[activation]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Activation {
    /// Validity of an activation code, hours.
    pub hours: u32,
}

impl Default for Activation {
    fn default() -> Self {
        Self { hours: 24 }
    }
}

/// `[attestation]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The appraisal policy, TOML.
    pub policy: PathBuf,
}

/// `[approval]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Approval {
    /// The roster of officers ([`tillward_hsm::Roster`]); without it nothing that needs a quorum is done.
    pub officers: Option<PathBuf>,
    /// How long a plan stands open, hours.
    pub hours: u32,
}

impl Default for Approval {
    fn default() -> Self {
        Self { officers: None, hours: 24 }
    }
}

/// `[keys]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// How long a key that is to be destroyed can be restored, days.
    pub destroy_days: u32,
}

impl Default for Keys {
    fn default() -> Self {
        Self { destroy_days: 7 }
    }
}

/// `[authorization]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// Folder with the Cedar schema and policies; without it, those that come with Tillward.
    pub policies: Option<PathBuf>,
}

/// `[[acquirer]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acquirer {
    /// Its name.
    pub name: AcquirerId,
    /// BDK id of the PIN base derivation key, 8 hexadecimal digits.
    pub bdk_pin: BdkId,
    /// BDK id of the data base derivation key, 8 hexadecimal digits.
    pub bdk_data: BdkId,
    /// Length of both, 128 or 256.
    #[serde(default = "bits_256")]
    pub bits: u16,
}

fn one() -> usize {
    1
}
fn two() -> usize {
    2
}
fn default_queue() -> usize {
    256
}
fn default_log() -> String {
    "info".to_owned()
}
fn default_connections() -> u32 {
    8
}
fn default_deadline() -> u64 {
    5_000
}
fn default_stuck() -> u64 {
    2_000
}
fn default_recycle_objects() -> u64 {
    1_000_000
}
fn default_recycle_mib() -> u64 {
    512
}
fn bits_256() -> u16 {
    256
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`]: unreadable, not of the right shape, or values that do not fit.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::parse(&text).map_err(|error| match error {
            ConfigError::Parse { message, .. } => ConfigError::Parse { path: path.to_owned(), message },
            other => other,
        })?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        config.resolve(folder);
        Ok(config)
    }

    /// Parses and checks the text of a configuration.
    ///
    /// # Errors
    /// As [`Self::read`], without the file.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)
            .map_err(|error| ConfigError::Parse { path: PathBuf::from("(text)"), message: error.to_string().trim_end().to_owned() })?;
        config.check()?;
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.approval.officers, &mut self.authorization.policies].into_iter().flatten() {
            *path = folder.join(&*path);
        }
        if let Some(socket) = &mut self.hsm.socket {
            *socket = folder.join(&*socket);
        }
        let listen = &mut self.listen;
        for path in [
            &mut listen.device.certificate,
            &mut listen.device.key,
            &mut listen.backend.certificate,
            &mut listen.backend.key,
            &mut listen.backend.client_ca,
            &mut self.attestation.policy,
        ] {
            *path = folder.join(&*path);
        }
        if let Some(file) = self.store.url.strip_prefix("sqlite:")
            && !file.starts_with("//")
            && !file.starts_with('/')
        {
            self.store.url = format!("sqlite:{}", folder.join(file).display());
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: String| Err(ConfigError::Check(text));
        if !self.issuer.starts_with("https://") {
            return refuse("issuer must be an https URL".to_owned());
        }
        if !self.listen.local.address.ip().is_loopback() {
            return refuse("listen.local.address must be a loopback address: health and metrics are not public".to_owned());
        }
        if !(1..=256).contains(&self.store.connections) {
            return refuse("store: connections 1 to 256".to_owned());
        }
        if !(1..=8).contains(&self.hsm.hosts) || !(1..=32).contains(&self.hsm.workers) || self.hsm.queue == 0 || self.hsm.deadline_ms == 0 {
            return refuse("hsm: hosts 1 to 8, workers 1 to 32, queue and deadline_ms at least 1".to_owned());
        }
        if self.hsm.sessions == 1 || self.hsm.sessions > 1024 {
            return refuse("hsm: sessions 0, or 2 to 1024: one holds the login".to_owned());
        }
        if !(100..=600_000).contains(&self.hsm.stuck_ms) {
            return refuse("hsm: stuck_ms 100 to 600000".to_owned());
        }
        if self.hsm.recycle_mib > 1_048_576 || self.hsm.recycle_objects.checked_sub(1).is_some_and(|least| least < 999) {
            return refuse("hsm: recycle_objects 0 (never) or at least 1000, recycle_mib 0 (never) to 1048576".to_owned());
        }
        if self.hsm.socket.is_some() && self.hsm.hosts != 1 {
            return refuse("hsm: behind a socket there is one host".to_owned());
        }
        if self.pki.merchant_hours == 0 || self.pki.crl_hours == 0 || self.pki.root_days == 0 || self.pki.issuing_days == 0 {
            return refuse("pki: validities must not be 0".to_owned());
        }
        if self.pki.issuing_days > self.pki.root_days {
            return refuse("pki: issuing_days must not be longer than root_days".to_owned());
        }
        if self.activation.hours == 0 || self.activation.hours > 24 * 30 {
            return refuse("activation: hours must be 1 to 720".to_owned());
        }
        if !(1..=336).contains(&self.approval.hours) {
            return refuse("approval: hours must be 1 to 336".to_owned());
        }
        if !(1..=365).contains(&self.keys.destroy_days) {
            return refuse("keys: destroy_days 1 to 365".to_owned());
        }
        let mut names = std::collections::BTreeSet::new();
        let mut ids = std::collections::BTreeSet::new();
        for acquirer in &self.acquirers {
            if !names.insert(acquirer.name.as_str()) {
                return refuse(format!("acquirer {} stands twice", acquirer.name));
            }
            for id in [acquirer.bdk_pin.to_string(), acquirer.bdk_data.to_string()] {
                if !ids.insert(id.clone()) {
                    return refuse(format!("BDK id {id} stands twice"));
                }
            }
            if ![128, 256].contains(&acquirer.bits) {
                return refuse(format!("acquirer {}: bits must be 128 or 256", acquirer.name));
            }
        }
        let mut uris = std::collections::BTreeSet::new();
        for principal in &self.principals {
            if !uris.insert(principal.uri.to_string()) {
                return refuse(format!("principal {} stands twice", principal.uri));
            }
            if principal.role == Role::Backend && principal.acquirers.is_empty() {
                return refuse(format!("principal {}: a back end needs at least one acquirer", principal.uri));
            }
            if let Some(unknown) = principal.acquirers.iter().find(|name| !names.contains(name.as_str())) {
                return refuse(format!("principal {}: acquirer {unknown} is not configured", principal.uri));
            }
        }
        Ok(())
    }

    /// How the client of the HSM host is to be started; `executable` is this program.
    ///
    /// # Errors
    /// [`ConfigError::Check`] if the PKCS#11 URI is not acceptable, or if a ceremony is asked of a host behind a socket: that one was started for
    /// the service, and makes no keys.
    pub fn hsm_config(&self, executable: PathBuf, ceremony: bool) -> Result<tillward_hsm::HsmConfig, ConfigError> {
        if ceremony && let Some(socket) = &self.hsm.socket {
            let socket = socket.display();
            return Err(ConfigError::Check(format!(
                "hsm.socket ({socket}) leads to a host that does no ceremonies: run `tillward init` where the module is, over the same database, with a \
                 configuration without hsm.socket"
            )));
        }
        Ok(tillward_hsm::HsmConfig {
            executable,
            uri: self.hsm.uri.parse().map_err(|error| ConfigError::Check(format!("hsm.uri: {error}")))?,
            environment: self.hsm.environment.clone(),
            hosts: self.hsm.hosts,
            workers: self.hsm.workers,
            queue: self.hsm.queue,
            deadline: Duration::from_millis(self.hsm.deadline_ms),
            sessions: self.hsm.sessions,
            objects: self.hsm.objects,
            stuck: Duration::from_millis(self.hsm.stuck_ms),
            recycle_objects: self.hsm.recycle_objects,
            recycle_kib: self.hsm.recycle_mib.saturating_mul(1024),
            socket: self.hsm.socket.clone(),
            socket_uid: self.hsm.socket_uid,
            officers: self.approval.officers.clone(),
            ceremony,
            // A ceremony starts from a token without keys; what it finds is in its answer.
            log: if ceremony { "off".to_owned() } else { self.hsm.log.clone() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = include_str!("../docs/tillward.example.toml");

    #[test]
    fn the_example_file_parses() {
        let config = Config::parse(EXAMPLE).expect("the example is a configuration");
        assert_eq!(config.acquirers.len(), 1);
        assert_eq!(config.principals.len(), 3);
        assert_eq!(config.limits.body_bytes, Limits::default().body_bytes);
    }

    #[test]
    fn behind_a_socket_there_is_one_host_and_no_ceremony() {
        let text = EXAMPLE.replacen("hosts = 1 ", "socket = \"hsm.sock\"\nhosts = 1 ", 1);
        let config = Config::parse(&text).expect("a configuration");
        let attached = config.hsm_config("tillward".into(), false).expect("fits");
        assert!(attached.socket.is_some_and(|path| path.ends_with("hsm.sock")));
        let error = config.hsm_config("tillward".into(), true).expect_err("no ceremony").to_string();
        assert!(error.contains("hsm.sock") && error.contains("tillward init"), "{error}");
    }

    #[test]
    fn an_unknown_field_anywhere_is_refused() {
        for section in [
            "",
            "[hsm]",
            "[store]",
            "[listen.device]",
            "[listen.backend]",
            "[listen.local]",
            "[limits]",
            "[pki]",
            "[activation]",
            "[attestation]",
            "[approval]",
            "[keys]",
            "[[acquirer]]",
            "[[principal]]",
        ] {
            let text = if section.is_empty() {
                format!("surprise = 1\n{EXAMPLE}")
            } else {
                EXAMPLE.replacen(section, &format!("{section}\nsurprise = 1"), 1)
            };
            let error = Config::parse(&text).expect_err(section).to_string();
            assert!(error.contains("surprise"), "{section}: {error}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for (from, to) in [
            ("127.0.0.1:9080", "0.0.0.0:9080"),
            ("https://tillward.example\"     #", "http://tillward.example\" #"),
            ("bits = 256", "bits = 192"),
            ("bdk_data = \"E1000002\"", "bdk_data = \"E1000001\""),
            (
                "acquirers = [\"example-bank\"]\n\n[[principal]]\nuri = \"urn:tillward:principal:operator\"",
                "acquirers = []\n\n[[principal]]\nuri = \"urn:tillward:principal:operator\"",
            ),
            ("hours = 24\n\n[att", "hours = 0\n\n[att"),
            ("issuing_days = 1095", "issuing_days = 9999"),
            ("hosts = 1 ", "hosts = 0 "),
            ("destroy_days = 7 ", "destroy_days = 0 "),
            ("sessions = 0 ", "sessions = 1 "),
            ("stuck_ms = 2000 ", "stuck_ms = 99 "),
            ("recycle_objects = 1000000 ", "recycle_objects = 999 "),
            ("hosts = 1 ", "socket = \"hsm.sock\"\nhosts = 2 "),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            assert!(Config::parse(&EXAMPLE.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z\\[\\]=\"\\n .0-9]{0,200}") {
            let _ = Config::parse(&text);
        }
    }
}
