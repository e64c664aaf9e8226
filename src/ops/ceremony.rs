//! Holds a ceremony by its file: on the token that the file names by its label, or as a rehearsal on a throw-away token, by the same steps.
//!
//! 1. everything that can be refused is refused before the token is touched: file, label, approvals, partner's keys;
//! 2. the steps in their order: each makes what is missing, and reads it back. A crash leaves the steps that were done, and the same file held again
//!    finds them: a root CA that is there stays, and a KEK or BDK pair that is there is refused, because nothing is given out twice;
//! 3. the transcript, signed in the HSM. A crash before it leaves keys without a transcript: `tillward key reconcile` and the audit log tell of them.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tillward_hsm::{
    AcquirerKeys, ApprovalError, Approved, Deed, Generated, Hsm, HsmError, KekRef, KeyAlgorithm, KeyName, KeyRecord, KeySpec, PublicKeyOf,
    Purpose, Roster, SigningKey,
};
use x509_cert::der::Decode as _;
use x509_cert::der::pem::LineEnding;

use super::error::OpError;
use super::init::Work;
use super::read_keys::KeyView;
use crate::app::StartError;
use crate::audit::{AuditEvent, Fact};
use crate::authz::Action;
use crate::ceremony::{Body, CeremonyError, CeremonyFile, Did, MadeKey, Output, Proof, Step, TokenSeen, Transcript};
use crate::clock::Clock;
use crate::config::Config;
use crate::id::AcquirerId;
use crate::key::{Intent, KeyClass, KeyState, Origin, Periods, Shape};
use crate::store::{self, KeyVersion, Made, Store, StoreError, Times};

/// Why a ceremony was not held, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum NotHeld {
    /// The file is not one.
    #[error(transparent)]
    File(#[from] CeremonyError),
    /// The configuration leads to another token than the file's.
    #[error("the file is for the token {file}, and the configuration leads to {configured}")]
    OtherToken {
        /// As the file names it.
        file: String,
        /// As the configuration does.
        configured: String,
    },
    /// The file uses the root CA.
    #[error("the file uses the root CA: it takes a plan approved for exactly this file (`tillward ceremony plan`)")]
    NeedsApproval,
    /// There is no roster to verify approvals with.
    #[error("the configuration names no officers ([approval] officers)")]
    NoRoster,
    /// The approvals are not good.
    #[error("the approvals of the ceremony are not good")]
    Approval(#[from] ApprovalError),
    /// They are for something else.
    #[error("the approved plan is not for this file")]
    OtherPlan,
    /// A partner's key does not fit.
    #[error("the key of the partner for {name}: {problem}")]
    PartnerKey {
        /// The KEK.
        name: String,
        /// Why.
        problem: &'static str,
    },
    /// The token or the database.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database has such a key, or another version is the next one.
    #[error("step {number}: version {version} of {name} is not the next one of such a key; the steps before it were done")]
    NotNext {
        /// From 1.
        number: usize,
        /// The key.
        name: String,
        /// The version.
        version: u32,
    },
    /// A step failed; those before it were done.
    #[error("step {number} ({step}) failed; the steps before it were done")]
    Step {
        /// From 1.
        number: usize,
        /// What it was to make.
        step: &'static str,
        /// Why.
        source: HsmError,
    },
}

impl From<HsmError> for NotHeld {
    fn from(error: HsmError) -> Self {
        Self::Start(error.into())
    }
}

/// A ceremony that is about to be held.
#[derive(Debug)]
pub struct Ceremony<'a> {
    /// The file, byte for byte.
    pub text: &'a str,
    /// The installation, or that of the rehearsal.
    pub config: &'a Config,
    /// This program, for the HSM host.
    pub executable: PathBuf,
    /// Security officer's PIN, where the token itself has to be made.
    pub so_pin: Option<&'a Path>,
    /// The plan with its approvals.
    pub approved: Option<&'a Approved>,
    /// Whether it is a rehearsal: no approvals are asked for.
    pub rehearsal: bool,
}

