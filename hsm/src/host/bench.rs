//! The bare module in the calling process, for [`crate::raw`].

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::context::Host;
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
        let host = Host::open(uri, 1, false);
        let status = host.status();
        if host.context.is_none() || !status.is_ready() {
            return Err(HsmError::Unavailable(Outage::NotReady(status.problems().cloned().collect())));
        }
        Ok(Self { host })
    }

    pub(crate) fn session(&self) -> Result<BareSession, HsmError> {
        let context = self.host.context.as_ref().ok_or(HsmError::Unavailable(Outage::Ended))?;
        let key = context.ring.get(templates::ATTESTATION_SIGNING).map_err(|fault| HsmError::Refused(fault.into_refusal()))?.working;
        let session = context.open().map_err(|error| HsmError::Refused(super::fault::Fault::from(error).into_refusal()))?;
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
