//! The shared state of the service: store, HSM, authorization, clock, and what was read once at start.

use std::path::PathBuf;

use tillward_hsm::{Hsm, HsmError};

use crate::attestation::level::{AppraisalPolicy, PolicyError};
use crate::authz::{Authz, TwicePrincipal};
use crate::clock::Clock;
use crate::config::{Acquirer, Config, ConfigError};
use crate::enrolment::transport::TransportKeys;
use crate::ops::anchor::Anchor;
use crate::ops::authority::{Authorities, AuthorityError};
use crate::ops::crl::CrlCache;
use crate::ops::derivation_ids::DerivationIds;
use crate::ops::error::OpError;
use crate::store::{Store, StoreError};

/// Why the service cannot start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The appraisal policy cannot be used.
    #[error("the appraisal policy {path} cannot be used")]
    Policy {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: PolicyError,
    },
    /// The appraisal policy cannot be read.
    #[error("the appraisal policy {path} cannot be read")]
    PolicyFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two principals have the same URI.
    #[error(transparent)]
    Principals(#[from] TwicePrincipal),
    /// The HSM host does not come up, or a key is missing.
    #[error("the HSM is not fit for work (`tillward doctor` says more)")]
    Hsm(#[from] HsmError),
    /// The database does not come up.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// Certificates are missing or do not fit the keys on the token.
    #[error("the service's certificates cannot be used")]
    Authorities(#[from] AuthorityError),
    /// A certificate of the service has ended.
    #[error("a certificate of the service ended {0}")]
    CertificatesEnded(String),
    /// The token has given out more derivation ids than the database knows: the database was restored from a backup.
    #[error(
        "the database is older than the token (acquirer {acquirer}: token mark {token}, database mark {database}): it was restored from a backup. \
         `tillward init --accept-restored-database` revokes what the backup could revive, and goes on"
    )]
    RestoredDatabase {
        /// Whose mark.
        acquirer: String,
        /// What the token says.
        token: u32,
        /// What the database says.
        database: u64,
    },
    /// The token does not have the base derivation keys that the configuration names.
    #[error("the token has no base derivation keys with these ids for acquirer {0}: run `tillward init`")]
    AcquirerKeys(String),
    /// Start-up work failed.
    #[error("start-up work failed")]
    Work(#[from] OpError),
}

/// What an operation works with.
#[derive(Debug)]
pub struct App {
    /// The database.
    pub store: Store,
    /// The HSM.
    pub hsm: Hsm,
    /// Who may do what.
    pub authz: Authz,
    /// The time.
    pub clock: Clock,
    /// What was read once at start.
    pub settings: Settings,
    /// Blocks of derivation ids.
    pub derivation_ids: DerivationIds,
    /// What moves the mark on the token.
    pub anchor: Anchor,
    /// The revocation list last signed.
    pub crl: CrlCache,
}

/// Configuration, policy and certificates as the operations want them.
#[derive(Debug)]
pub struct Settings {
    /// `iss` of every token.
    pub issuer: String,
    /// Security levels.
    pub policy: AppraisalPolicy,
    /// Certificates of the service.
    pub authorities: Authorities,
    /// The enrolment transport keys.
    pub transport: TransportKeys,
    /// Acquirers.
    pub acquirers: Vec<Acquirer>,
    /// Certificates that are issued.
    pub pki: crate::config::Pki,
    /// Validity of an activation code, seconds.
    pub activation_seconds: i64,
    /// URL of the device listener, for QR payloads.
    pub device_url: String,
}

impl App {
    /// Starts the HSM host, opens the database, reads policy and certificates, and does the start-up work.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(config: &Config, executable: PathBuf, device_url: String, clock: Clock) -> Result<Self, StartError> {
        let policy_text = std::fs::read_to_string(&config.attestation.policy)
            .map_err(|source| StartError::PolicyFile { path: config.attestation.policy.clone(), source })?;
        let policy = AppraisalPolicy::parse(&policy_text)
            .map_err(|source| StartError::Policy { path: config.attestation.policy.clone(), source })?;
        let authz = Authz::new(config.principals.iter().cloned())?;
        let store = Store::open(&config.store.url, config.store.connections).await?;
        let hsm = Hsm::start(config.hsm_config(executable, false)?).await?;
        let authorities = Authorities::load(&store, &hsm).await?;
        if authorities.ends() <= clock.now() {
            return Err(StartError::CertificatesEnded(authorities.ends().rfc3339()));
        }
        let transport = crate::ops::transport_keys(&hsm).await?;
        let app = Self {
            store,
            hsm,
            authz,
            clock,
            settings: Settings {
                issuer: config.issuer.clone(),
                policy,
                authorities,
                transport,
                acquirers: config.acquirers.clone(),
                pki: config.pki.clone(),
                activation_seconds: i64::from(config.activation.hours) * 3600,
                device_url,
            },
            derivation_ids: DerivationIds::default(),
            anchor: Anchor::default(),
            crl: CrlCache::default(),
        };
        crate::ops::reconcile::reconcile(&app).await?;
        app.derivation_ids.open(&app).await?;
        Ok(app)
    }
}
