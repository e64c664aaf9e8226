//! Managed keys, over each of the modules: what they are used for, and that they are used for nothing else.

use std::collections::BTreeMap;

use rsa::pkcs8::DecodePublicKey as _;
use sha2::{Digest as _, Sha256, Sha384};
use tillward_hsm::error::Fault;
use tillward_hsm::{Generated, Hsm, HsmError, KeyAlgorithm, KeyName, KeyRef, Purpose, Refusal, SignatureScheme};

use super::MODULE;
use crate::token::Token;

pub(crate) fn key(name: &str, purpose: Purpose, algorithm: KeyAlgorithm) -> KeyRef {
    KeyRef { name: name.parse().expect("a name"), version: 1, purpose, algorithm }
}

pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, HsmError>) -> Refusal {
    match result.expect_err("a refusal") {
        HsmError::Refused(refusal) => refusal,
        other => panic!("not refused: {other}"),
    }
}

pub(crate) async fn make(hsm: &Hsm, key: &KeyRef) -> Generated {
    let made = hsm.generate_key(key, false).await.unwrap_or_else(|error| panic!("{}: {error}", key.label()));
    assert!(made.record.created, "{}", key.label());
    made
}

/// What the host did about failures, by the action's name.
pub(crate) async fn recoveries(hsm: &Hsm) -> BTreeMap<String, u64> {
    hsm.status().await.expect("status").recoveries
}

/// The signature scheme's own verification, by software that is not the host's.
fn verifies(scheme: SignatureScheme, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
    let digest = Sha256::digest(message);
    match scheme {
        SignatureScheme::Es256 => {
            let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki).expect("P-256");
            key.verify_prehash(&digest, &p256::ecdsa::Signature::from_slice(signature).expect("r | s")).is_ok()
        }
        SignatureScheme::Es384 => {
            let key = p384::ecdsa::VerifyingKey::from_public_key_der(spki).expect("P-384");
            key.verify_prehash(&Sha384::digest(message), &p384::ecdsa::Signature::from_slice(signature).expect("r | s")).is_ok()
        }
        SignatureScheme::EdDsa => {
            let point = spki.last_chunk::<32>().expect("RFC 8410");
            let provider = rustls::crypto::ring::default_provider();
            let algorithms = provider.signature_verification_algorithms.all;
            let ed25519 =
                algorithms.iter().find(|known| known.signature_alg_id() == rustls_pki_types::alg_id::ED25519).expect("ring has it");
            ed25519.verify_signature(point, message, signature).is_ok()
        }
        SignatureScheme::Ps256 => {
            let key = rsa::RsaPublicKey::from_public_key_der(spki).expect("RSA");
            key.verify(rsa::Pss::<Sha256>::new(), &digest, signature).is_ok()
        }
        SignatureScheme::Rs256 => {
            let key = rsa::RsaPublicKey::from_public_key_der(spki).expect("RSA");
            key.verify(rsa::Pkcs1v15Sign::new::<Sha256>(), &digest, signature).is_ok()
        }
    }
}

/// What is given to the host to sign.
fn input(scheme: SignatureScheme, message: &[u8]) -> Vec<u8> {
    match scheme {
        SignatureScheme::EdDsa => message.to_vec(),
        SignatureScheme::Es384 => Sha384::digest(message).to_vec(),
        _ => Sha256::digest(message).to_vec(),
    }
}

async fn signs(hsm: &Hsm, key: &KeyRef, spki: &[u8]) {
    for scheme in SignatureScheme::of(key.algorithm) {
        let digest = input(*scheme, b"message");
        let signature = hsm.key_sign(key, *scheme, digest.clone()).await.expect("signs");
        assert!(verifies(*scheme, spki, b"message", &signature), "{} {}", key.label(), scheme.name());
        assert!(!verifies(*scheme, spki, b"other", &signature), "{} {}", key.label(), scheme.name());
        if *scheme != SignatureScheme::EdDsa {
            for wrong in [&digest[1..], &[&digest[..], &[0]].concat(), &[7; 1000]] {
                let refused = refusal(hsm.key_sign(key, *scheme, wrong.to_vec()).await);
                assert!(matches!(refused, Refusal::InvalidInput { .. }), "{refused:?}");
            }
        }
    }
    for scheme in SignatureScheme::ALL.into_iter().filter(|scheme| !SignatureScheme::of(key.algorithm).contains(scheme)) {
        let refused = refusal(hsm.key_sign(key, scheme, input(scheme, b"message")).await);
        assert!(matches!(refused, Refusal::InvalidInput { .. }), "{} by {}: {refused:?}", key.label(), scheme.name());
    }
}

