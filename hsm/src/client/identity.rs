//! Which token it has to be. A label names a token, its keys are what it is: after a failover, a restored backup or a mistake in the
//! configuration, another token can stand under the same label. A host whose token has other keys than these is not asked.

use std::time::Duration;

use super::link::Link;
use crate::model::{AcquirerKeys, Finding, HostStatus, OaepHash, PublicKeyOf};
use crate::op::{Answer, Operation};

/// What a token has to have. Secret keys cannot be compared; they were made in the same ceremony as these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Public keys, `SubjectPublicKeyInfo` in DER.
    pub keys: Vec<(PublicKeyOf, Vec<u8>)>,
    /// Hash of RSA-OAEP that phones were told, if they were.
    pub oaep: Option<OaepHash>,
    /// Acquirers whose base derivation keys have to be there; others may be, too.
    pub acquirers: Vec<AcquirerKeys>,
}

impl Identity {
    /// What differs at the host behind `link`.
    pub(super) async fn differs(&self, link: &Link, status: &HostStatus, deadline: Duration) -> Option<Finding> {
        let other = |what: &str| {
            Some(Finding::failed("token", None, format!("it has another {what} than the token that this service is bound to")))
        };
        let unknown = || Some(Finding::failed("token", None, "its keys could not be compared with those that this service is bound to"));
        let oaep = status.profile.as_ref().and_then(|profile| profile.oaep);
        if self.oaep.is_some() && self.oaep != oaep {
            return other("hash of RSA-OAEP");
        }
        for (key, expected) in &self.keys {
            match link.call(&Operation::PublicKey { key: *key }, deadline).await {
                Ok(Answer::Bytes(found)) if found == *expected => {}
                Ok(Answer::Bytes(_)) => return other(&format!("public key {key:?}")),
                _ => return unknown(),
            }
        }
        if self.acquirers.is_empty() {
            return None;
        }
        match link.call(&Operation::Acquirers, deadline).await {
            Ok(Answer::Acquirers(found)) if self.acquirers.iter().all(|expected| found.contains(expected)) => None,
            Ok(Answer::Acquirers(_)) => other("set of base derivation keys"),
            _ => unknown(),
        }
    }
}
