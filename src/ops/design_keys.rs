//! The keys that the service itself works with, under the same control as every other: each is a logical key of class `design`. To suspend one, or
//! to report it as compromised, stops what depends on it; rotation and destruction are ceremonies, and not offered here.

use std::collections::BTreeMap;

use tillward_hsm::{KeyAlgorithm, KeyKind, KeyName, KeyRecord};

use super::authorize;
use super::context::Context;
use super::error::{OpError, Refusal};
use super::reason::Reason;
use super::refuse;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::{Action, Caller, Permit, Resource};
use crate::id::AcquirerId;
use crate::key::{KeyClass, KeyState, Origin, Periods, Shape, Use, design_purpose};
use crate::store::{self, Dependants, KeyVersion, Made, StoreError, Times};

/// A key of the design that an operation is about to use.
#[derive(Debug, Clone, Copy)]
pub(super) enum DesignKey<'a> {
    /// MACs of activation codes.
    ActivationMac,
    /// What phones encrypt their secrets to.
    EnrollmentTransport,
    /// The second secrets in the database.
    StorageKek,
    /// Signs challenges and results.
    AttestationSigning,
    /// Signs packages.
    PersonalizationSigning,
    /// Signs certificates.
    IssuingCa,
    /// What exportable keys are kept under, for the day they leave.
    ExportKek,
    /// Derives the PIN keys of an acquirer's phones.
    BdkPin(&'a AcquirerId),
    /// Derives the data keys of an acquirer's phones.
    BdkData(&'a AcquirerId),
}

impl DesignKey<'_> {
    fn name(self) -> String {
        match self {
            Self::ActivationMac => "activation-mac".to_owned(),
            Self::EnrollmentTransport => "enrollment-transport".to_owned(),
            Self::StorageKek => "storage-kek".to_owned(),
            Self::AttestationSigning => "attestation-signing".to_owned(),
            Self::PersonalizationSigning => "personalization-signing".to_owned(),
            Self::IssuingCa => "issuing-ca".to_owned(),
            Self::ExportKek => "export-kek".to_owned(),
            Self::BdkPin(acquirer) => format!("bdk-pin.{acquirer}"),
            Self::BdkData(acquirer) => format!("bdk-data.{acquirer}"),
        }
    }
}

/// Goes on only while each of these keys is active: one query. A key block is opened by two keys: who names `storage-kek` means `storage-mac` too.
pub(super) async fn demand(app: &App, context: &Context, permit: Permit, keys: &[DesignKey<'_>]) -> Result<Permit, OpError> {
    let mut names: Vec<String> = keys.iter().map(|key| key.name()).collect();
    if names.iter().any(|name| name == "storage-kek") {
        names.push("storage-mac".to_owned());
    }
    let names: Vec<KeyName> = names.into_iter().filter_map(|name| KeyName::try_from(name).ok()).collect();
    let found = app.store.read().await?.primaries_of(&names).await?;
    match names.iter().find_map(|name| stopped(name, &found)) {
        Some(refusal) => Err(refuse(app, context, permit, refusal).await),
        None => Ok(permit),
    }
}

fn stopped(name: &KeyName, found: &[KeyVersion]) -> Option<Refusal> {
    let Some(version) = found.iter().find(|version| version.key == *name) else {
        return Some(Reason::KeyState.with(format!("{name} is not adopted")));
    };
    (!version.life().allows(Use::Protect)).then(|| Reason::KeyState.with(format!("{name} is {}", version.life().words())))
}

/// What would stand still without this key.
pub(super) async fn dependants(app: &App, key: &store::Key) -> Result<Dependants, OpError> {
    if key.shape.class != KeyClass::Design {
        return Ok(Dependants::default());
    }
    let all = app.store.read().await?.count_dependants(key.acquirer.as_ref(), app.clock.now()).await?;
    Ok(match key.name.as_str() {
        "root-ca" | "issuing-ca" => Dependants { phones: 0, activations: 0, ..all },
        "activation-mac" | "enrollment-transport" | "enrollment-transport-ec" => Dependants { phones: 0, certificates: 0, ..all },
        "audit-signing" => Dependants::default(),
        _ => Dependants { certificates: 0, activations: 0, ..all },
    })
}

/// Makes rows of the keys that are there: at the first start over a token, and where the configuration names other base derivation keys.
pub async fn adopt_design_keys(app: &App) -> Result<(), OpError> {
    // Another node that starts at the same time adopts them too: who was second looks again.
    for _ in 0..8 {
        let missing = missing(app).await?;
        if missing.is_empty() || adopt(app, missing).await? {
            return Ok(());
        }
    }
    Err(OpError::internal("adopting the keys of the design", "another node is always first"))
}

/// `false`: another node was first.
async fn adopt(app: &App, missing: Vec<(KeyName, Option<AcquirerId>, String)>) -> Result<bool, OpError> {
    let inventory: BTreeMap<String, KeyRecord> =
        app.hsm.inventory().await?.into_iter().map(|record| (record.label.clone(), record)).collect();
    let context = Context::of_the_service()?;
    let permit = authorize(app, &context, &Caller::System("reconcile"), Action::Reconcile, &Resource::service()).await?;
    let mut tx = app.store.begin().await?;
    let mut adopted = 0_u64;
    for (name, acquirer, label) in missing {
        let Some(row) = inventory.get(&label).and_then(|record| row(app, &name, acquirer, record)) else { continue };
        let (key, made) = row;
        if tx.hold_key(&name).await? {
            if tx.versions_of(&name).await?.iter().any(|version| version.label == label) {
                continue;
            }
        } else {
            match tx.insert_key(&key).await {
                Err(StoreError::Conflict(_)) => return Ok(false),
                inserted => inserted?,
            }
        }
        let mut key = tx.find_key(&name, false).await?.unwrap_or(key);
        let number = tx.versions_of(&name).await?.last().map_or(1, |last| last.version.saturating_add(1));
        match tx.insert_version(&version(app, &name, number, label, made), None).await {
            Err(StoreError::Conflict(_)) => return Ok(false),
            inserted => inserted?,
        }
        key.primary = Some(number);
        tx.update_key(&key).await?;
        adopted += 1;
    }
    if adopted > 0 {
        tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("adopted", adopted)).await?;
    }
    Ok(true)
}

