//! The bare module in the calling process, for [`crate::raw`].

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;

use super::HostArgs;
use super::keeper::Host;
use super::pool::Session;
use super::templates;
use crate::error::{HsmError, Outage};
use crate::uri::Pkcs11Uri;

/// A logged-in module.
pub(crate) struct Bare {
    host: Host,
}

/// One session of it and the key that signs.
pub(crate) struct BareSession {
    session: Session,
    key: ObjectHandle,
}

impl Bare {
    pub(crate) fn open(uri: Pkcs11Uri) -> Result<Self, HsmError> {
        let host = Host::new(HostArgs::of(uri));
        host.look();
        let status = host.status();
        if status.is_ready() {
            Ok(Self { host })
        } else {
            Err(HsmError::Unavailable(Outage::NotReady(status.problems().cloned().collect())))
        }
    }

    pub(crate) fn session(&self) -> Result<BareSession, HsmError> {
        let now = std::time::Instant::now();
        let refused = |error: cryptoki::error::Error| HsmError::Refused(super::fault::Fault::from(error).into_refusal());
        let inside = self.host.enter(now).ok_or(HsmError::Unavailable(Outage::Ended))?;
        let context = inside.context.as_ref().ok_or(HsmError::Unavailable(Outage::Ended))?;
        let session = context.pool.aside().map_err(refused)?;
        let key = context.ring.get(templates::ATTESTATION_SIGNING).map_err(|fault| HsmError::Refused(fault.into_refusal()))?;
        let key = key.working.on(&session).map_err(refused)?;
        Ok(BareSession { session, key })
    }

    pub(crate) fn close(self) {
        self.host.close();
    }
}

impl BareSession {
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, HsmError> {
        self.session
            .sign(&Mechanism::Ecdsa, self.key, digest)
            .map_err(|error| HsmError::Refused(super::fault::Fault::from(error).into_refusal()))
    }
}
