//! Makes what a new installation lacks: the token, the keys of the design, the service's certificates. Numbered, because token and
//! database both change; each step looks first, so running it again goes on where a crash stopped it.
//!
//! 1. the token, if it is empty and the security officer's PIN is given;
//! 2. the keys: each made, read back, proven by use. A crash leaves those that were made;
//! 3. a database older than the token is refused, or accepted by what [`Restored`] says;
//! 4. the certificates: all four in one transaction. A crash before it leaves none, and the next run makes them.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tillward_hsm::{AcquirerKeys, Hsm, HsmError, KeySpec};

use super::authority::{Authorities, AuthorityError, ROWS};
use super::context::Context;
use super::error::OpError;
use super::read_keys::KeyView;
use super::reconcile::restored;
use crate::app::StartError;
use crate::audit::{AuditEvent, Occasion};
use crate::authz::{Action, Authz, Caller, Circumstances, Permit, Resource};
use crate::clock::Clock;
use crate::config::Config;
use crate::pki::certificate::{Certificate, Issuer, Validity};
use crate::pki::key::PublicKey;
use crate::pki::names::Service;
use crate::pki::profile::Profile;
use crate::pki::serial::Serial;
use crate::pki::tbs::LintedTbs;
use crate::policies;
use crate::store::{Authority, Store};

/// What `init` found and made.
#[derive(Debug, Serialize)]
pub struct Initialised {
    /// Whether the token was made.
    pub token_made: bool,
    /// Every key on the token.
    pub keys: Vec<KeyView>,
    /// Whether the certificates were made.
    pub certificates_made: bool,
    /// SHA-256 of the root certificate.
    pub root_pin: [u8; 32],
    /// What accepting a restored database did.
    pub restored: Option<Restored>,
}

/// What a restored database cost: everything that the backup could have revived.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// Open activation codes that were revoked.
    pub activations_revoked: u64,
    /// Phones that were suspended; an operator resumes those that are in order.
    pub devices_suspended: u64,
    /// Versions of managed keys that were suspended; an officer activates, or deactivates, those that are in order.
    pub keys_suspended: u64,
}

/// Makes what is missing.
///
/// # Errors
/// [`StartError`]: what does not fit, and what to do.
pub async fn init(
    config: &Config,
    executable: PathBuf,
    so_pin: Option<&Path>,
    accept_restored: bool,
    clock: &Clock,
) -> Result<Initialised, StartError> {
    let hsm = Hsm::start(config.hsm_config(executable, true)?).await?;
    let done = steps(config, &hsm, so_pin, accept_restored, clock).await;
    hsm.shutdown().await;
    done
}

async fn steps(config: &Config, hsm: &Hsm, so_pin: Option<&Path>, accept_restored: bool, clock: &Clock) -> Result<Initialised, StartError> {
    // What would stop the last step stops before the first.
    policies::configured(&config.authorization)?;
    // 1
    let token_made = match so_pin {
        Some(path) if hsm.status().await?.token.is_none() => {
            hsm.init_token(path).await?;
            true
        }
        _ => false,
    };
    // 2
    let acquirers = config
        .acquirers
        .iter()
        .map(|a| AcquirerKeys { name: a.name.to_string(), bdk_pin: a.bdk_pin, bdk_data: a.bdk_data, bits: a.bits })
        .collect();
    let keys = hsm.create_keys(KeySpec { acquirers }).await?;
    // 3
    let store = Store::open(&config.store.url, 2).await?;
    let work = Work { hsm, store: &store, clock, config };
    let restored = match restored(&store, hsm, &config.acquirers).await? {
        None => None,
        Some(_) if accept_restored => Some(work.accept_restored().await?),
        Some(refused) => return Err(refused),
    };
    // 4
    let (authorities, certificates_made) = work.certificates().await?;
    store.close().await;
    Ok(Initialised {
        token_made,
        keys: keys.into_iter().map(KeyView::from).collect(),
        certificates_made,
        root_pin: authorities.root_pin(),
        restored,
    })
}

/// What the work on a token and its database needs.
pub(super) struct Work<'a> {
    pub(super) hsm: &'a Hsm,
    pub(super) store: &'a Store,
    pub(super) clock: &'a Clock,
    pub(super) config: &'a Config,
}

