//! Compact JWS with ES256 and nothing else (RFC 7515 §7.1, RFC 7518 §3.4; docs/protocol.md §1).

use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::json::{self, BODY_LIMIT, JsonError};
use crate::merchant_key::MerchantKey;

/// What a JWS says, by its `typ` header (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Typ {
    /// Enrolment parameters.
    Parameters,
    /// Challenge.
    Challenge,
    /// Personalization package.
    Package,
    /// Attestation result.
    Result,
    /// Payment request to the consumer's device.
    PaymentRequest,
}

impl Typ {
    /// The value of the header member.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parameters => "tillward-parameters+jwt",
            Self::Challenge => "tillward-challenge+jwt",
            Self::Package => "tillward-package+jwt",
            Self::Result => "ear+jwt",
            Self::PaymentRequest => "tillward-payment-request+jwt",
        }
    }
}

/// Why a text is not the JWS that was expected. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Not three parts of canonical base64url, or longer than 64 KiB.
    #[error("not a compact JWS")]
    Shape,
    /// The header's members are not exactly the expected ones.
    #[error("the header of the JWS")]
    Header(#[source] JsonError),
    /// `alg` is not ES256.
    #[error("the JWS is not signed with ES256")]
    Algorithm,
    /// `typ` is another one: the JWS says something else than was asked.
    #[error("the JWS is not a {}", .0.as_str())]
    Typ(Typ),
    /// The signature does not verify.
    #[error("the signature of the JWS does not verify")]
    Signature,
    /// The payload is not the expected JSON.
    #[error("the payload of the JWS")]
    Payload(#[source] JsonError),
}

/// A JWS in its parts, its signature not yet verified: nothing of the payload can be read before.
pub struct Unverified<'a> {
    header: Vec<u8>,
    payload: Vec<u8>,
    signed: &'a str,
    signature: Signature,
}

/// Header of a JWS of the service: exactly these members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KidHeader {
    pub(crate) alg: String,
    pub(crate) kid: String,
    pub(crate) typ: String,
}

/// Header of a payment request: exactly these members.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChainHeader {
    pub(crate) alg: String,
    pub(crate) typ: String,
    pub(crate) x5c: Vec<String>,
}

impl<'a> Unverified<'a> {
    /// Takes the text apart.
    ///
    /// # Errors
    /// [`JwsError::Shape`] if it is not three parts of canonical base64url of which the last is `r` ‖ `s`.
    pub fn parse(text: &'a str) -> Result<Self, JwsError> {
        if text.len() > BODY_LIMIT {
            return Err(JwsError::Shape);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwsError::Shape)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Shape)?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| JwsError::Shape);
        let signature = Signature::from_slice(&decode(signature)?).map_err(|_| JwsError::Shape)?;
        Ok(Self { header: decode(header)?, payload: decode(payload)?, signed, signature })
    }

    /// The header of a JWS of the service: its `kid`.
    pub(crate) fn kid(&self, typ: Typ) -> Result<String, JwsError> {
        let KidHeader { alg, kid, typ: found } = json::parse(&self.header, BODY_LIMIT).map_err(JwsError::Header)?;
        check(&alg, &found, typ)?;
        Ok(kid)
    }

    /// The header of a payment request: its `x5c`.
    pub(crate) fn chain(&self, typ: Typ) -> Result<Vec<String>, JwsError> {
        let ChainHeader { alg, typ: found, x5c } = json::parse(&self.header, BODY_LIMIT).map_err(JwsError::Header)?;
        check(&alg, &found, typ)?;
        Ok(x5c)
    }

    /// The claims, after the signature has been verified.
    pub(crate) fn claims<T: DeserializeOwned>(&self, key: &VerifyingKey) -> Result<T, JwsError> {
        key.verify(self.signed.as_bytes(), &self.signature).map_err(|_| JwsError::Signature)?;
        json::parse(&self.payload, BODY_LIMIT).map_err(JwsError::Payload)
    }
}

fn check(alg: &str, found: &str, expected: Typ) -> Result<(), JwsError> {
    match (alg == "ES256", found == expected.as_str()) {
        (true, true) => Ok(()),
        (false, _) => Err(JwsError::Algorithm),
        (_, false) => Err(JwsError::Typ(expected)),
    }
}

