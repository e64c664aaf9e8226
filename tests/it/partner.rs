//! A partner, in software: opens a KEK and key blocks, and makes blocks, by docs/keyblock.md alone. It shares no code with the host but the
//! derivation data of X9.24-3, which has vectors of its own.

use aes::cipher::KeyInit as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use sha1::Sha1;
use sha2::Sha256;
use tillward_hsm::{Algorithm, MadeKek, OaepHash, Usage};

use crate::software::{cmac, derive};

/// A partner with an RSA key, made for this test with `openssl genpkey`.
pub(crate) struct Partner(rsa::RsaPrivateKey);

impl Partner {
    pub(crate) fn new() -> Self {
        Self(rsa::RsaPrivateKey::from_pkcs8_pem(include_str!("partner/rsa-3072.pem")).expect("a key"))
    }

    /// `SubjectPublicKeyInfo`, DER.
    pub(crate) fn spki(&self) -> Vec<u8> {
        self.0.to_public_key().to_public_key_der().expect("DER").into_vec()
    }

    /// The KEK out of its RSA-OAEP.
    pub(crate) fn open(&self, made: &MadeKek) -> Vec<u8> {
        let kek = match made.oaep {
            OaepHash::Sha1 => self.0.decrypt(rsa::Oaep::<Sha1>::new(), &made.wrapped),
            OaepHash::Sha256 => self.0.decrypt(rsa::Oaep::<Sha256>::new(), &made.wrapped),
        }
        .expect("decrypts");
        assert_eq!((kek.len(), Some(kcv(&kek))), (32, made.record.kcv), "the check value is read to the partner by telephone");
        kek
    }
}

impl Partner {
    /// A KEK out of what a ceremony on SoftHSM gave out: OAEP with SHA-1 is all that it has.
    pub(crate) fn open_given_out(&self, wrapped: &[u8]) -> Vec<u8> {
        self.0.decrypt(rsa::Oaep::<Sha1>::new(), wrapped).expect("decrypts")
    }
}

/// First five bytes of AES-CMAC over 16 zero bytes.
pub(crate) fn kcv(key: &[u8]) -> [u8; 5] {
    *cmac(key, &[0; 16]).first_chunk().expect("16 bytes")
}

/// AES-KWP (RFC 5649).
pub(crate) fn wrap(kek: &[u8], key: &[u8]) -> Vec<u8> {
    let mut wrapped = vec![0; key.len().next_multiple_of(8) + 8];
    aes_kw::KwpAes256::new_from_slice(kek).expect("32").wrap_key(key, &mut wrapped).expect("wraps").to_vec()
}

/// The reverse.
pub(crate) fn unwrap(kek: &[u8], wrapped: &[u8]) -> Option<Vec<u8>> {
    let mut key = vec![0; wrapped.len()];
    aes_kw::KwpAes256::new_from_slice(kek).expect("32").unwrap_key(wrapped, &mut key).ok().map(<[u8]>::to_vec)
}

/// A key block that was opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Usage, algorithm, mode of use, version: `M6AC03`.
    pub(crate) attributes: String,
    pub(crate) label: Option<String>,
    pub(crate) key: Vec<u8>,
}

/// The key for wrapping and the key of the MAC.
fn keys(kek: &[u8], mac: Usage, identifier: [u8; 8]) -> [Vec<u8>; 2] {
    [Usage::KeyEncryption, mac].map(|usage| derive(kek, usage, Algorithm::Aes256, identifier))
}

/// Opens a block that Tillward made. `None` where the MAC is another.
pub(crate) fn open_block(kek: &[u8], block: &[u8]) -> Option<Opened> {
    let text = std::str::from_utf8(block).expect("text");
    let [wrapping, authenticating] = keys(kek, Usage::MacGeneration, *b"TWEXPORT");
    let (authenticated, mac) = text.split_at(text.len() - 32);
    if hex(mac) != cmac(&authenticating, authenticated.as_bytes()) {
        return None;
    }
    assert_eq!((&text[..1], text[1..5].parse()), ("9", Ok(text.len())));
    let (label, wrapped) = match &authenticated[11..16] {
        "N0000" => (None, &authenticated[16..]),
        "N0100" => {
            let length = usize::from(hex(&authenticated[18..20])[0]);
            assert_eq!(&authenticated[16..18], "LB");
            (Some(authenticated[20..16 + length].to_owned()), &authenticated[16 + length..])
        }
        other => panic!("{other}"),
    };
    Some(Opened { attributes: text[5..11].to_owned(), label, key: unwrap(&wrapping, &hex(wrapped)).expect("unwraps") })
}

/// Makes a block for Tillward. `attributes` as in [`Opened`].
pub(crate) fn make_block(kek: &[u8], attributes: &str, label: Option<&str>, key: &[u8]) -> Vec<u8> {
    let [wrapping, authenticating] = keys(kek, Usage::MacVerification, *b"TWIMPORT");
    seal(&authenticating, attributes, label, &wrap(&wrapping, key))
}

/// The same, with a wrapped key that is there already.
pub(crate) fn seal(authenticating: &[u8], attributes: &str, label: Option<&str>, wrapped: &[u8]) -> Vec<u8> {
    let label = label.map(|label| format!("LB{:02X}{label}", label.len() + 4));
    let count = usize::from(label.is_some());
    let rest = label.unwrap_or_default() + &data_encoding::HEXUPPER.encode(wrapped);
    let text = format!("9{:04}{attributes}N{count:02}00{rest}", 16 + rest.len() + 32);
    let mac = cmac(authenticating, text.as_bytes());
    (text + &data_encoding::HEXUPPER.encode(&mac)).into_bytes()
}

/// The keys of [`make_block`], for a test that makes a bad block.
pub(crate) fn import_keys(kek: &[u8]) -> [Vec<u8>; 2] {
    keys(kek, Usage::MacVerification, *b"TWIMPORT")
}

fn hex(digits: &str) -> Vec<u8> {
    data_encoding::HEXUPPER.decode(digits.as_bytes()).expect("upper-case hexadecimal")
}
