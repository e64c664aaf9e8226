//! A managed key at the moment of its use: found by name, in a state that allows the use, within its times and limits.

use tillward_hsm::{KeyName, KeyRef};

use super::context::Context;
use super::error::OpError;
use crate::app::App;
use crate::authz::{Action, Permit, Resource};

/// What a use does with a key (SP 800-57 part 1 §7): a key that no longer protects may still process what it protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Sign, MAC, encrypt, wrap: only while the version is active. Counted against the limit of uses.
    Protect,
    /// Verify, decrypt, unwrap: also when it is deactivated.
    Process,
}

/// A version that may be used, once, for what it was asked for.
#[derive(Debug)]
pub(super) struct UsableKey {
    /// As the host names it.
    pub(super) key: KeyRef,
}

/// The resource that a logical key is to the policies; of a key that does not exist, one that is nobody's.
pub(super) async fn resource_of(_: &App, name: &KeyName) -> Result<Resource, OpError> {
    Ok(Resource::key(name.as_str(), None))
}

/// Finds the key, asks for the permit, and decides. Without a version: the primary one for [`Use::Protect`]; for [`Use::Process`] the caller names it.
/// `uses` is how many uses the request makes (a batch makes several); they are counted in the database before the token is asked.
#[expect(dead_code, reason = "the operations of the KMS come next")]
pub(super) async fn usable_key(
    _: &App,
    _: &Context,
    _: Action,
    _: &KeyName,
    _: Option<u32>,
    _: Use,
    _: u32,
) -> Result<(UsableKey, Permit), OpError> {
    Err(OpError::internal("finding a key", "not there yet"))
}