/// The digest that the plan of a ceremony names.
pub fn file_digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Ceremony<'_> {
    /// Refuses what can be refused before the token is touched.
    ///
    /// # Errors
    /// [`NotHeld`].
    pub fn check(&self, clock: &Clock) -> Result<CeremonyFile, NotHeld> {
        let file = CeremonyFile::parse(self.text)?;
        let uri: tillward_hsm::Pkcs11Uri = self
            .config
            .hsm
            .uri
            .parse()
            .map_err(|error| crate::config::ConfigError::Check(format!("hsm.uri: {error}")))
            .map_err(StartError::from)?;
        if uri.token() != file.token {
            return Err(NotHeld::OtherToken { file: file.token, configured: uri.token().to_owned() });
        }
        for step in &file.steps {
            if let Step::PartnerKek { name, partner_key, partner_key_sha256, .. } = step {
                partner(partner_key, partner_key_sha256).map_err(|problem| NotHeld::PartnerKey { name: name.to_string(), problem })?;
            }
        }
        if file.uses_root_ca() && !self.rehearsal {
            let approved = self.approved.ok_or(NotHeld::NeedsApproval)?;
            let path = self.config.approval.officers.as_ref().ok_or(NotHeld::NoRoster)?;
            let roster = std::fs::read_to_string(path).map_err(|_| NotHeld::NoRoster)?;
            let roster = Roster::parse(&roster).map_err(|_| NotHeld::NoRoster)?;
            let plan = tillward_hsm::approval::verify(approved, &roster, clock.now().0)?;
            if plan.deed != Deed::UseRootCa(file_digest(self.text)) {
                return Err(NotHeld::OtherPlan);
            }
        }
        Ok(file)
    }

    /// Holds it. `tell` hears of each step before it is done.
    ///
    /// # Errors
    /// [`NotHeld`].
    pub async fn hold(&self, clock: &Clock, tell: &(dyn Fn(usize, &Step) + Send + Sync)) -> Result<Transcript, NotHeld> {
        // 1
        let file = self.check(clock)?;
        let started = clock.now();
        let mut config = self.config.clone();
        config.hsm.socket = None;
        let hsm = Hsm::start(config.hsm_config(self.executable.clone(), true).map_err(StartError::from)?).await?;
        let held = self.steps(&file, &config, &hsm, clock, tell).await;
        let transcript = match held {
            Ok(steps) => self.transcript(&hsm, started, steps, clock).await,
            Err(error) => Err(error),
        };
        hsm.shutdown().await;
        transcript
    }

    // 2
    async fn steps(
        &self,
        file: &CeremonyFile,
        config: &Config,
        hsm: &Hsm,
        clock: &Clock,
        tell: &(dyn Fn(usize, &Step) + Send + Sync),
    ) -> Result<Vec<Did>, NotHeld> {
        if let Some(so_pin) = self.so_pin
            && hsm.status().await?.token.is_none()
        {
            hsm.init_token(so_pin).await?;
        }
        // The transcript is signed on the token, so the keys of the design come first even where the file makes no root.
        let store = Store::open(&config.store.url, 2).await.map_err(StartError::from)?;
        let mut done = Vec::with_capacity(file.steps.len());
        let work = Work { hsm, store: &store, clock, config };
        for (number, step) in (1..).zip(&file.steps) {
            tell(number, step);
            let wanted = wanted(step);
            if let Some((name, version, shape)) = &wanted
                && !fits(&store, name, *version, *shape).await.map_err(StartError::from)?
            {
                return Err(NotHeld::NotNext { number, name: name.to_string(), version: *version });
            }
            let shape = wanted.map(|(_, _, shape)| shape);
            let failed = |source| NotHeld::Step { number, step: step.name(), source };
            let (keys, outputs) = match step {
                Step::RootCa { organisation, root_days, issuing_days } => {
                    let mut config = config.clone();
                    config.pki.organisation.clone_from(organisation);
                    (config.pki.root_days, config.pki.issuing_days) = (*root_days, *issuing_days);
                    let keys = hsm.create_keys(KeySpec::default()).await.map_err(failed)?;
                    let work = Work { hsm, store: &store, clock, config: &config };
                    let (authorities, _) = work.certificates().await?;
                    let outputs = vec![
                        certificate("root.pem", "root certificate", authorities.root_der()),
                        certificate("issuing.pem", "certificate of the issuing CA", authorities.issuing_der()),
                    ];
                    (keys, outputs)
                }
                Step::BdkPair { acquirer, bdk_pin, bdk_data, bits } => {
                    let pair = AcquirerKeys { name: acquirer.to_string(), bdk_pin: *bdk_pin, bdk_data: *bdk_data, bits: *bits };
                    let made = hsm.make_bdks(pair).await.map_err(failed)?;
                    keep_bdks(&work, acquirer, shape, &made).await?;
                    (made.into_iter().map(|made| made.record).collect(), Vec::new())
                }
                Step::PartnerKek { name, version, form, partner_key, partner_key_sha256 } => {
                    let kek = KekRef { name: name.clone(), version: *version, form: *form };
                    let partner = partner(partner_key, partner_key_sha256)
                        .map_err(|problem| NotHeld::PartnerKey { name: name.to_string(), problem })?;
                    let made = hsm.make_kek(&kek, partner).await.map_err(failed)?;
                    keep_kek(&work, &kek, shape, &made.record).await?;
                    let output = Output {
                        name: format!("{name}-{version}.kek"),
                        what: format!("the KEK, {} under the partner's key", made.oaep.name()),
                        content: data_encoding::BASE64.encode(&made.wrapped),
                    };
                    (vec![made.record], vec![output])
                }
            };
            done.push(Did {
                what: step.describe(),
                at: clock.now().rfc3339(),
                keys: keys.into_iter().map(|record| made_key(record.into())).collect(),
                outputs,
            });
        }
        store.close().await;
        Ok(done)
    }

    // 3
    async fn transcript(&self, hsm: &Hsm, started: crate::clock::UnixTime, steps: Vec<Did>, clock: &Clock) -> Result<Transcript, NotHeld> {
        let status = hsm.status().await?;
        let token = status.token.ok_or(HsmError::Protocol)?;
        let body = Body {
            file: self.text.to_owned(),
            rehearsal: self.rehearsal,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            started: started.rfc3339(),
            ended: clock.now().rfc3339(),
            token: TokenSeen {
                label: token.label,
                manufacturer: token.manufacturer,
                model: token.model,
                serial: token.serial,
                firmware: token.firmware,
                library: status.library.unwrap_or_default(),
            },
            token_key: data_encoding::BASE64.encode(&hsm.public_key(PublicKeyOf::Signing(SigningKey::Audit)).await?),
            approved: self.approved.map(|approved| Proof {
                plan: String::from_utf8_lossy(&approved.plan).into_owned(),
                approvals: approved
                    .approvals
                    .iter()
                    .map(|approval| (approval.officer.clone(), data_encoding::BASE64.encode(&approval.signature)))
                    .collect(),
            }),
            steps,
        };
        let signature = hsm.sign(SigningKey::Audit, &body.digest()).await?;
        Ok(Transcript { body, token_signature: data_encoding::BASE64.encode(&signature), signatures: Vec::new() })
    }
}

