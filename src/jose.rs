//! Compact JWS with ES256 (RFC 7515, RFC 7518 §3.4) for a signer that is elsewhere: digest out, `r ‖ s` in.
//!
//! The profile is docs/protocol.md §1: header members exactly `alg`, `kid`, `typ`; `kid` is the RFC 7638 thumbprint of
//! the key that verifies; everything canonical, so that a JWS has one text.

use std::fmt;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::wire::{self, Object, b64url};

/// Largest compact JWS that is read or made.
pub const MAX_LENGTH: usize = 16 * 1024;

/// What a JWS is (RFC 8725 §3.11). One key may sign several kinds: the kind is verified with the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typ {
    /// Enrolment parameters.
    Parameters,
    /// Challenge.
    Challenge,
    /// Personalization package.
    Package,
    /// Attestation result.
    Ear,
}

impl Typ {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Parameters, Self::Challenge, Self::Package, Self::Ear];

    /// The header's `typ`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parameters => "tillward-parameters+jwt",
            Self::Challenge => "tillward-challenge+jwt",
            Self::Package => "tillward-package+jwt",
            Self::Ear => "ear+jwt",
        }
    }
}

/// RFC 7638 SHA-256 thumbprint of a P-256 key: the `kid` of everything it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The thumbprint of `key`.
    ///
    /// # Panics
    /// Never: an uncompressed point has both coordinates.
    pub fn of(key: &VerifyingKey) -> Self {
        let point = key.to_sec1_point(false);
        let x = b64url::encode(point.x().expect("uncompressed"));
        let y = b64url::encode(point.y().expect("uncompressed"));
        // RFC 7638 §3.2: the required members of an EC key (crv, kty, x, y), in this order, no white space.
        Self(Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)).into())
    }

    /// Parses the base64url text.
    pub fn parse(text: &str) -> Option<Self> {
        b64url::decode_array(text).map(Self)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&b64url::encode(&self.0))
    }
}

/// Why a JWS cannot be made or is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// The claims are not JSON, or not the claims this kind has.
    #[error("the claims are not those of this kind of token")]
    Claims,
    /// Over [`MAX_LENGTH`].
    #[error("the token is longer than 16 KiB")]
    TooLong,
    /// Not three canonical base64url parts with the header of the profile.
    #[error("not a compact JWS of this profile")]
    Form,
    /// Another kind of token than the one asked for.
    #[error("the token is of another kind")]
    Kind,
    /// Signed by another key, or the signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
}

/// A JWS that waits for its signature.
#[derive(Debug)]
pub struct Unsigned(String);

impl Unsigned {
    /// The signing input for `claims` under the key with thumbprint `kid`.
    ///
    /// # Errors
    /// [`JoseError::Claims`] if `claims` have no JSON form, [`JoseError::TooLong`].
    pub fn new(typ: Typ, kid: &Thumbprint, claims: &impl Serialize) -> Result<Self, JoseError> {
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"{}"}}"#, typ.as_str());
        let claims = serde_json::to_vec(claims).map_err(|_| JoseError::Claims)?;
        let input = format!("{}.{}", b64url::encode(header.as_bytes()), b64url::encode(&claims));
        // 1 for the dot and 86 for the signature.
        if input.len() + 87 > MAX_LENGTH { Err(JoseError::TooLong) } else { Ok(Self(input)) }
    }

    /// RFC 7515 §5.1: `base64url(header) . base64url(claims)`.
    pub fn signing_input(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the signing input: what the HSM signs.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The JWS with the signer's `r ‖ s`.
    ///
    /// # Errors
    /// [`JoseError::Signature`] if `r` or `s` is not in `1..n`.
    pub fn attach(self, signature: &[u8; 64]) -> Result<Jws, JoseError> {
        Signature::from_slice(signature).map_err(|_| JoseError::Signature)?;
        Ok(Jws(format!("{}.{}", self.0, b64url::encode(signature))))
    }
}

/// A compact JWS made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jws(String);

