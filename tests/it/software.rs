//! What a phone computes, in software: the other side of every derivation, MAC and wrapping that the token does.

use aes::cipher::{BlockCipherEncrypt, BlockModeEncrypt, KeyInit, KeyIvInit};
use cmac::{Cmac, Mac};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use rsa::pkcs8::DecodePublicKey;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tillward_hsm::derivation::{derivation_data, transaction_identifier};
use tillward_hsm::{Algorithm, Ikid, KeyBlock, Ksn, OaepHash, OpenEnrolment, TransportKind, Usage};

/// AES-ECB(parent, derivation data) cut to length.
pub(crate) fn derive(parent: &[u8], usage: Usage, algorithm: Algorithm, identifier: [u8; 8]) -> Vec<u8> {
    let mut data = derivation_data(usage, algorithm, identifier);
    for block in data.chunks_exact_mut(16) {
        let block: &mut [u8; 16] = block.try_into().expect("16");
        match parent.len() {
            16 => aes::Aes128::new_from_slice(parent).expect("16").encrypt_block(block.into()),
            24 => aes::Aes192::new_from_slice(parent).expect("24").encrypt_block(block.into()),
            _ => aes::Aes256::new_from_slice(parent).expect("32").encrypt_block(block.into()),
        }
    }
    data.truncate(algorithm.bytes());
    data
}

/// AES-CMAC.
pub(crate) fn cmac(key: &[u8], message: &[u8]) -> [u8; 16] {
    match key.len() {
        16 => Cmac::<aes::Aes128>::new_from_slice(key).expect("16").chain_update(message).finalize().into_bytes().into(),
        24 => Cmac::<aes::Aes192>::new_from_slice(key).expect("24").chain_update(message).finalize().into_bytes().into(),
        _ => Cmac::<aes::Aes256>::new_from_slice(key).expect("32").chain_update(message).finalize().into_bytes().into(),
    }
}

/// RSA-OAEP to a `SubjectPublicKeyInfo`.
pub(crate) fn oaep(hash: OaepHash, spki: &[u8], secret: &[u8]) -> Vec<u8> {
    let key = rsa::RsaPublicKey::from_public_key_der(spki).expect("an RSA key");
    let rng = &mut UnwrapErr(SysRng);
    match hash {
        OaepHash::Sha1 => key.encrypt(rng, rsa::Oaep::<Sha1>::new(), secret),
        OaepHash::Sha256 => key.encrypt(rng, rsa::Oaep::<Sha256>::new(), secret),
    }
    .expect("encrypts")
}

/// Key agreement with a `SubjectPublicKeyInfo` (protocol §3.4): an ephemeral point and the secret under AES-KWP.
pub(crate) fn agreement(spki: &[u8], secret: &[u8]) -> Vec<u8> {
    let key = p256::PublicKey::from_public_key_der(spki).expect("a P-256 key");
    let ephemeral = p256::SecretKey::from_slice(&random::<32>()).expect("a scalar, all but certainly");
    let agreed = p256::ecdh::diffie_hellman(ephemeral.to_nonzero_scalar(), key.as_affine());
    let kek = tillward_hsm::agreement::key(agreed.raw_secret_bytes(), &tillward_hsm::agreement::SHARED_INFO);
    let mut wrapped = vec![0; secret.len().next_multiple_of(8) + 8];
    let kwp = aes_kw::KwpAes256::new_from_slice(&*kek).expect("32");
    let wrapped = kwp.wrap_key(secret, &mut wrapped).map(<[u8]>::to_vec).unwrap_or_default();
    [&ephemeral.public_key().to_sec1_bytes()[..], &wrapped].concat()
}

/// The same with the point on the other side of the curve: y becomes p - y.
pub(crate) fn mirrored(wrapped: &[u8]) -> Vec<u8> {
    let compressed = [&[3 ^ (wrapped[64] & 1)][..], &wrapped[1..33]].concat();
    let point = p256::PublicKey::from_sec1_bytes(&compressed).expect("a point").to_sec1_point(false);
    [point.as_bytes(), &wrapped[65..]].concat()
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}

