//! The service, with its token or without. It starts and listens although the HSM is away; an [`App`], and with it every operation, comes
//! into being when the token is there and fits the database (docs/adr/0010).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tillward_hsm::{Hsm, HsmError, Outage};

use crate::app::{App, Blueprint, StartError};
use crate::attestation::level::AppraisalPolicy;
use crate::authz::Authz;
use crate::clock::Clock;
use crate::config::Config;
use crate::ops::authority::AuthorityError;
use crate::ops::error::OpError;
use crate::ops::officers::Officers;
use crate::ops::pins;
use crate::policies::{self, PolicyFolder};
use crate::store::Store;

/// What there is before the token is.
#[derive(Debug)]
pub struct Service {
    /// The database.
    pub store: Store,
    /// The HSM.
    pub hsm: Hsm,
    /// Who may do what.
    pub authz: Arc<Authz>,
    /// Where that is written.
    pub policies: Arc<PolicyFolder>,
    /// The time.
    pub clock: Clock,
    blueprint: Blueprint,
    app: OnceLock<Arc<App>>,
    trouble: Mutex<Option<String>>,
}

impl Service {
    /// Opens the database, reads the policy, and starts the HSM hosts without waiting for them.
    ///
    /// # Errors
    /// [`StartError`]: what does not depend on the HSM has to be in order.
    pub async fn open(config: &Config, executable: PathBuf, device_url: String, clock: Clock) -> Result<Self, StartError> {
        let path = || config.attestation.policy.clone();
        let text = std::fs::read_to_string(path()).map_err(|source| StartError::PolicyFile { path: path(), source })?;
        let policy = Arc::new(AppraisalPolicy::parse(&text).map_err(|source| StartError::Policy { path: path(), source })?);
        let authz = Arc::new(Authz::by(config.principals.iter().cloned(), policies::configured(&config.authorization)?)?);
        let policies = Arc::new(PolicyFolder::new(authz.clone(), config.authorization.policies.clone(), clock.now()));
        let officers = Arc::new(Officers::open(config.approval.officers.as_deref())?);
        let hsm_config = config.hsm_config(executable, false)?;
        let store = Store::open(&config.store.url, config.store.connections).await?;
        pins::check(&store, &authz, &clock, &officers).await?;
        let hsm = Hsm::open(hsm_config);
        let blueprint = Blueprint { config: config.clone(), policy, device_url, officers };
        Ok(Self { store, hsm, authz, policies, clock, blueprint, app: OnceLock::new(), trouble: Mutex::new(None) })
    }

    /// Binds the service to its token, if the HSM serves within `limit`; an HSM that says at once that it does not is not waited for.
    ///
    /// # Errors
    /// [`StartError`], of which [`StartError::is_outage`] may pass.
    pub async fn bind_within(&self, limit: Duration) -> Result<(), StartError> {
        if self.hsm.first_word(limit).await {
            return self.bind().await;
        }
        let problems = self.hsm.problems();
        let outage = if problems.is_empty() { Outage::NotStarted } else { Outage::NotReady(problems) };
        Err(self.note(HsmError::Unavailable(outage).into()))
    }

    /// Binds the service to its token, for good and only once.
    async fn bind(&self) -> Result<(), StartError> {
        if self.app.get().is_none() {
            let bound = App::bind(self.store.clone(), self.hsm.clone(), self.authz.clone(), self.clock.clone(), &self.blueprint).await;
            let app = bound.map_err(|error| self.note(error))?;
            self.trouble().take();
            // Only this binds, and nobody does so twice at a time.
            drop(self.app.set(Arc::new(app)));
        }
        Ok(())
    }

    /// Binds the service as soon as that can be done: waits for the HSM, and tries again after an outage. Where `tillward init` is at work beside
    /// it, the certificates come after the keys.
    ///
    /// # Errors
    /// [`StartError`] that does not pass by itself: what would have stopped the start stops the service now.
    pub async fn bind_when_ready(&self) -> Result<Arc<App>, StartError> {
        loop {
            self.hsm.ready().await;
            match self.bind().await {
                Ok(()) => {}
                Err(error) if error.is_outage() || matches!(error, StartError::Authorities(AuthorityError::Missing(_))) => {
                    tracing::warn!(error = %crate::ops::error::chain(&error), "not bound to the token yet");
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Err(error) => return Err(error),
            }
            if let Some(app) = self.app.get() {
                return Ok(app.clone());
            }
        }
    }

    fn note(&self, error: StartError) -> StartError {
        *self.trouble() = Some(crate::ops::error::chain(&error));
        error
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why there is no [`App`] yet.
    pub fn why_not(&self) -> Option<String> {
        self.app.get().is_none().then(|| self.trouble().clone().unwrap_or_else(|| "it is being bound to its token".to_owned()))
    }

    /// What operations work with.
    ///
    /// # Errors
    /// `hsm-unavailable`, until the token was there.
    pub fn app(&self) -> Result<Arc<App>, OpError> {
        let unbound = || OpError::Unavailable {
            reason: crate::ops::reason::Reason::HsmUnavailable,
            source: HsmError::Unavailable(Outage::NotReady(self.hsm.problems())).into(),
        };
        self.app.get().cloned().ok_or_else(unbound)
    }
}