impl Work<'_> {
    pub(super) fn permit(&self, action: Action) -> Result<(Permit, Occasion), OpError> {
        let context = Context::of_the_service()?;
        let policies =
            policies::configured(&self.config.authorization).map_err(|error| OpError::internal("reading the policies", error))?;
        let authz = Authz::by([], policies).map_err(|error| OpError::internal("asking for a permit", error))?;
        let permit = authz
            .authorize(&Caller::System("init"), action, &Resource::service(), Circumstances::at(self.clock.now()))
            .map_err(|error| OpError::internal("asking for a permit", error))?;
        Ok((permit, Occasion { at: self.clock.now(), request: context.request_id }))
    }

    /// The backup may hold codes that were used and phones that were retired since. None of them can be told from the others.
    async fn accept_restored(&self) -> Result<Restored, OpError> {
        let mut marks = Vec::new();
        for acquirer in &self.config.acquirers {
            marks.push((acquirer.name.clone(), self.hsm.derivation_mark(acquirer.name.as_str()).await?.unwrap_or(0)));
        }
        let (permit, occasion) = self.permit(Action::AcceptRestore)?;
        let mut tx = self.store.begin().await?;
        for (acquirer, mark) in &marks {
            tx.raise_derivation_mark(acquirer, u64::from(*mark)).await?;
        }
        let activations_revoked = tx.revoke_all_open_activations().await?;
        let devices_suspended = tx.suspend_all_devices("database-restored").await?;
        let keys_suspended = tx.suspend_all_keys(self.clock.now()).await?;
        let event = AuditEvent::effect(permit, &occasion)
            .with("activations_revoked", activations_revoked)
            .with("devices_suspended", devices_suspended)
            .with("keys_suspended", keys_suspended);
        tx.commit(event).await?;
        Ok(Restored { activations_revoked, devices_suspended, keys_suspended })
    }

    /// The certificates, made where there are none; and whether they were.
    pub(super) async fn certificates(&self) -> Result<(Authorities, bool), StartError> {
        match Authorities::load(self.store, self.hsm).await {
            Ok(there) => Ok((there, false)),
            Err(AuthorityError::Missing(_)) => {
                self.make_certificates().await?;
                Ok((Authorities::load(self.store, self.hsm).await?, true))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn make_certificates(&self) -> Result<(), OpError> {
        let mut keys = Vec::with_capacity(ROWS.len());
        for (_, key) in ROWS {
            let spki = self.hsm.public_key(key).await?;
            keys.push(PublicKey::from_der(&spki).map_err(|error| OpError::internal("reading a public key of the token", error))?);
        }
        let [PublicKey::P384(root), PublicKey::P256(issuing), PublicKey::P256(attestation), PublicKey::P256(personalization)] = keys[..]
        else {
            return Err(OpError::internal("reading the public keys of the token", "they are on other curves than the design's"));
        };
        let organisation = &self.config.pki.organisation;
        let name = |role: &str| {
            format!("{organisation} {role}")
                .parse()
                .map_err(|error: crate::pki::names::NameError| OpError::internal("naming a certificate", error))
        };
        let now = self.clock.now();
        let until = |days: u32| Validity { from: now, to: now.plus(i64::from(days) * 86_400 - 1) };
        let lint = |error| OpError::internal("linting a certificate of the service", error);

        let profile = Profile::root(&name("Root CA")?);
        let tbs = LintedTbs::root(&profile, root, self.serial().await?, until(self.config.pki.root_days)).map_err(lint)?;
        let root = self.sign(tbs).await?;
        let issuer = Issuer::of(&root).map_err(|error| OpError::internal("reading the root", error))?;
        let mut rows = vec![self.row("root", &root)];
        for (row, profile, key) in [
            ("issuing", Profile::issuing_ca(&name("Issuing CA")?), issuing),
            ("attestation-signing", Profile::service(&name("Attestation")?, Service::AttestationSigning), attestation),
            ("personalization-signing", Profile::service(&name("Personalization")?, Service::PersonalizationSigning), personalization),
        ] {
            let tbs =
                LintedTbs::service(&profile, &issuer, key, self.serial().await?, until(self.config.pki.issuing_days)).map_err(lint)?;
            rows.push(self.row(row, &self.sign(tbs).await?));
        }
        let (permit, occasion) = self.permit(Action::Initialise)?;
        let mut tx = self.store.begin().await?;
        for row in &rows {
            tx.insert_authority(row).await?;
        }
        tx.commit(AuditEvent::effect(permit, &occasion).with("root", crate::audit::Fact::hex(&root.fingerprint()))).await?;
        Ok(())
    }

    async fn serial(&self) -> Result<Serial, HsmError> {
        let random = self.hsm.random(16).await?;
        Ok(Serial::from_random(random.try_into().expect("the client checks the length")))
    }

    async fn sign(&self, tbs: LintedTbs) -> Result<Certificate, OpError> {
        let signature = self.hsm.sign_root(tbs.digest().as_ref()).await?;
        tbs.attach(&signature).map_err(|error| OpError::internal("verifying a fresh certificate", error))
    }

    fn row(&self, name: &'static str, certificate: &Certificate) -> Authority {
        Authority { name: name.to_owned(), der: certificate.der().to_vec(), made: self.clock.now() }
    }
}
