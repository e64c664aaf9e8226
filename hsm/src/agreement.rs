//! The second secret by key agreement: `dhSinglePass-stdDH-sha256kdf-scheme` (RFC 5753 §7.1.4, OID 1.3.132.1.11.1) on P-256 with
//! `id-aes256-wrap-pad` (RFC 5649, OID 2.16.840.1.101.3.4.1.48).
//!
//! Its key derivation is that of ANSI X9.63, which PKCS#11 calls `CKD_SHA256_KDF`, so a token does all of it without showing the agreed value.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Length of the phone's ephemeral public key: an uncompressed point (SEC 1 §2.3.3).
pub const POINT: usize = 65;
/// Length of 32 bytes under AES-KWP.
pub const WRAPPED: usize = 40;

/// DER of `ECC-CMS-SharedInfo` (RFC 5753 §7.2): the wrapping algorithm without parameters, no `entityUInfo`, 256 bits of key.
pub const SHARED_INFO: [u8; 23] = [
    0x30, 0x15, 0x30, 0x0B, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x30, 0xA2, 0x06, 0x04, 0x04, 0x00, 0x00, 0x01,
    0x00,
];

/// The key that wraps: the first 32 bytes of the derivation of ANSI X9.63 §5.6.3 with SHA-256, for which one block is enough.
pub fn key(agreed: &[u8], shared_info: &[u8]) -> Zeroizing<[u8; 32]> {
    let hash = Sha256::new().chain_update(agreed).chain_update(1_u32.to_be_bytes()).chain_update(shared_info);
    Zeroizing::new(hash.finalize().into())
}

/// Splits what a phone sent into its point, which is on the curve and not the identity, and the wrapped key. `None` where it is anything else:
/// a module never sees a bad point.
pub fn parse(wrapped: &[u8]) -> Option<(&[u8; POINT], &[u8; WRAPPED])> {
    let (point, blob) = wrapped.split_first_chunk::<POINT>()?;
    let blob = blob.try_into().ok()?;
    // The length alone would let the hybrid form in.
    (point[0] == 4 && p256::PublicKey::from_sec1_bytes(point).is_ok()).then_some((point, blob))
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// NIST CAVS 12.0, `ANSI X9.63-2001 Test Information`, SHA-256: shared secret length 192, `SharedInfo` length 0 and 128, count 0.
    #[test]
    fn the_derivation_is_that_of_the_published_vectors() {
        for (agreed, shared_info, expected) in [
            ("96c05619d56c328ab95fe84b18264b08725b85e33fd34f08", "", "443024c3dae66b95e6f5670601558f71"),
            (
                "22518b10e70f2a3f243810ae3254139efbee04aa57c7af7d",
                "75eef81aa3041e33b80971203d2c0c52",
                "c498af77161cc59f2962b9a713e2b215152d139766ce34a776df11866a69bf2e",
            ),
        ] {
            let [agreed, shared_info, expected] = [agreed, shared_info, expected].map(|hex| HEXLOWER.decode(hex.as_bytes()).expect("hex"));
            assert_eq!(key(&agreed, &shared_info)[..expected.len()], expected);
        }
    }

    #[test]
    fn the_shared_info_is_the_der_of_its_parts() {
        use der::asn1::{ContextSpecific, OctetString};
        use der::{Encode, TagNumber};
        let algorithm = spki::AlgorithmIdentifierOwned { oid: "2.16.840.1.101.3.4.1.48".parse().expect("an OID"), parameters: None };
        let bits = OctetString::new(256_u32.to_be_bytes()).expect("short");
        let bits = ContextSpecific { tag_number: TagNumber(2), value: bits, tag_mode: der::TagMode::Explicit };
        let content = [algorithm.to_der().expect("DER"), bits.to_der().expect("DER")].concat();
        assert_eq!(SHARED_INFO[..2], [0x30, u8::try_from(content.len()).expect("short")]);
        assert_eq!(SHARED_INFO[2..], content);
    }

    #[test]
    fn only_an_uncompressed_point_of_the_curve_with_a_blob_is_read() {
        let point = p256::SecretKey::from_slice(&[7; 32]).expect("a scalar").public_key().to_sec1_bytes();
        let point: [u8; POINT] = point[..].try_into().expect("65 bytes");
        let whole = [&point[..], &[9; WRAPPED]].concat();
        assert_eq!(parse(&whole), Some((&point, &[9; WRAPPED])));
        let mut off_curve = whole.clone();
        off_curve[64] ^= 1;
        let mut hybrid = whole.clone();
        hybrid[0] = 6 | (point[64] & 1);
        let zero = [&[4][..], &[0; 64 + WRAPPED]].concat();
        let identity = vec![0; POINT + WRAPPED];
        for bad in [&whole[..104], &[&whole[..], &[0]].concat(), &off_curve, &hybrid, &zero, &identity, &[]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
