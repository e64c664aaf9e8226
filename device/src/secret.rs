//! The second secret S (docs/protocol.md §3.4 and §5): what the phone made, and what follows from it.

use zeroize::Zeroizing;

use crate::derivation::{Usage, derive};
use crate::key::{AesKey, Algorithm};
use crate::ksn::Ikid;
use crate::random::{self, RandomError};

/// 32 random bytes that leave the phone only under the transport key.
pub struct SecondSecret(AesKey);

impl std::fmt::Debug for SecondSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecondSecret(not shown)")
    }
}

impl SecondSecret {
    /// A new one.
    ///
    /// # Errors
    /// [`RandomError`] if the system has no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self::from_bytes(&Zeroizing::new(random::bytes()?)))
    }

    /// From bytes that were kept, or stolen.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes.to_vec());
        Self(AesKey::new(Algorithm::Aes256, bytes).expect("32 bytes are an AES-256 key"))
    }

    /// The secret itself.
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.expose_bytes()
    }

    /// `K_mac`: usage 2002, identifier = IKID of the data key.
    pub fn mac_key(&self, ikid: Ikid) -> AesKey {
        derive(&self.0, Usage::Mac, ikid.bytes())
    }

    /// `K_kek`: usage 0002, identifier = IKID of the data key.
    pub fn personalization_kek(&self, ikid: Ikid) -> AesKey {
        derive(&self.0, Usage::KeyEncryption, ikid.bytes())
    }
}
