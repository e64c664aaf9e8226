//! Reads the public key of a version of a managed key, and the set of those that may still verify.

use serde::{Deserialize, Serialize};
use tillward_hsm::{KeyAlgorithm, KeyName, Purpose};
use utoipa::{IntoParams, ToSchema};

use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use super::usable_key::{Use, resource};
use super::{authorize, refuse, turn_away};
use crate::app::App;
use crate::authz::{Action, Circumstances, Permit, Resource};
use crate::key::jwk::Jwk;
use crate::schema;
use crate::store::{self, KeyFilter};
use crate::wire::b64url;

/// Most keys that a set of all the caller's keys is made from.
const MOST_KEYS: u32 = 500;

/// Which version.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionQuery {
    /// Without it, the primary one.
    #[param(minimum = 1)]
    pub version: Option<u32>,
}

/// A public key.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicKeyView {
    /// The key.
    #[schema(schema_with = schema::key_name)]
    pub key: KeyName,
    /// Its version.
    pub version: u32,
    /// What it is.
    #[schema(schema_with = schema::key_algorithm)]
    pub algorithm: KeyAlgorithm,
    /// `SubjectPublicKeyInfo`, DER.
    #[serde(with = "b64url")]
    #[schema(schema_with = schema::base64url::<44, 1024>)]
    pub spki: Vec<u8>,
    /// The same, PEM (RFC 7468).
    pub pem: String,
    /// SHA-256 of `spki`.
    #[schema(schema_with = schema::fingerprint)]
    pub fingerprint: String,
    /// The same as a JSON Web Key.
    pub jwk: Jwk,
}

/// A set of public keys (RFC 7517 §5).
#[derive(Debug, Serialize, ToSchema)]
pub struct Jwks {
    /// Every version that may still verify.
    pub keys: Vec<Jwk>,
}

/// Reads a public key, whatever state it is in: what it has signed is out there.
#[tracing::instrument(skip_all)]
pub async fn read_public_key(app: &App, context: &Context, name: &KeyName, query: &VersionQuery) -> Result<PublicKeyView, OpError> {
    let (key, permit) = load(app, context, name).await?;
    let Some(number) = query.version.or(key.primary) else { return Err(refuse(app, context, permit, Reason::KeyUnknown).await) };
    let version = app.store.read().await?.find_version(&key.name, number).await?;
    let algorithm = key.shape.algorithm;
    let Some((version, spki)) = version.and_then(|version| version.made.spki.clone().map(|spki| (version, spki))) else {
        let reason = if algorithm.is_pair() { Reason::KeyUnknown } else { Reason::KeyPurpose };
        return Err(refuse(app, context, permit, reason).await);
    };
    let Some(jwk) = Jwk::of(algorithm, &spki) else {
        return Err(OpError::internal("reading a public key", "it is not one of its algorithm"));
    };
    let base64 = data_encoding::BASE64.encode(&spki);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    Ok(PublicKeyView {
        key: key.name,
        version: version.version,
        algorithm,
        pem: format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")),
        fingerprint: data_encoding::HEXLOWER.encode(&super::sha256(&spki)),
        spki,
        jwk,
    })
}

/// Reads the set of a key's versions that may still verify.
#[tracing::instrument(skip_all)]
pub async fn read_key_jwks(app: &App, context: &Context, name: &KeyName) -> Result<Jwks, OpError> {
    let (key, permit) = load(app, context, name).await?;
    if key.shape.purpose != Purpose::Sign || !key.shape.algorithm.is_pair() {
        return Err(refuse(app, context, permit, Reason::KeyPurpose).await);
    }
    Ok(Jwks { keys: verifying(app, &key).await? })
}

/// Reads the set of all signing keys that the caller may read.
#[tracing::instrument(skip_all)]
pub async fn read_jwks(app: &App, context: &Context) -> Result<Jwks, OpError> {
    let caller = context.caller()?;
    let acquirers = caller.principal().map(|principal| principal.acquirers().clone()).unwrap_or_default();
    let _permit = authorize(app, context, caller, Action::ListKeys, &Resource::keys_of(&acquirers)).await?;
    let filter = KeyFilter { purpose: Some(Purpose::Sign), class: Some("kms".to_owned()), after: None };
    let found = app.store.read().await?.list_keys(&acquirers, true, &filter, MOST_KEYS).await?;
    let now = Circumstances::at(app.clock.now());
    let mut keys = Vec::new();
    for key in found.iter().filter(|key| app.authz.authorize(caller, Action::ReadPublicKey, &resource(key), now).is_ok()) {
        keys.extend(verifying(app, key).await?);
    }
    Ok(Jwks { keys })
}

async fn verifying(app: &App, key: &store::Key) -> Result<Vec<Jwk>, OpError> {
    let versions = app.store.read().await?.versions_of(&key.name).await?;
    let now = app.clock.now();
    let may = |version: &&store::KeyVersion| {
        version.intent.is_none() && version.life().allows(Use::Process) && version.validity.allows(Use::Process, now)
    };
    let spkis = versions.iter().filter(may).filter_map(|version| version.made.spki.as_deref());
    Ok(spkis.filter_map(|spki| Jwk::of(key.shape.algorithm, spki)).collect())
}

async fn load(app: &App, context: &Context, name: &KeyName) -> Result<(store::Key, Permit), OpError> {
    let caller = context.caller()?;
    let Some(key) = app.store.read().await?.find_key(name, true).await? else {
        let resource = Resource::key(name.as_str(), None);
        return Err(turn_away(app, context, caller, Action::ReadPublicKey, &resource, Reason::KeyUnknown).await);
    };
    let permit = authorize(app, context, caller, Action::ReadPublicKey, &resource(&key)).await?;
    Ok((key, permit))
}