/// Signs `claims` under a header.
pub(crate) fn sign(key: &MerchantKey, header: &impl Serialize, claims: &impl Serialize) -> String {
    let part = |json: serde_json::Result<Vec<u8>>| BASE64URL_NOPAD.encode(&json.expect("plain members are JSON"));
    let signed = format!("{}.{}", part(serde_json::to_vec(header)), part(serde_json::to_vec(claims)));
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// RFC 7638 §3: SHA-256 of the key's required members in lexical order, base64url.
pub fn thumbprint(key: &VerifyingKey) -> String {
    let point = key.to_sec1_point(false);
    let coordinate = |value: Option<&_>| BASE64URL_NOPAD.encode(value.map_or(&[][..], |bytes: &p256::FieldBytes| bytes.as_slice()));
    let (x, y) = (coordinate(point.x()), coordinate(point.y()));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64URL_NOPAD.encode(&Sha256::digest(canonical))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn signed(header: &Value) -> (MerchantKey, String) {
        let key = MerchantKey::generate().expect("random bytes");
        let text = sign(&key, header, &json!({"amount": 1}));
        (key, text)
    }

    fn read(key: &MerchantKey, text: &str) -> Result<Value, JwsError> {
        let jws = Unverified::parse(text)?;
        jws.kid(Typ::Challenge)?;
        jws.claims(key.public())
    }

    #[test]
    fn a_jws_reads_under_its_key_and_type_alone() {
        let header = json!({"alg": "ES256", "kid": "k", "typ": "tillward-challenge+jwt"});
        let (key, text) = signed(&header);
        assert_eq!(read(&key, &text), Ok(json!({"amount": 1})));
        let other = MerchantKey::generate().expect("random bytes");
        assert_eq!(read(&other, &text), Err(JwsError::Signature));
        assert_eq!(Unverified::parse(&text).expect("shape").kid(Typ::Package), Err(JwsError::Typ(Typ::Package)));
    }

    #[test]
    fn header_members_are_exactly_three() {
        for (header, error) in [
            (json!({"alg": "none", "kid": "k", "typ": "tillward-challenge+jwt"}), Some(JwsError::Algorithm)),
            (json!({"alg": "HS256", "kid": "k", "typ": "tillward-challenge+jwt"}), Some(JwsError::Algorithm)),
            (json!({"alg": "ES256", "kid": "k", "typ": "Tillward-challenge+jwt"}), Some(JwsError::Typ(Typ::Challenge))),
            (json!({"alg": "ES256", "kid": "k", "typ": "tillward-challenge+jwt", "jwk": {}}), None),
            (json!({"alg": "ES256", "typ": "tillward-challenge+jwt"}), None),
            (json!({"alg": "ES256", "kid": "k", "typ": "tillward-challenge+jwt", "crit": []}), None),
        ] {
            let (key, text) = signed(&header);
            let found = read(&key, &text).expect_err("refused");
            assert!(error.map_or_else(|| matches!(found, JwsError::Header(_)), |error| error == found), "{header}: {found:?}");
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638_over_the_key_of_rfc_7517() {
        // RFC 7517 appendix A.1's EC key; its thumbprint computed with an independent implementation.
        let x = BASE64URL_NOPAD.decode(b"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4").expect("x");
        let y = BASE64URL_NOPAD.decode(b"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM").expect("y");
        let key = VerifyingKey::from_sec1_bytes(&[&[4][..], &x, &y].concat()).expect("point");
        assert_eq!(thumbprint(&key), "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
    }

    #[test]
    fn the_signature_of_rfc_7515_appendix_a_3_verifies() {
        let x = BASE64URL_NOPAD.decode(b"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU").expect("x");
        let y = BASE64URL_NOPAD.decode(b"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0").expect("y");
        let key = VerifyingKey::from_sec1_bytes(&[&[4][..], &x, &y].concat()).expect("point");
        let text = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
            DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let jws = Unverified::parse(text).expect("shape");
        assert_eq!(jws.claims::<Value>(&key).expect("verifies")["iss"], "joe");
        assert!(matches!(jws.kid(Typ::Challenge), Err(JwsError::Header(_))));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[A-Za-z0-9_.=-]{0,200}") {
            if let Ok(jws) = Unverified::parse(&text) {
                let _ = (jws.kid(Typ::Result), jws.chain(Typ::PaymentRequest));
            }
        }

        #[test]
        fn every_changed_character_is_found(place: prop::sample::Index, other in "[A-Za-z0-9_.-]") {
            let (key, text) = signed(&json!({"alg": "ES256", "kid": "k", "typ": "tillward-challenge+jwt"}));
            let place = place.index(text.len());
            prop_assume!(text[place..=place] != other);
            let changed = format!("{}{other}{}", &text[..place], &text[place + 1..]);
            prop_assert!(read(&key, &changed).is_err());
        }
    }
}