impl Jws {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for Jws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Jws {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A parsed JWS whose signature nobody has verified yet: it only tells which key it names.
pub struct Compact<'a> {
    input: &'a str,
    kid: Thumbprint,
    typ: Typ,
    payload: Vec<u8>,
    signature: Signature,
}

impl<'a> Compact<'a> {
    /// Parses the compact form.
    ///
    /// # Errors
    /// [`JoseError::TooLong`], [`JoseError::Form`].
    pub fn parse(text: &'a str) -> Result<Self, JoseError> {
        if text.len() > MAX_LENGTH {
            return Err(JoseError::TooLong);
        }
        Self::parse_parts(text).ok_or(JoseError::Form)
    }

    fn parse_parts(text: &'a str) -> Option<Self> {
        let (input, signature) = text.rsplit_once('.')?;
        let (header, payload) = input.split_once('.')?;
        let mut header = Object::parse(&b64url::decode(header)?).ok()?;
        let alg = header.text("alg", 5).ok()?;
        let kid = Thumbprint::parse(&header.text("kid", 43).ok()?)?;
        let typ = header.text("typ", 64).ok()?;
        header.finish().ok()?;
        if alg != "ES256" {
            return None;
        }
        let typ = Typ::ALL.into_iter().find(|known| known.as_str() == typ)?;
        let signature = Signature::from_slice(&b64url::decode(signature)?).ok()?;
        Some(Self { input, kid, typ, payload: b64url::decode(payload)?, signature })
    }

    /// The key that it names.
    pub fn kid(&self) -> &Thumbprint {
        &self.kid
    }