/// Writes the rows of a pair of base derivation keys: logical keys of the design, active, with their escrow blocks.
async fn keep_bdks(work: &Work<'_>, acquirer: &AcquirerId, shape: Option<Shape>, made: &[Generated]) -> Result<(), NotHeld> {
    let Some(shape) = shape else { return Ok(()) };
    for (name, made) in ["bdk-pin", "bdk-data"].into_iter().zip(made) {
        let name = format!("{name}.{acquirer}").parse().map_err(|_| HsmError::Protocol)?;
        keep(work, Row { name, version: 1, shape, acquirer: Some(acquirer.clone()), record: &made.record, escrow: made.escrow.as_deref() })
            .await
            .map_err(StartError::from)?;
    }
    Ok(())
}

/// Writes the row of a partner's KEK.
async fn keep_kek(work: &Work<'_>, kek: &KekRef, shape: Option<Shape>, record: &KeyRecord) -> Result<(), NotHeld> {
    let Some(shape) = shape else { return Ok(()) };
    let row = Row { name: kek.name.clone(), version: kek.version, shape, acquirer: None, record, escrow: None };
    Ok(keep(work, row).await.map_err(StartError::from)?)
}

/// A version that a ceremony made, as the database keeps it.
struct Row<'a> {
    name: KeyName,
    version: u32,
    shape: Shape,
    acquirer: Option<AcquirerId>,
    record: &'a KeyRecord,
    escrow: Option<&'a [u8]>,
}

