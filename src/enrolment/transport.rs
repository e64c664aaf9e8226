//! How second secrets travel (docs/protocol.md §3.2, §3.4): the keys that phones wrap them to.

use serde::Serialize;

use crate::wire::b64url;

/// How the second secret is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TransportAlgorithm {
    /// RFC 8017 §7.1 with an empty label, SHA-1 and MGF1-SHA-1 (the only hash `SoftHSM` offers for OAEP).
    #[serde(rename = "RSA-OAEP")]
    RsaOaep,
    /// The same with SHA-256 and MGF1-SHA-256.
    #[serde(rename = "RSA-OAEP-256")]
    RsaOaep256,
    /// RFC 5753: `dhSinglePass-stdDH-sha256kdf-scheme` on P-256, then AES-KWP with 256 bits (RFC 5649).
    #[serde(rename = "ECDH-X963-SHA256-A256KWP")]
    Ecdh,
}

/// A transport key that phones wrap to.
#[derive(Debug, Clone, Serialize)]
pub struct TransportKey {
    /// SHA-256 of `spki`.
    #[serde(with = "b64url")]
    pub kid: [u8; 32],
    /// How.
    pub alg: TransportAlgorithm,
    /// SPKI in DER.
    #[serde(with = "b64url")]
    pub spki: Vec<u8>,
}

/// The transport keys that are offered: RSA always, key agreement where the HSM can do it.
#[derive(Debug, Clone)]
pub struct TransportKeys {
    rsa: TransportKey,
    ecdh: Option<TransportKey>,
}

impl TransportKeys {
    /// What the HSM has.
    pub fn new(rsa: TransportKey, ecdh: Option<TransportKey>) -> Self {
        Self { rsa, ecdh }
    }

    /// The RSA key: what every phone knows.
    pub fn rsa(&self) -> &TransportKey {
        &self.rsa
    }

    /// All of them, in the service's order of preference: the key agreement is the cheaper one for the token, and rests on no SHA-1.
    pub fn offered(&self) -> impl Iterator<Item = &TransportKey> {
        self.ecdh.iter().chain([&self.rsa])
    }

    /// How a phone that names this key has wrapped; `None` if it is none of these.
    pub fn algorithm_of(&self, kid: &[u8; 32]) -> Option<TransportAlgorithm> {
        self.offered().find(|key| key.kid == *kid).map(|key| key.alg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_agreement_is_offered_first_and_every_key_is_found_by_its_id() {
        let key = |kid, alg| TransportKey { kid: [kid; 32], alg, spki: vec![kid] };
        let rsa = || key(1, TransportAlgorithm::RsaOaep);
        let alone = TransportKeys::new(rsa(), None);
        assert_eq!(alone.offered().map(|key| key.alg).collect::<Vec<_>>(), [TransportAlgorithm::RsaOaep]);
        let both = TransportKeys::new(rsa(), Some(key(2, TransportAlgorithm::Ecdh)));
        assert_eq!(both.offered().map(|key| key.kid[0]).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(both.algorithm_of(&[2; 32]), Some(TransportAlgorithm::Ecdh));
        assert_eq!(both.algorithm_of(&[1; 32]), Some(TransportAlgorithm::RsaOaep));
        assert_eq!((both.algorithm_of(&[3; 32]), alone.algorithm_of(&[2; 32])), (None, None));
    }
}