async fn macs(hsm: &Hsm, key: &KeyRef) {
    let mac = hsm.key_mac(key, b"message".to_vec()).await.expect("a MAC");
    assert_eq!(mac.len(), if key.algorithm == KeyAlgorithm::HmacSha256 { 32 } else { 16 });
    assert_eq!(hsm.key_mac(key, b"message".to_vec()).await.expect("again"), mac);
    assert_ne!(hsm.key_mac(key, b"other".to_vec()).await.expect("a MAC"), mac);
    hsm.key_verify_mac(key, b"message".to_vec(), mac.clone()).await.expect("verifies");
    let mut wrong = mac.clone();
    wrong[0] ^= 1;
    for wrong in [wrong, mac[..8].to_vec(), [&mac[..], &[0]].concat(), Vec::new()] {
        assert_eq!(refusal(hsm.key_verify_mac(key, b"message".to_vec(), wrong).await), Refusal::MacMismatch);
    }
    assert_eq!(refusal(hsm.key_verify_mac(key, b"other".to_vec(), mac).await), Refusal::MacMismatch);
    let longest = vec![1; 32 * 1024];
    let mac = hsm.key_mac(key, longest.clone()).await.expect("32 KiB");
    hsm.key_verify_mac(key, longest, mac).await.expect("verifies");
    assert!(matches!(refusal(hsm.key_mac(key, vec![0; 32 * 1024 + 1]).await), Refusal::InvalidInput { .. }));
}

async fn encrypts(hsm: &Hsm, key: &KeyRef) {
    let mut nonces = std::collections::HashSet::new();
    for plaintext in [&b""[..], b"a", &[7; 16], &vec![9; 32 * 1024]] {
        let sealed = hsm.key_encrypt(key, b"aad".to_vec(), plaintext).await.expect("encrypts");
        assert_eq!(sealed.len(), plaintext.len() + 28);
        assert!(nonces.insert(sealed[..12].to_vec()), "a nonce came twice");
        let opened = hsm.key_decrypt(key, b"aad".to_vec(), sealed).await.expect("decrypts");
        assert_eq!(&opened[..], plaintext);
    }
    let no_aad = hsm.key_encrypt(key, Vec::new(), b"text").await.expect("encrypts");
    assert_eq!(&hsm.key_decrypt(key, Vec::new(), no_aad).await.expect("decrypts")[..], b"text");
    let refused = refusal(hsm.key_encrypt(key, Vec::new(), &vec![0; 32 * 1024 + 1]).await);
    assert!(matches!(refused, Refusal::InvalidInput { .. }), "{refused:?}");
}

