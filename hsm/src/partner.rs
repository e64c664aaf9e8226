//! A partner's public key, as it arrives for the wrapping of a KEK. Pure.

use der::asn1::{AnyRef, BitStringRef, UintRef};
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, Sequence};
use spki::SubjectPublicKeyInfo;

/// RFC 8017 A.1: rsaEncryption.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// SP 800-57 part 1, table 2: 128 bits of strength; a KEK of 256 must not travel under less than the best that tokens take widely.
pub const LEAST_BITS: usize = 3072;
/// More than any token takes.
const MOST_BITS: usize = 8192;

/// Why bytes are not a public key that a KEK may be wrapped under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the partner's public key: {0}")]
pub struct PartnerKeyError(pub &'static str);

/// An RSA public key of at least 3072 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerKey {
    /// Big endian, without leading zeros.
    pub modulus: Vec<u8>,
    /// Big endian, without leading zeros.
    pub exponent: Vec<u8>,
}

/// RFC 8017 A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl PartnerKey {
    /// Reads a `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7, RFC 3279 §2.3.1), DER.
    ///
    /// # Errors
    /// [`PartnerKeyError`] says what is wrong.
    pub fn parse(spki: &[u8]) -> Result<Self, PartnerKeyError> {
        let refused = PartnerKeyError("SubjectPublicKeyInfo of an RSA key, DER");
        let info = SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>>::from_der(spki).map_err(|_| refused)?;
        if info.algorithm.oid != RSA_ENCRYPTION || info.algorithm.parameters != Some(AnyRef::NULL) {
            return Err(refused);
        }
        let key = info.subject_public_key.as_bytes().ok_or(refused)?;
        let key = RsaPublicKey::from_der(key).map_err(|_| refused)?;
        // One key has one form, so that its fingerprint is one.
        if info.to_der().ok().as_deref() != Some(spki) {
            return Err(refused);
        }
        let (modulus, exponent) = (key.modulus.as_bytes(), key.exponent.as_bytes());
        let length = bits(modulus);
        if !(LEAST_BITS..=MOST_BITS).contains(&length) {
            return Err(PartnerKeyError("3072 to 8192 bits"));
        }
        if modulus.last().is_none_or(|last| last % 2 == 0) {
            return Err(PartnerKeyError("its modulus is even"));
        }
        // FIPS 186-5 A.1.1: odd, above 2^16, below 2^256.
        if exponent.last().is_none_or(|last| last % 2 == 0) || !(17..=256).contains(&bits(exponent)) {
            return Err(PartnerKeyError("its exponent: odd, at least 65537, at most 256 bits"));
        }
        Ok(Self { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
    }
}

fn bits(number: &[u8]) -> usize {
    let zeros = number.first().map_or(0, |first| usize::try_from(first.leading_zeros()).unwrap_or(8));
    number.len().saturating_mul(8).saturating_sub(zeros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::asn1::{Any, BitString, Null};
    use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

    fn spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let key = RsaPublicKey { modulus: UintRef::new(modulus).expect("a number"), exponent: UintRef::new(exponent).expect("a number") };
        let algorithm = AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(Any::from(Null)) };
        let subject_public_key = BitString::from_bytes(&key.to_der().expect("DER")).expect("bits");
        SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().expect("DER")
    }

    fn number(bits: usize, last: u8) -> Vec<u8> {
        let mut number = vec![0x80; bits / 8];
        number[bits / 8 - 1] = last;
        number
    }

    #[test]
    fn only_a_strong_key_in_its_one_form_is_read() {
        let good = spki(&number(3072, 1), &[1, 0, 1]);
        assert_eq!(PartnerKey::parse(&good), Ok(PartnerKey { modulus: number(3072, 1), exponent: vec![1, 0, 1] }));
        let short_by_one_bit = [vec![0x7F], number(3064, 1)].concat();
        for (modulus, exponent) in [
            (number(1024, 1), vec![1, 0, 1]),
            (number(2048, 1), vec![1, 0, 1]),
            (short_by_one_bit, vec![1, 0, 1]),
            (number(16384, 1), vec![1, 0, 1]),
            (number(3072, 2), vec![1, 0, 1]),
            (number(3072, 1), vec![3]),
            (number(3072, 1), vec![0xFF, 0xFF]),
            (number(3072, 1), vec![1, 0, 0]),
            (number(3072, 1), number(3064, 1)),
        ] {
            assert!(PartnerKey::parse(&spki(&modulus, &exponent)).is_err(), "{} bits, {exponent:?}", modulus.len() * 8);
        }
        assert!(PartnerKey::parse(&[&good[..], &[0]].concat()).is_err());
        assert!(PartnerKey::parse(&good[..good.len() - 1]).is_err());
        let ec = p256::SecretKey::from_slice(&[7; 32]).expect("a scalar").public_key();
        let ec = p256::pkcs8::EncodePublicKey::to_public_key_der(&ec).expect("DER").into_vec();
        assert!(PartnerKey::parse(&ec).is_err());
    }
}
