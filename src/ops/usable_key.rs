//! A managed key at the moment of its use: found by name, in a state that allows the use, within its times and limits.

use tillward_hsm::{KeyName, KeyRef, Purpose};

use super::context::Context;
use super::error::{OpError, Refusal};
use super::reason::Reason;
use super::{authorize, for_real, refuse, turn_away};
use crate::app::App;
use crate::authz::{Action, Permit, Resource};
use crate::clock::UnixTime;
use crate::key::KeyClass;
use crate::store;

pub(super) use crate::key::Use;

/// A version that may be used, once, for what it was asked for.
#[derive(Debug)]
pub(super) struct UsableKey {
    /// As the host names it.
    pub(super) key: KeyRef,
}

/// The resource that a logical key is to the policies; of a key that does not exist, one that is nobody's.
pub(super) async fn resource_of(app: &App, name: &KeyName) -> Result<Resource, OpError> {
    let key = app.store.read().await?.find_key(name, false).await?;
    Ok(key.map_or_else(|| Resource::key(name.as_str(), None), |key| resource(&key)))
}

/// What a key is to the policies.
pub(super) fn resource(key: &store::Key) -> Resource {
    Resource::key(key.name.as_str(), key.acquirer.as_ref()).with("purpose", key.shape.purpose.name())
}

/// A version as the host names it.
pub(super) fn key_ref(key: &store::Key, version: u32) -> KeyRef {
    KeyRef { name: key.name.clone(), version, purpose: key.shape.purpose, algorithm: key.shape.algorithm }
}

/// Finds the key, asks for the permit, and decides. Without a version: the primary one for [`Use::Protect`]; for [`Use::Process`] the caller names it.
/// `uses` is how many uses the request makes (a batch makes several); they are counted in the database before the token is asked.
pub(super) async fn usable_key(
    app: &App,
    context: &Context,
    action: Action,
    name: &KeyName,
    version: Option<u32>,
    asked: Use,
    uses: u32,
) -> Result<(UsableKey, Permit), OpError> {
    let caller = context.caller()?;
    let found = app.store.read().await?.find_key_for_use(name, version).await?;
    let Some((key, version)) = found else {
        let resource = Resource::key(name.as_str(), None);
        return Err(turn_away(app, context, caller, action, &resource, Reason::KeyUnknown).await);
    };
    let permit = authorize(app, context, caller, action, &resource(&key)).await?;
    let version = match decide(&key, version, action, asked, app.clock.now()) {
        Ok(version) => version,
        Err(refusal) => return Err(refuse(app, context, permit, refusal).await),
    };
    let permit = for_real(permit)?;
    // Only what has a limit is counted: no other use writes.
    if asked == Use::Protect && version.uses_limit.is_some() && !app.store.count_uses(&key.name, version.version, uses).await? {
        return Err(refuse(app, context, permit, Reason::KeyLimit).await);
    }
    Ok((UsableKey { key: key_ref(&key, version.version) }, permit))
}

/// Whether this version of this key may be used so now.
fn decide(
    key: &store::Key,
    version: Option<store::KeyVersion>,
    action: Action,
    asked: Use,
    now: UnixTime,
) -> Result<store::KeyVersion, Refusal> {
    match key.shape.class {
        KeyClass::Kms => {}
        KeyClass::Design => return Err(Reason::KeyOfTheDesign.into()),
        // A key that wraps keys of the token must not wrap or unwrap what a caller brings (Clulow 2003).
        KeyClass::Kek(_) => return Err(Reason::KeyPurpose.with("it is a partner's key encryption key")),
    }
    if purpose_of(action).is_some_and(|purpose| purpose != key.shape.purpose) {
        return Err(Reason::KeyPurpose.with(format!("the key is for {}", key.shape.purpose.name())));
    }
    let version = version.ok_or(Reason::KeyUnknown)?;
    if version.intent.is_some() {
        return Err(Reason::KeyState.with("the key is not made yet"));
    }
    if !version.life().allows(asked) {
        return Err(Reason::KeyState.with(format!("version {} is {}", version.version, version.life().words())));
    }
    if !version.validity.allows(asked, now) {
        return Err(Reason::KeyOutsideTime.with(format!("version {}", version.version)));
    }
    Ok(version)
}

/// What a key has to be for.
fn purpose_of(action: Action) -> Option<Purpose> {
    match action {
        Action::KeySign | Action::KeyVerify => Some(Purpose::Sign),
        Action::KeyMac | Action::KeyVerifyMac => Some(Purpose::Mac),
        Action::KeyEncrypt | Action::KeyDecrypt => Some(Purpose::Encrypt),
        Action::KeyWrap | Action::KeyUnwrap => Some(Purpose::Wrap),
        _ => None,
    }
}
