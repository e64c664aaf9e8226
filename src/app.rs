//! What an operation works with: store, HSM, authorization, clock, and what the service knows of its token. There is one only where the token
//! was there and fits the database: until then there is a [`Service`](crate::service::Service) and no `App`.

use std::path::PathBuf;
use std::sync::Arc;

use tillward_hsm::{Fault, Hsm, HsmError, Identity, OaepHash, PublicKeyOf};

use crate::attestation::level::{AppraisalPolicy, PolicyError};
use crate::authz::{Authz, TwicePrincipal};
use crate::clock::Clock;
use crate::config::{Acquirer, Config, ConfigError};
use crate::enrolment::transport::{TransportAlgorithm, TransportKeys};
use crate::ops::anchor::Anchor;
use crate::ops::authority::{Authorities, AuthorityError};
use crate::ops::crl::CrlCache;
use crate::ops::derivation_ids::DerivationIds;
use crate::ops::error::OpError;
use crate::ops::officers::{Officers, OfficersError};
use crate::ops::pins::PinError;
use crate::policies::PolicyFolderError;
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
    /// The policies of authorization cannot be used.
    #[error(transparent)]
    Policies(#[from] PolicyFolderError),
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
    /// The roster of officers cannot be used.
    #[error(transparent)]
    Officers(#[from] OfficersError),
    /// Policies or officers are not those that were approved.
    #[error(transparent)]
    Pinned(#[from] PinError),
    /// Start-up work failed.
    #[error("start-up work failed")]
    Work(#[from] OpError),
}

impl StartError {
    /// Whether it may pass without anybody touching the service: the HSM or the database is away just now.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Hsm(error) | Self::Authorities(AuthorityError::Hsm(error)) => error.fault() != Fault::Caller,
            Self::Store(error) | Self::Authorities(AuthorityError::Store(error)) => matches!(error, StoreError::Unavailable(_)),
            Self::Work(error) => matches!(error, OpError::Unavailable { .. }),
            _ => false,
        }
    }
}

/// What an operation works with.
#[derive(Debug)]
pub struct App {
    /// The database.
    pub store: Store,
    /// The HSM.
    pub hsm: Hsm,
    /// Who may do what.
    pub authz: Arc<Authz>,
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
    /// Who can approve.
    pub officers: Arc<Officers>,
}

/// Configuration, policy and certificates as the operations want them.
#[derive(Debug)]
pub struct Settings {
    /// `iss` of every token.
    pub issuer: String,
    /// Security levels.
    pub policy: Arc<AppraisalPolicy>,
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
    /// Waiting period before the destruction of a key, seconds.
    pub destroy_seconds: i64,
    /// How long a plan stands open, seconds.
    pub plan_seconds: i64,
}

/// What does not depend on the token, read once at start.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// The configuration.
    pub config: Config,
    /// Security levels.
    pub policy: Arc<AppraisalPolicy>,
    /// URL of the device listener, for QR payloads.
    pub device_url: String,
    /// Who can approve.
    pub officers: Arc<Officers>,
}

impl App {
    /// Compares token, database and configuration, does the start-up work, and binds the HSM client to this token: from then on, no host
    /// with other keys serves.
    ///
    /// # Errors
    /// [`StartError`]: an outage, or what does not fit.
    pub async fn bind(store: Store, hsm: Hsm, authz: Arc<Authz>, clock: Clock, blueprint: &Blueprint) -> Result<Self, StartError> {
        let Blueprint { config, policy, device_url, officers } = blueprint;
        let authorities = Authorities::load(&store, &hsm).await?;
        if authorities.ends() <= clock.now() {
            return Err(StartError::CertificatesEnded(authorities.ends().rfc3339()));
        }
        // First to what the database vouches for; what is read from now on comes from that token.
        let mut identity = Identity { keys: authorities.keys(), ..Identity::default() };
        hsm.bind(identity.clone());
        let transport = crate::ops::transport_keys(&hsm).await?;
        let configured = |name: &str| config.acquirers.iter().any(|acquirer| acquirer.name.as_str() == name);
        identity.acquirers = hsm.acquirers().await?.into_iter().filter(|keys| configured(&keys.name)).collect();
        identity
            .keys
            .extend(transport.offered().map(|key| (PublicKeyOf::Transport(crate::ops::transport_kind(key.alg)), key.spki.clone())));
        identity.oaep = match transport.rsa().alg {
            TransportAlgorithm::RsaOaep256 => Some(OaepHash::Sha256),
            TransportAlgorithm::RsaOaep => Some(OaepHash::Sha1),
            TransportAlgorithm::Ecdh => None,
        };
        hsm.bind(identity);
        let app = Self {
            store,
            hsm,
            authz,
            clock,
            settings: Settings {
                issuer: config.issuer.clone(),
                policy: policy.clone(),
                authorities,
                transport,
                acquirers: config.acquirers.clone(),
                pki: config.pki.clone(),
                activation_seconds: i64::from(config.activation.hours) * 3600,
                device_url: device_url.clone(),
                destroy_seconds: i64::from(config.keys.destroy_days) * 86_400,
                plan_seconds: i64::from(config.approval.hours) * 3600,
            },
            derivation_ids: DerivationIds::default(),
            anchor: Anchor::default(),
            crl: CrlCache::default(),
            officers: officers.clone(),
        };
        crate::ops::reconcile::reconcile(&app).await?;
        crate::ops::adopt_design_keys(&app).await?;
        app.derivation_ids.open(&app).await?;
        Ok(app)
    }
}