    /// Verifies kind, key and signature.
    ///
    /// # Errors
    /// [`JoseError::Kind`], [`JoseError::Signature`].
    pub fn verify(self, typ: Typ, key: &VerifyingKey) -> Result<Payload, JoseError> {
        if self.typ != typ {
            return Err(JoseError::Kind);
        }
        if self.kid != Thumbprint::of(key) {
            return Err(JoseError::Signature);
        }
        let digest = Sha256::digest(self.input.as_bytes());
        key.verify_prehash(&digest, &self.signature).map_err(|_| JoseError::Signature)?;
        Ok(Payload(self.payload))
    }
}

/// The payload of a JWS whose signature was verified.
#[derive(Debug)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// The claims: one JSON object, no member twice at any depth.
    ///
    /// # Errors
    /// [`JoseError::Claims`].
    pub fn claims<T: DeserializeOwned>(self) -> Result<T, JoseError> {
        wire::strict_object(&self.0).ok_or(JoseError::Claims)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::hazmat::PrehashSigner;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// A software key in the place of the HSM's.
    pub(crate) fn key(seed: u8) -> SigningKey {
        SigningKey::from_slice(&[seed; 32]).expect("a scalar in range")
    }

    /// Signs as the HSM does: digest in, `r ‖ s` out.
    pub(crate) fn sign(key: &SigningKey, digest: &[u8]) -> [u8; 64] {
        let signature: Signature = key.sign_prehash(digest).expect("a digest of 32 bytes");
        signature.to_bytes().into()
    }

    fn token(claims: &Value) -> String {
        let unsigned = Unsigned::new(Typ::Challenge, &Thumbprint::of(key(1).verifying_key()), claims).expect("short");
        let signature = sign(&key(1), &unsigned.digest());
        unsigned.attach(&signature).expect("in range").into_string()
    }

    fn with_header(header: &str) -> String {
        let input = format!("{}.{}", b64url::encode(header.as_bytes()), b64url::encode(b"{}"));
        let signature = sign(&key(1), &Sha256::digest(input.as_bytes()));
        format!("{input}.{}", b64url::encode(&signature))
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // RFC 9449 §4.1 prints this P-256 key, §6.1 its RFC 7638 thumbprint.
        let point = |text: &str| b64url::decode_array::<32>(text).expect("a coordinate");
        let x = point("l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs");
        let y = point("9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA");
        let sec1 = [&[4_u8][..], &x, &y].concat();
        let key = VerifyingKey::from_sec1_bytes(&sec1).expect("a point");
        assert_eq!(Thumbprint::of(&key).to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    }

    #[test]
    fn a_signed_token_verifies_and_gives_its_claims_back() {
        let text = token(&json!({"a": 1}));
        let payload = Compact::parse(&text).and_then(|jws| jws.verify(Typ::Challenge, key(1).verifying_key())).expect("verifies");
        assert_eq!(payload.claims::<Value>(), Ok(json!({"a": 1})));
    }

    #[test]
    fn another_kind_and_another_key_are_refused() {
        let text = token(&json!({}));
        let verify = |typ, seed| Compact::parse(&text).and_then(|jws| jws.verify(typ, key(seed).verifying_key())).err();
        assert_eq!(verify(Typ::Ear, 1), Some(JoseError::Kind));
        assert_eq!(verify(Typ::Challenge, 2), Some(JoseError::Signature));
        assert_eq!(verify(Typ::Challenge, 1), None);
    }

    #[test]
    fn a_signature_by_another_key_under_the_right_kid_is_refused() {
        let unsigned = Unsigned::new(Typ::Ear, &Thumbprint::of(key(1).verifying_key()), &json!({})).expect("short");
        let signature = sign(&key(2), &unsigned.digest());
        let text = unsigned.attach(&signature).expect("in range").into_string();
        let verified = Compact::parse(&text).and_then(|jws| jws.verify(Typ::Ear, key(1).verifying_key()));
        assert_eq!(verified.err(), Some(JoseError::Signature));
    }

    #[test]
    fn the_header_has_exactly_three_members_and_es256() {
        let kid = Thumbprint::of(key(1).verifying_key());
        let good = format!(r#"{{"typ":"ear+jwt","alg":"ES256","kid":"{kid}"}}"#);
        assert!(Compact::parse(&with_header(&good)).is_ok());
        for bad in [
            format!(r#"{{"typ":"ear+jwt","alg":"none","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"ear+jwt","alg":"HS256","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"ear+jwt","alg":"ES256","kid":"{kid}","crit":[]}}"#),
            format!(r#"{{"typ":"ear+jwt","alg":"ES256","alg":"ES256","kid":"{kid}"}}"#),
            r#"{"typ":"ear+jwt","alg":"ES256"}"#.to_owned(),
            r#"["ES256"]"#.to_owned(),
        ] {
            assert_eq!(Compact::parse(&with_header(&bad)).err(), Some(JoseError::Form), "{bad}");
        }
    }

    #[test]
    fn a_signature_out_of_range_is_refused_on_both_sides() {
        let zero = [0_u8; 64];
        let unsigned = || Unsigned::new(Typ::Ear, &Thumbprint::of(key(1).verifying_key()), &json!({})).expect("short");
        assert_eq!(unsigned().attach(&zero), Err(JoseError::Signature));
        assert_eq!(unsigned().attach(&[0xff; 64]), Err(JoseError::Signature));
        let text = format!("{}.{}", unsigned().signing_input(), b64url::encode(&zero));
        assert_eq!(Compact::parse(&text).err(), Some(JoseError::Form));
    }

    #[test]
    fn a_token_over_the_limit_is_neither_made_nor_read() {
        let kid = Thumbprint::of(key(1).verifying_key());
        let long = json!({"a": "x".repeat(MAX_LENGTH)});
        assert_eq!(Unsigned::new(Typ::Ear, &kid, &long).err(), Some(JoseError::TooLong));
        assert_eq!(Compact::parse(&"a".repeat(MAX_LENGTH + 1)).err(), Some(JoseError::TooLong));
    }

    proptest! {
        #[test]
        fn no_changed_byte_verifies(at in 0_usize..400, with in any::<u8>()) {
            let good = token(&json!({"nonce": "x"}));
            let mut bytes = good.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = with;
            if let Ok(text) = String::from_utf8(bytes) && text != good {
                let verified = Compact::parse(&text).and_then(|jws| jws.verify(Typ::Challenge, key(1).verifying_key()));
                prop_assert!(verified.is_err());
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Compact::parse(&text).map(|jws| *jws.kid());
        }
    }
}