async fn wraps(hsm: &Hsm, key: &KeyRef) {
    for length in [16, 24, 32] {
        let material: Vec<u8> = (0_u8..).take(length).collect();
        let wrapped = hsm.key_wrap(key, &material).await.expect("wraps");
        assert_eq!(wrapped.len(), length + 8);
        assert_eq!(hsm.key_unwrap(key, wrapped).await.expect("unwraps")[..], material);
    }
    for length in [0, 1, 8, 15, 17, 20, 31, 33, 48] {
        let refused = refusal(hsm.key_wrap(key, &vec![7; length]).await);
        assert!(matches!(refused, Refusal::InvalidInput { .. }), "{length}: {refused:?}");
        let refused = refusal(hsm.key_unwrap(key, vec![7; length + 8]).await);
        assert!(matches!(refused, Refusal::InvalidInput { .. }), "{length}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_that_is_offered_is_made_once_read_back_and_does_what_it_is_for() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    let pid = hsm.status().await.expect("status").pid;
    let offers = hsm.offers().await.expect("offers");
    for algorithm in KeyAlgorithm::ALL {
        assert!(offers.iter().any(|(_, offered)| *offered == algorithm), "{} of this module", algorithm.name());
    }
    let before = recoveries(&hsm).await;
    for (purpose, algorithm) in offers {
        let key = key("acme", purpose, algorithm);
        let made = make(&hsm, &key).await;
        let record = &made.record;
        assert_eq!((record.label.clone(), made.escrow.as_ref()), (key.label(), None));
        let flag = |name: &str| record.attributes.get(name).copied();
        let kept = ["SENSITIVE", "PRIVATE", "LOCAL", "NEVER_EXTRACTABLE", "ALWAYS_SENSITIVE"].map(flag);
        assert_eq!(kept, [Some(true); 5], "{}", key.label());
        assert_eq!(["EXTRACTABLE", "MODIFIABLE", "COPYABLE"].map(flag), [Some(false); 3], "{}", key.label());
        assert_eq!(record.kcv.is_some(), purpose == Purpose::Mac && algorithm != KeyAlgorithm::HmacSha256, "{}", key.label());
        assert_eq!(record.fingerprint.is_some(), algorithm.is_pair(), "{}", key.label());

        let again = hsm.generate_key(&key, false).await.expect("is there");
        assert!(!again.record.created);
        assert_eq!(again.record, hsm.read_key(&key).await.expect("reads").record);
        let unchanged = |made: &Generated| (made.record.fingerprint, made.record.kcv, made.record.check_value.clone());
        assert_eq!(unchanged(&again), unchanged(&made));

        match purpose {
            Purpose::Sign => signs(&hsm, &key, record.spki.as_deref().expect("a pair")).await,
            Purpose::Mac => macs(&hsm, &key).await,
            Purpose::Encrypt => encrypts(&hsm, &key).await,
            Purpose::Wrap => wraps(&hsm, &key).await,
            Purpose::Derive | Purpose::Ca => panic!("{} is for ceremonies", key.label()),
        }
    }
    assert_eq!((recoveries(&hsm).await, hsm.status().await.expect("status").pid), (before, pid));
    assert!(hsm.is_ready());
    let labels = hsm.inventory().await.expect("inventory").into_iter().filter(|key| key.label.starts_with("key:acme:")).count();
    assert_eq!(labels, hsm.offers().await.expect("offers").len());
    hsm.shutdown().await;
}

/// Everything that can be asked of a key.
const OPERATIONS: [(&str, Purpose); 7] = [
    ("sign", Purpose::Sign),
    ("mac", Purpose::Mac),
    ("verify-mac", Purpose::Mac),
    ("encrypt", Purpose::Encrypt),
    ("decrypt", Purpose::Encrypt),
    ("wrap", Purpose::Wrap),
    ("unwrap", Purpose::Wrap),
];

async fn ask(hsm: &Hsm, operation: &str, key: &KeyRef) -> Result<(), HsmError> {
    match operation {
        "sign" => {
            let scheme = SignatureScheme::of(key.algorithm).first().copied().unwrap_or(SignatureScheme::Es256);
            hsm.key_sign(key, scheme, input(scheme, b"message")).await.map(drop)
        }
        "mac" => hsm.key_mac(key, b"message".to_vec()).await.map(drop),
        "verify-mac" => hsm.key_verify_mac(key, b"message".to_vec(), vec![0; 16]).await,
        "encrypt" => hsm.key_encrypt(key, Vec::new(), b"message").await.map(drop),
        "decrypt" => hsm.key_decrypt(key, Vec::new(), vec![0; 60]).await.map(drop),
        "wrap" => hsm.key_wrap(key, &[0; 32]).await.map(drop),
        "unwrap" => hsm.key_unwrap(key, vec![0; 40]).await.map(drop),
        other => panic!("{other}"),
    }
}

/// Clulow 2003: conflicting uses, asked of the host as a service would that was taken over.
#[tokio::test(flavor = "multi_thread")]
async fn no_operation_is_done_with_a_key_of_another_purpose() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    let before = recoveries(&hsm).await;
    for purpose in Purpose::ALL {
        let algorithm = KeyAlgorithm::ALL.into_iter().find(|algorithm| purpose.takes(*algorithm)).expect("one of them");
        let asked = key("one", purpose, algorithm);
        let made = hsm.generate_key(&asked, false).await;
        if matches!(purpose, Purpose::Derive | Purpose::Ca) {
            assert!(matches!(refusal(made), Refusal::NotOffered { .. }), "{}", asked.label());
        } else {
            made.expect("makes");
        }
        for (operation, of) in OPERATIONS.into_iter().filter(|(_, of)| *of != purpose) {
            let refused = refusal(ask(&hsm, operation, &asked).await);
            assert!(matches!(refused, Refusal::InvalidInput { .. }), "{operation} with {}: {refused:?}", asked.label());
            // The same key under a label that says the purpose that the operation wants: there is none of that label, or none can be.
            let renamed = KeyRef { purpose: of, ..asked.clone() };
            if !offers_both(purpose, of) {
                let refused = refusal(ask(&hsm, operation, &renamed).await);
                let other = matches!(refused, Refusal::InvalidInput { .. } | Refusal::UnknownKey { .. });
                assert!(other, "{operation} with {}: {refused:?}", renamed.label());
            }
        }
    }
    assert_eq!(recoveries(&hsm).await, before);
    hsm.canary().await.expect("sings");
    hsm.shutdown().await;
}

/// Keys of the other purpose's first algorithm are made by the test, too.
fn offers_both(one: Purpose, other: Purpose) -> bool {
    let first = |purpose: Purpose| KeyAlgorithm::ALL.into_iter().find(|algorithm| purpose.takes(*algorithm));
    first(one) == first(other)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixed_keys_and_the_partners_keys_cannot_be_named_as_managed_keys() {
    for label in ["storage-kek", "key:a", "kek:acme:1:kwp", "bdk-data:acme:AC000002", "a:1:wrap:aes-256", "../a", "", "a b"] {
        let name: Result<KeyName, _> = label.parse();
        // What parses is a name below `key:`, which no fixed key's label begins with.
        if let Ok(name) = name {
            assert!(!name.as_str().contains(':') && key(name.as_str(), Purpose::Wrap, KeyAlgorithm::Aes256).label().starts_with("key:"));
        }
    }
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    for fixed in ["storage-kek", "storage-mac", "root-ca", "attestation-signing", "export-kek"] {
        for (operation, purpose) in OPERATIONS {
            let algorithm = KeyAlgorithm::ALL.into_iter().find(|algorithm| purpose.takes(*algorithm)).expect("one of them");
            let refused = refusal(ask(&hsm, operation, &key(fixed, purpose, algorithm)).await);
            assert!(matches!(refused, Refusal::UnknownKey { .. }), "{operation} with {fixed}: {refused:?}");
        }
    }
    // A version and a purpose that do not go together make no label.
    let version = KeyRef { version: 0, ..key("a", Purpose::Sign, KeyAlgorithm::EcP256) };
    let algorithm = key("a", Purpose::Wrap, KeyAlgorithm::Aes128);
    for impossible in [version, algorithm] {
        let refused = refusal(hsm.read_key(&impossible).await);
        assert!(matches!(refused, Refusal::InvalidInput { .. }), "{refused:?}");
        hsm.generate_key(&impossible, false).await.expect_err("is not made");
    }
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ciphertext_that_was_changed_is_the_callers_fault_and_moves_nothing() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    let (seals, other, wraps) = (
        key("seals", Purpose::Encrypt, KeyAlgorithm::Aes256),
        key("other", Purpose::Encrypt, KeyAlgorithm::Aes256),
        key("wraps", Purpose::Wrap, KeyAlgorithm::Aes256),
    );
    for key in [&seals, &other, &wraps] {
        make(&hsm, key).await;
    }
    let (before, status) = (recoveries(&hsm).await, hsm.status().await.expect("status"));
    let sealed = hsm.key_encrypt(&seals, b"aad".to_vec(), b"sixteen bytes...").await.expect("encrypts");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x40;
        let result = hsm.key_decrypt(&seals, b"aad".to_vec(), changed).await;
        assert_eq!(result.as_ref().expect_err("changed").fault(), Fault::Caller);
        assert_eq!(refusal(result), Refusal::DecryptionFailed, "byte {at}");
    }
    for cut in [0, 11, 12, 27, 28, 43] {
        assert_eq!(refusal(hsm.key_decrypt(&seals, b"aad".to_vec(), sealed[..cut].to_vec()).await), Refusal::DecryptionFailed, "{cut}");
    }
    assert_eq!(refusal(hsm.key_decrypt(&seals, b"other".to_vec(), sealed.clone()).await), Refusal::DecryptionFailed);
    assert_eq!(refusal(hsm.key_decrypt(&other, b"aad".to_vec(), sealed.clone()).await), Refusal::DecryptionFailed);
    let wrapped = hsm.key_wrap(&wraps, &[7; 32]).await.expect("wraps");
    for at in 0..wrapped.len() {
        let mut changed = wrapped.clone();
        changed[at] ^= 0x40;
        assert_eq!(refusal(hsm.key_unwrap(&wraps, changed).await), Refusal::UnwrapFailed, "byte {at}");
    }
    // The breaker is closed, no recovery took place, the same host serves.
    let after = hsm.status().await.expect("status");
    assert_eq!((recoveries(&hsm).await, after.pid, after.generation), (before, status.pid, status.generation));
    assert_eq!(&hsm.key_decrypt(&seals, b"aad".to_vec(), sealed).await.expect("decrypts")[..], b"sixteen bytes...");
    assert!(hsm.is_ready());
    hsm.shutdown().await;
}