/// Keys that every installation has, and the optional one; with the labels of the configured acquirers.
async fn missing(app: &App) -> Result<Vec<(KeyName, Option<AcquirerId>, String)>, OpError> {
    const FIXED: [&str; 11] = [
        "activation-mac",
        "enrollment-transport",
        "storage-kek",
        "storage-mac",
        "attestation-signing",
        "personalization-signing",
        "root-ca",
        "issuing-ca",
        "audit-signing",
        // Where the token has them.
        "enrollment-transport-ec",
        "export-kek",
    ];
    let mut wanted: Vec<(String, Option<AcquirerId>, String)> =
        FIXED.iter().map(|name| ((*name).to_owned(), None, (*name).to_owned())).collect();
    for acquirer in &app.settings.acquirers {
        let owner = || Some(acquirer.name.clone());
        let (pin, data) = (acquirer.bdk_pin, acquirer.bdk_data);
        wanted.push((DesignKey::BdkPin(&acquirer.name).name(), owner(), format!("bdk-pin:{}:{pin}", acquirer.name)));
        wanted.push((DesignKey::BdkData(&acquirer.name).name(), owner(), format!("bdk-data:{}:{data}", acquirer.name)));
    }
    let there: std::collections::BTreeSet<String> =
        app.store.read().await?.all_versions().await?.into_iter().map(|version| version.label).collect();
    let named = |(name, acquirer, label): (String, Option<AcquirerId>, String)| {
        let name = KeyName::try_from(name).map_err(|error| OpError::internal("naming a key of the design", error))?;
        Ok((name, acquirer, label))
    };
    wanted.into_iter().filter(|(_, _, label)| !there.contains(label)).map(named).collect()
}

fn row(app: &App, name: &KeyName, acquirer: Option<AcquirerId>, record: &KeyRecord) -> Option<(store::Key, Made)> {
    let algorithm = match (record.kind, record.bits) {
        (KeyKind::Aes, 128) => KeyAlgorithm::Aes128,
        (KeyKind::Aes, _) => KeyAlgorithm::Aes256,
        (KeyKind::GenericSecret, _) => KeyAlgorithm::HmacSha256,
        (KeyKind::Rsa, 4096) => KeyAlgorithm::Rsa4096,
        (KeyKind::Rsa, _) => KeyAlgorithm::Rsa3072,
        (KeyKind::P256, _) => KeyAlgorithm::EcP256,
        (KeyKind::P384, _) => KeyAlgorithm::EcP384,
        (KeyKind::Ed25519, _) => KeyAlgorithm::Ed25519,
    };
    let key = store::Key {
        name: name.clone(),
        shape: Shape { class: KeyClass::Design, purpose: design_purpose(name.as_str())?, algorithm, exportable: false },
        acquirer,
        periods: Periods::default(),
        uses_limit: None,
        primary: None,
        created: app.clock.now(),
    };
    let made = Made {
        kcv: record.kcv.map(|kcv| data_encoding::HEXUPPER.encode(&kcv)),
        fingerprint: record.fingerprint.filter(|_| record.spki.is_some()),
        spki: record.spki.clone(),
    };
    Some((key, made))
}

/// In use already when it is adopted.
fn version(app: &App, name: &KeyName, number: u32, label: String, made: Made) -> KeyVersion {
    let now = app.clock.now();
    let mut version = KeyVersion::intended(name.clone(), number, label, crate::key::Intent::Make, now);
    version.intent = None;
    version.origin = Origin::Design;
    version.state = KeyState::Active;
    version.times = Times { created: now, made: Some(now), activated: Some(now), ..Times::default() };
    version.made = made;
    version
}
