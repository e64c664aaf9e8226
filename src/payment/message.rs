//! A payment message (docs/protocol.md §7): account data under one AES DUKPT counter.

use crate::schema;
use crate::wire::{Object, ParseError, length_prefix};

/// Largest additional data.
pub const MAX_AAD: usize = 1024;
/// Largest ciphertext.
pub const MAX_CIPHERTEXT: usize = 8192;
/// AES block.
const BLOCK: usize = 16;

/// The object that the phone makes and the back end passes on as it is to `POST /v1/dukpt/decrypt`.
#[derive(Debug, Clone, PartialEq, Eq, utoipa::ToSchema)]
pub struct PaymentMessage {
    /// IKID and counter.
    #[schema(schema_with = schema::hex::<12>)]
    pub ksn: [u8; 12],
    /// For AES-CBC.
    #[schema(schema_with = schema::base64url::<16, 16>)]
    pub iv: [u8; 16],
    /// Authenticated, not encrypted.
    #[schema(schema_with = schema::base64url::<0, 1024>)]
    pub aad: Vec<u8>,
    /// AES-CBC, PKCS#7 padding: at least one block.
    #[schema(schema_with = schema::base64url::<16, 8192>)]
    pub ciphertext: Vec<u8>,
    /// AES-CMAC over [`Self::mac_message`].
    #[schema(schema_with = schema::base64url::<16, 16>)]
    pub mac: [u8; 16],
}

impl PaymentMessage {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError`] with the member at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut object = Object::parse(body)?;
        let ksn = object.hex("ksn")?;
        let iv = object.array("iv")?;
        let aad = object.bytes("aad", 0..=MAX_AAD)?;
        let ciphertext = object.bytes("ciphertext", BLOCK..=MAX_CIPHERTEXT)?;
        let mac = object.array("mac")?;
        object.finish()?;
        if ciphertext.len() % BLOCK != 0 {
            return Err(ParseError::new("ciphertext", "whole blocks of 16 bytes"));
        }
        Ok(Self { ksn, iv, aad, ciphertext, mac })
    }

    /// What the MAC covers: ksn ‖ iv ‖ LP(aad) ‖ ciphertext.
    pub fn mac_message(&self) -> Vec<u8> {
        [&self.ksn[..], &self.iv, &length_prefix(self.aad.len()), &self.aad, &self.ciphertext].concat()
    }
}

/// Largest data under a bare MAC.
pub const MAX_MAC_DATA: usize = 16 * 1024;

/// Data that a phone put under an AES DUKPT MAC: `POST /v1/dukpt/verify-mac`.
#[derive(Debug, Clone, PartialEq, Eq, utoipa::ToSchema)]
pub struct MacRequest {
    /// IKID and counter.
    #[schema(schema_with = schema::hex::<12>)]
    pub ksn: [u8; 12],
    /// What the MAC covers.
    #[schema(schema_with = schema::base64url::<0, 16384>)]
    pub data: Vec<u8>,
    /// AES-CMAC.
    #[schema(schema_with = schema::base64url::<16, 16>)]
    pub mac: [u8; 16],
}

impl MacRequest {
    /// Parses the body.
    ///
    /// # Errors
    /// [`ParseError`] with the member at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut object = Object::parse(body)?;
        let ksn = object.hex("ksn")?;
        let data = object.bytes("data", 0..=MAX_MAC_DATA)?;
        let mac = object.array("mac")?;
        object.finish()?;
        Ok(Self { ksn, data, mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{b64url, hex};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn body(message: &PaymentMessage) -> Value {
        json!({"ksn": hex::encode(&message.ksn), "iv": b64url::encode(&message.iv), "aad": b64url::encode(&message.aad),
            "ciphertext": b64url::encode(&message.ciphertext), "mac": b64url::encode(&message.mac)})
    }

    fn message() -> PaymentMessage {
        PaymentMessage { ksn: [0xab; 12], iv: [1; 16], aad: b"ab".to_vec(), ciphertext: vec![2; 32], mac: [3; 16] }
    }

    fn parse(body: &Value) -> Result<PaymentMessage, ParseError> {
        PaymentMessage::parse(&serde_json::to_vec(body).expect("JSON"))
    }

    #[test]
    fn the_mac_covers_every_part_in_order() {
        let expected = [&[0xab; 12][..], &[1; 16], &[0, 0, 0, 2], b"ab", &[2; 32]].concat();
        assert_eq!(message().mac_message(), expected);
    }

    #[test]
    fn limits_and_types_are_those_of_the_protocol() {
        for (member, bad) in [
            ("ksn", json!("AB".repeat(11))),
            ("ksn", json!("ab".repeat(12))),
            ("iv", json!(b64url::encode(&[1; 15]))),
            ("aad", json!(b64url::encode(&[1; MAX_AAD + 1]))),
            ("aad", Value::Null),
            ("ciphertext", json!("")),
            ("ciphertext", json!(b64url::encode(&[1; 17]))),
            ("ciphertext", json!(b64url::encode(&[1; MAX_CIPHERTEXT + 16]))),
            ("mac", json!(b64url::encode(&[1; 8]))),
        ] {
            let mut body = body(&message());
            body[member] = bad;
            assert_eq!(parse(&body).expect_err("refused").member, member);
        }
        for (aad, blocks) in [(0, 1), (MAX_AAD, MAX_CIPHERTEXT / 16)] {
            let edge = PaymentMessage { aad: vec![0; aad], ciphertext: vec![0; blocks * 16], ..message() };
            assert_eq!(parse(&body(&edge)), Ok(edge));
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_what_was_sent(ksn: [u8; 12], iv: [u8; 16], mac: [u8; 16], aad in proptest::collection::vec(any::<u8>(), 0..64), blocks in 1_usize..8) {
            let message = PaymentMessage { ksn, iv, aad, ciphertext: vec![4; blocks * 16], mac };
            prop_assert_eq!(parse(&body(&message)), Ok(message));
        }

        #[test]
        fn no_changed_body_panics(at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = serde_json::to_vec(&body(&message())).expect("JSON");
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = PaymentMessage::parse(&bytes);
        }
    }

    proptest! {
        #[test]
        fn a_mac_request_that_parses_is_what_was_sent(ksn: [u8; 12], mac: [u8; 16], data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let body = json!({"ksn": hex::encode(&ksn), "data": b64url::encode(&data), "mac": b64url::encode(&mac)});
            let parsed = MacRequest::parse(body.to_string().as_bytes()).expect("parses");
            prop_assert_eq!(parsed, MacRequest { ksn, data, mac });
        }

        #[test]
        fn no_mac_request_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MacRequest::parse(&bytes);
        }
    }
}
