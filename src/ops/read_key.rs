//! Reads a managed key with its versions.

use serde::Serialize;
use tillward_hsm::{KekForm, KeyName};

use super::context::Context;
use super::design_keys::dependants;
use super::error::OpError;
use super::reason::Reason;
use super::usable_key::resource;
use super::{authorize, turn_away};
use crate::app::App;
use crate::authz::{Action, Permit, Resource};
use crate::clock::UnixTime;
use crate::key::{KeyClass, check_text};
use crate::store::{self, Dependants};
use crate::wire::b64url;

/// A managed key, as people and machines outside see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ManagedKey {
    /// Its name.
    pub key: String,
    /// `kms`, `kek`, or `design`: one that the service itself works with.
    pub class: &'static str,
    /// Of a KEK: what travels under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<&'static str>,
    /// The acquirer that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquirer: Option<String>,
    /// What it is for.
    pub purpose: &'static str,
    /// What it is.
    pub algorithm: &'static str,
    /// Whether it may leave under a partner's KEK.
    pub exportable: bool,
    /// Other names that lead to it.
    pub aliases: Vec<String>,
    /// The version that protects where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<u32>,
    /// Rotation period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_seconds: Option<u64>,
    /// Originator usage period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_seconds: Option<u64>,
    /// Recipient usage period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_seconds: Option<u64>,
    /// Uses that the next versions have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses_limit: Option<u64>,
    /// When it was asked for, RFC 3339.
    pub created: String,
    /// Its versions, the first one first. Not in a list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionView>,
    /// What depends on it, of a key of the design.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependants: Option<Dependants>,
}

/// A version.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VersionView {
    /// From 1.
    pub version: u32,
    /// Its state.
    pub state: &'static str,
    /// Whether it is still to be made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// Where it comes from.
    pub origin: &'static str,
    /// Its label on the token.
    pub label: String,
    /// What a person compares: `KCV ...` or `SHA-256 ...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// CMAC check value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kcv: Option<String>,
    /// SHA-256 of the public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The public key, DER, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Counted uses, of a version with a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
    /// Uses at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses_limit: Option<u64>,
    /// When what happened and will happen, RFC 3339.
    #[serde(flatten)]
    pub times: KeyTimes,
}

/// When what happened and will happen to a version, RFC 3339.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyTimes {
    pub created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compromised: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroy_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
}

/// Reads a key, by name or alias.
#[tracing::instrument(skip_all)]
pub async fn read_key(app: &App, context: &Context, name: &KeyName) -> Result<ManagedKey, OpError> {
    let (key, _permit) = load_key(app, context, name, Action::ReadKey).await?;
    view(app, &key.name).await
}

/// The key of this name or alias, and the permit for what is asked of it.
pub(super) async fn load_key(app: &App, context: &Context, name: &KeyName, action: Action) -> Result<(store::Key, Permit), OpError> {
    let caller = context.caller()?;
    let Some(key) = app.store.read().await?.find_key(name, true).await? else {
        let resource = Resource::key(name.as_str(), None);
        return Err(turn_away(app, context, caller, action, &resource, Reason::KeyUnknown).await);
    };
    let permit = authorize(app, context, caller, action, &resource(&key)).await?;
    Ok((key, permit))
}

/// The key as it is now.
pub(super) async fn view(app: &App, name: &KeyName) -> Result<ManagedKey, OpError> {
    let mut reads = app.store.read().await?;
    let key = reads.find_key(name, false).await?.ok_or(Reason::KeyUnknown)?;
    let aliases = reads.aliases_of(name).await?;
    let versions = reads.versions_of(name).await?;
    drop(reads);
    let depends = if key.shape.class == KeyClass::Design { Some(dependants(app, &key).await?) } else { None };
    let mut view = ManagedKey::from(key);
    view.aliases = aliases.into_iter().map(String::from).collect();
    view.dependants = depends;
    view.versions = versions.into_iter().map(VersionView::from).collect();
    Ok(view)
}

impl From<store::Key> for ManagedKey {
    fn from(key: store::Key) -> Self {
        Self {
            class: key.shape.class.name(),
            form: key.shape.class.form().map(KekForm::name),
            acquirer: key.acquirer.map(String::from),
            purpose: key.shape.purpose.name(),
            algorithm: key.shape.algorithm.name(),
            exportable: key.shape.exportable,
            aliases: Vec::new(),
            primary: key.primary,
            rotation_seconds: key.periods.rotation,
            protect_seconds: key.periods.protect,
            process_seconds: key.periods.process,
            uses_limit: key.uses_limit,
            created: key.created.rfc3339(),
            versions: Vec::new(),
            dependants: None,
            key: key.name.into(),
        }
    }
}

impl From<store::KeyVersion> for VersionView {
    fn from(version: store::KeyVersion) -> Self {
        let text = |time: Option<UnixTime>| time.map(UnixTime::rfc3339);
        let times = &version.times;
        Self {
            version: version.version,
            state: version.state.name(),
            unfinished: version.intent.is_some(),
            origin: version.origin.name(),
            check: check_text(version.made.kcv.as_deref(), version.made.fingerprint.as_ref()),
            fingerprint: version.made.fingerprint.map(|digest| data_encoding::HEXLOWER.encode(&digest)),
            public_key: version.made.spki.as_deref().map(b64url::encode),
            uses: version.uses_limit.map(|_| version.uses),
            uses_limit: version.uses_limit,
            times: KeyTimes {
                created: times.created.rfc3339(),
                activated: text(times.activated),
                suspended: text(times.suspended),
                deactivated: text(times.deactivated),
                compromised: text(times.compromised),
                destroy_at: text(version.waits.as_ref().map(|(at, _)| *at)),
                destroyed: text(times.destroyed),
                not_before: text(version.validity.not_before),
                protect_until: text(version.validity.protect_until),
                not_after: text(version.validity.not_after),
            },
            label: version.label,
            kcv: version.made.kcv,
        }
    }
}