/// The database's word on whether a version can be kept: its key is new or of the same shape, and the version the next one.
async fn fits(store: &Store, name: &KeyName, version: u32, shape: Shape) -> Result<bool, StoreError> {
    let mut reads = store.read().await?;
    let same = reads.find_key(name, true).await?.is_none_or(|key| key.name == *name && key.shape == shape);
    let next = reads.versions_of(name).await?.last().map_or(1, |last| last.version.saturating_add(1));
    Ok(same && version == next)
}

/// The key that a step is about to make, where the database keeps a row of it.
fn wanted(step: &Step) -> Option<(KeyName, u32, Shape)> {
    match step {
        Step::RootCa { .. } => None,
        Step::BdkPair { acquirer, bits, .. } => {
            let algorithm = if *bits == 128 { KeyAlgorithm::Aes128 } else { KeyAlgorithm::Aes256 };
            let shape = Shape { class: KeyClass::Design, purpose: Purpose::Derive, algorithm, exportable: true };
            Some((format!("bdk-pin.{acquirer}").parse().ok()?, 1, shape))
        }
        Step::PartnerKek { name, version, form, .. } => {
            let class = KeyClass::Kek(*form);
            Some((name.clone(), *version, Shape { class, purpose: Purpose::Wrap, algorithm: KeyAlgorithm::Aes256, exportable: false }))
        }
    }
}

async fn keep(work: &Work<'_>, row: Row<'_>) -> Result<(), OpError> {
    let now = work.clock.now();
    let (permit, occasion) = work.permit(Action::Initialise)?;
    let mut tx = work.store.begin().await?;
    let found = tx.find_key(&row.name, false).await?;
    let mut key = if let Some(key) = found {
        key
    } else {
        let (name, acquirer) = (row.name.clone(), row.acquirer);
        let key =
            store::Key { name, shape: row.shape, acquirer, periods: Periods::default(), uses_limit: None, primary: None, created: now };
        tx.insert_key(&key).await?;
        key
    };
    let version = KeyVersion {
        origin: Origin::Design,
        intent: None,
        state: KeyState::Active,
        times: Times { created: now, made: Some(now), activated: Some(now), ..Times::default() },
        made: Made {
            kcv: row.record.kcv.map(|kcv| data_encoding::HEXUPPER.encode(&kcv)),
            fingerprint: row.record.fingerprint,
            spki: row.record.spki.clone(),
        },
        escrowed: row.escrow.is_some(),
        ..KeyVersion::intended(row.name.clone(), row.version, row.record.label.clone(), Intent::MakeActive, now)
    };
    tx.insert_version(&version, row.escrow).await?;
    key.primary = Some(row.version);
    tx.update_key(&key).await?;
    let event = AuditEvent::effect(permit, &occasion).with("version", u64::from(row.version));
    let event = row.record.kcv.iter().fold(event, |event, kcv| event.with("kcv", Fact::hex(kcv)));
    tx.commit(event).await?;
    Ok(())
}

fn certificate(name: &str, what: &str, der: &[u8]) -> Output {
    let pem = x509_cert::der::pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default();
    Output { name: name.to_owned(), what: what.to_owned(), content: data_encoding::BASE64.encode(pem.as_bytes()) }
}

fn made_key(view: KeyView) -> MadeKey {
    MadeKey {
        label: view.label,
        kind: view.kind,
        made: view.created,
        check_value: view.kcv.or(view.check_value),
        fingerprint: view.fingerprint,
        attributes: view.attributes,
    }
}

/// The partner's key, if it is the one that the partner read out.
fn partner(pem: &str, sha256: &str) -> Result<Vec<u8>, &'static str> {
    let (label, der) = x509_cert::der::pem::decode_vec(pem.trim().as_bytes()).map_err(|_| "not PEM")?;
    if label != "PUBLIC KEY" {
        return Err("not a PEM of type PUBLIC KEY");
    }
    x509_cert::spki::SubjectPublicKeyInfoRef::from_der(&der).map_err(|_| "not a SubjectPublicKeyInfo")?;
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&der));
    if digest == sha256 { Ok(der) } else { Err("its SHA-256 is not the one in the file") }
}