/// A phone: its second secret and the IKID of its data key.
pub(crate) struct Phone {
    pub(crate) secret: [u8; 32],
    pub(crate) ikid: Ikid,
}

impl Phone {
    pub(crate) fn new(ikid: Ikid) -> Self {
        Self { secret: random(), ikid }
    }

    /// `K_mac` over a digest.
    pub(crate) fn mac(&self, digest: &[u8; 32]) -> [u8; 16] {
        cmac(&derive(&self.secret, Usage::MacBoth, Algorithm::Aes256, self.ikid.0), digest)
    }

    pub(crate) fn enrolment(&self, wrapped_secret: Vec<u8>) -> OpenEnrolment {
        let transcript = Sha256::digest(b"a transcript").into();
        OpenEnrolment { transport: TransportKind::Rsa, wrapped_secret, ikid: self.ikid, transcript, mac: self.mac(&transcript) }
    }

    /// Unwraps an initial key with `K_kek`.
    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Vec<u8> {
        let kek = derive(&self.secret, Usage::KeyEncryption, Algorithm::Aes256, self.ikid.0);
        let kek = aes_kw::KwpAes256::new_from_slice(&kek).expect("32");
        let mut buffer = [0; 64];
        kek.unwrap_key(wrapped, &mut buffer).expect("unwraps").to_vec()
    }
}

/// The working key of a usage, from the initial key.
pub(crate) fn working_key(initial: &[u8], algorithm: Algorithm, ksn: Ksn, usage: Usage) -> Vec<u8> {
    let mut key = initial.to_vec();
    for register in tillward_hsm::ksn::path(ksn.counter().get()) {
        key = derive(&key, Usage::Derivation, algorithm, transaction_identifier(ksn.ikid(), register));
    }
    derive(&key, usage, algorithm, transaction_identifier(ksn.ikid(), ksn.counter().get()))
}

/// A payment message (protocol §7): ciphertext and MAC. `pad` appends the padding.
pub(crate) fn payment(initial: &[u8], ksn: Ksn, iv: [u8; 16], aad: &[u8], padded: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let algorithm = Algorithm::of_bits(u16::try_from(initial.len() * 8).expect("small")).expect("AES");
    let key = working_key(initial, algorithm, ksn, Usage::DataEncryption);
    let mut blocks: Vec<aes::Block> = padded.chunks_exact(16).map(|block| aes::Block::try_from(block).expect("16")).collect();
    if key.len() == 16 {
        cbc::Encryptor::<aes::Aes128>::new_from_slices(&key, &iv).expect("fits").encrypt_blocks(&mut blocks);
    } else {
        cbc::Encryptor::<aes::Aes256>::new_from_slices(&key, &iv).expect("fits").encrypt_blocks(&mut blocks);
    }
    let ciphertext: Vec<u8> = blocks.into_iter().flatten().collect();
    let length = u32::try_from(aad.len()).expect("short").to_be_bytes();
    let message = [&ksn.to_bytes()[..], &iv, &length, aad, &ciphertext].concat();
    let mac = cmac(&working_key(initial, algorithm, ksn, Usage::MacGeneration), &message);
    (ciphertext, mac)
}

/// PKCS#7.
pub(crate) fn pad(text: &[u8]) -> Vec<u8> {
    let padding = 16 - text.len() % 16;
    let mut padded = text.to_vec();
    padded.resize(text.len() + padding, u8::try_from(padding).expect("small"));
    padded
}

/// A key block with one byte changed; `None` where it does not parse any more.
pub(crate) fn tampered(block: &KeyBlock, at: usize) -> Option<KeyBlock> {
    let mut bytes = block.to_bytes();
    bytes[at] ^= 1;
    KeyBlock::parse(&bytes).ok()
}
