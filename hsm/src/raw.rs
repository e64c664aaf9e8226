//! The bare module, loaded into the calling process. **For the benchmark only**: it is what the host process is compared with.
//!
//! The service must never use it: it would bring the PIN, the sessions and, with a software token, the keys into its memory.

use crate::error::HsmError;
use crate::host::bench;
use crate::uri::Pkcs11Uri;

/// A module that is loaded, initialised and logged in. One in a process.
pub struct RawModule(bench::Bare);

/// One PKCS#11 session, for one thread.
pub struct RawSession(bench::BareSession);

impl RawModule {
    /// Loads and logs in.
    ///
    /// # Errors
    /// Every failed check, as for a host.
    pub fn open(uri: Pkcs11Uri) -> Result<Self, HsmError> {
        bench::Bare::open(uri).map(Self)
    }

    /// A session for one thread.
    ///
    /// # Errors
    /// The module's.
    pub fn session(&self) -> Result<RawSession, HsmError> {
        self.0.session().map(RawSession)
    }

    /// `C_Finalize`. All sessions have to be dropped and their threads joined before: SoftHSM crashes otherwise.
    pub fn close(self) {
        self.0.close();
    }
}

impl RawSession {
    /// `CKM_ECDSA` with `attestation-signing`: `r` | `s`.
    ///
    /// # Errors
    /// The module's.
    pub fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, HsmError> {
        self.0.sign(digest)
    }
}
