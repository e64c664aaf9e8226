//! Public keys as JSON Web Keys (RFC 7517), named by their thumbprints (RFC 7638).

use der::asn1::UintRef;
use der::{Decode as _, Reader as _, SliceReader};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use spki::SubjectPublicKeyInfoRef;
use tillward_hsm::managed::{KeyAlgorithm, SignatureScheme};

use crate::wire::b64url;

/// A public key that verifies signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Jwk {
    /// `EC`, `OKP` or `RSA`.
    pub kty: &'static str,
    /// `P-256`, `P-384` or `Ed25519`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<&'static str>,
    /// Of a point: x; of Ed25519, the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Of a point: y.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Of RSA: the modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// Of RSA: the public exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// RFC 7638.
    pub kid: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// The algorithm, where the key has only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<&'static str>,
}

impl Jwk {
    /// From a `SubjectPublicKeyInfo`; `None` where it is not one of this algorithm.
    pub fn of(algorithm: KeyAlgorithm, spki: &[u8]) -> Option<Self> {
        let info = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
        let bits = info.subject_public_key.as_bytes()?;
        let text = |bytes: &[u8]| Some(b64url::encode(bytes));
        let point = |crv, length: usize| {
            let (tag, rest) = bits.split_first()?;
            let (x, y) = rest.split_at_checked(length)?;
            (*tag == 4 && y.len() == length).then(|| Self { crv: Some(crv), x: text(x), y: text(y), ..Self::new("EC") })
        };
        let mut key = match algorithm {
            KeyAlgorithm::EcP256 => point("P-256", 32)?,
            KeyAlgorithm::EcP384 => point("P-384", 48)?,
            KeyAlgorithm::Ed25519 if bits.len() == 32 => Self { crv: Some("Ed25519"), x: text(bits), ..Self::new("OKP") },
            KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
                // RFC 8017 appendix A.1.1.
                let mut reader = SliceReader::new(bits).ok()?;
                let numbers = reader.sequence(|inner| -> der::Result<_> { Ok((UintRef::decode(inner)?, UintRef::decode(inner)?)) });
                let (n, e) = numbers.ok()?;
                Self { n: text(n.as_bytes()), e: text(e.as_bytes()), ..Self::new("RSA") }
            }
            _ => return None,
        };
        key.kid = key.thumbprint();
        if let [only] = SignatureScheme::of(algorithm) {
            key.alg = Some(only.name());
        }
        Some(key)
    }

    fn new(kty: &'static str) -> Self {
        Self { kty, crv: None, x: None, y: None, n: None, e: None, kid: String::new(), usage: "sig", alg: None }
    }

    /// RFC 7638 §3: SHA-256 over the required members, in the order of their names.
    fn thumbprint(&self) -> String {
        let members = [("crv", self.crv), ("e", self.e.as_deref()), ("kty", Some(self.kty)), ("n", self.n.as_deref())];
        let members = members.into_iter().chain([("x", self.x.as_deref()), ("y", self.y.as_deref())]);
        let members: Vec<String> = members.filter_map(|(name, value)| Some(format!("\"{name}\":\"{}\"", value?))).collect();
        b64url::encode(&Sha256::digest(format!("{{{}}}", members.join(","))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = Jwk { n: Some(n.to_owned()), e: Some("AQAB".to_owned()), ..Jwk::new("RSA") };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_point_is_taken_apart_and_its_kid_is_what_the_rest_of_the_service_calls_it() {
        use spki::EncodePublicKey as _;
        let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a key");
        let public = *secret.verifying_key();
        let der = p256::PublicKey::from(public).to_public_key_der().expect("encodes");
        let key = Jwk::of(KeyAlgorithm::EcP256, der.as_bytes()).expect("a key");
        assert_eq!((key.kty, key.crv, key.alg), ("EC", Some("P-256"), Some("ES256")));
        assert_eq!(key.kid, b64url::encode(crate::jose::Thumbprint::of(&public).as_bytes()));
        assert_eq!(Jwk::of(KeyAlgorithm::EcP384, der.as_bytes()), None);
        assert_eq!(Jwk::of(KeyAlgorithm::EcP256, b"nothing"), None);
    }
}
