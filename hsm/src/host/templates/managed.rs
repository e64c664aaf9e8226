//! Designs of the managed keys: everything follows from the label, and each key may do one thing.

use cryptoki::object::{Attribute, AttributeType};

use super::{BELOW_BDK, Bound, DERIVE, Design, NOTHING, SIGN, Use, VERIFY, sealed, session_aes};
use crate::managed::{KeyAlgorithm, KeyRef, Purpose};
use crate::model::{KeyKind, Profile};

/// What a wrap key brings in is the caller's own and can be read: it cannot be used, stored, or mistaken for a key of the token.
pub(in crate::host) const CALLERS: Bound = &[
    (AttributeType::Token, false),
    (AttributeType::Sensitive, false),
    (AttributeType::Extractable, true),
    (AttributeType::Encrypt, false),
    (AttributeType::Decrypt, false),
    (AttributeType::Sign, false),
    (AttributeType::Verify, false),
    (AttributeType::Wrap, false),
    (AttributeType::Unwrap, false),
    (AttributeType::Derive, false),
];

/// Makes and verifies MACs.
const MAC: Use = Use { sign: true, verify: true, ..NOTHING };
/// Encrypts and decrypts; what is wrapped under another key it never sees.
const ENCRYPT: Use = Use { encrypt: true, decrypt: true, ..NOTHING };
/// Wraps what callers bring, and unwraps it.
const WRAP: Use = Use { wrap: true, unwrap: true, ..NOTHING };

/// The design that a label of this class says.
pub(super) fn design(label: &str) -> Option<Design> {
    let KeyRef { purpose, algorithm, .. } = KeyRef::parse(label)?;
    let (kind, bits) = kind(algorithm);
    let (usage, public) = match purpose {
        Purpose::Sign | Purpose::Ca => (SIGN, VERIFY),
        Purpose::Mac => (MAC, NOTHING),
        Purpose::Encrypt => (ENCRYPT, NOTHING),
        Purpose::Wrap => (WRAP, NOTHING),
        Purpose::Derive => (DERIVE, NOTHING),
    };
    Some(Design {
        label: label.to_owned(),
        kind,
        bits,
        usage,
        public,
        copyable: false,
        unwraps: (purpose == Purpose::Wrap).then_some(CALLERS),
        derives: (purpose == Purpose::Derive).then_some(BELOW_BDK),
    })
}

fn kind(algorithm: KeyAlgorithm) -> (KeyKind, u16) {
    match algorithm {
        KeyAlgorithm::EcP256 => (KeyKind::P256, 256),
        KeyAlgorithm::EcP384 => (KeyKind::P384, 384),
        KeyAlgorithm::Ed25519 => (KeyKind::Ed25519, 256),
        KeyAlgorithm::Rsa3072 => (KeyKind::Rsa, 3072),
        KeyAlgorithm::Rsa4096 => (KeyKind::Rsa, 4096),
        KeyAlgorithm::Aes128 => (KeyKind::Aes, 128),
        KeyAlgorithm::Aes256 => (KeyKind::Aes, 256),
        KeyAlgorithm::HmacSha256 => (KeyKind::GenericSecret, 256),
    }
}

/// Key material of a caller on its way in: there to be wrapped and destroyed at once.
pub(in crate::host) fn callers_to_be_wrapped(material: &[u8]) -> Vec<Attribute> {
    let mut template = session_aes(NOTHING, true);
    template.push(Attribute::Value(material.to_vec()));
    sealed(template)
}

/// Key material of a caller on its way back: there to be read and destroyed at once. AES, because its lengths are those that are taken.
pub(in crate::host) fn callers_to_be_read(profile: &Profile, length: usize) -> Vec<Attribute> {
    let mut template = session_aes(NOTHING, true);
    for attribute in &mut template {
        if let Attribute::Sensitive(sensitive) = attribute {
            *sensitive = false;
        }
    }
    if profile.value_len_on_unwrap {
        template.push(Attribute::ValueLen(u64::try_from(length).unwrap_or(u64::MAX).into()));
    }
    sealed(template)
}

/// For probes: a wrap key as [`design`] has it, as a session object.
pub(in crate::host) fn probe_wrap_key(profile: &Profile) -> Vec<Attribute> {
    let mut template = session_aes(WRAP, false);
    template.push(Attribute::ValueLen(32_u64.into()));
    if profile.unwrap_template {
        template.push(super::ffi::unwrap_template(CALLERS));
    }
    sealed(template)
}

/// For probes: an AES key with a value that everybody knows, to encrypt and decrypt.
pub(in crate::host) fn probe_encrypt_key(value: &[u8]) -> Vec<Attribute> {
    super::public_test_value(value, ENCRYPT, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::templates::{designs, is_made};

    fn every_key() -> Vec<KeyRef> {
        let all = Purpose::ALL.into_iter().flat_map(|purpose| KeyAlgorithm::ALL.map(|algorithm| (purpose, algorithm)));
        all.filter(|(purpose, algorithm)| purpose.takes(*algorithm))
            .map(|(purpose, algorithm)| KeyRef { name: "a".parse().expect("a name"), version: 1, purpose, algorithm })
            .collect()
    }

    #[test]
    fn a_label_has_one_design_and_its_key_does_one_thing() {
        for key in every_key() {
            let [design] = &designs(&key.label())[..] else { panic!("{}", key.label()) };
            let Use { encrypt, decrypt, sign, verify, wrap, unwrap, derive } = design.usage;
            let pairs = [encrypt || decrypt, sign || verify, wrap || unwrap, derive];
            assert_eq!(pairs.into_iter().filter(|set| *set).count(), 1, "{}", key.label());
            let flags = design.private_flags();
            for flag in
                [Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Copyable(false), Attribute::Modifiable(false)]
            {
                assert!(flags.contains(&flag), "{}: {flag:?}", key.label());
            }
            assert_eq!(design.unwraps.is_some(), key.purpose == Purpose::Wrap, "{}", key.label());
            assert_eq!(design.is_pair(), key.algorithm.is_pair());
        }
    }

    #[test]
    fn no_two_purposes_share_a_mechanism_that_gives_one_what_the_other_keeps() {
        let profile = Profile { kwp: Some(0x210B), ..crate::host::templates::tests::profile() };
        for key in every_key() {
            let design = designs(&key.label()).remove(0);
            assert!(is_made(&design, &profile));
            let mechanisms = design.mechanisms(&profile);
            let expected = match (key.purpose, key.algorithm) {
                (Purpose::Sign, KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096) => 2,
                _ => 1,
            };
            assert_eq!(mechanisms.len(), expected, "{}", key.label());
        }
    }

    #[test]
    fn what_a_wrap_key_brings_in_is_what_its_template_says() {
        let profile = crate::host::templates::tests::profile();
        let template = callers_to_be_read(&profile, 16);
        for (attribute, value) in CALLERS {
            let given = template.iter().find(|given| given.attribute_type() == *attribute);
            let given = given.and_then(crate::host::object::flag).map(|(_, value)| value);
            assert_eq!(given, Some(*value), "{attribute:?}");
        }
        for template in [template, callers_to_be_wrapped(&[1; 16]), probe_wrap_key(&profile)] {
            assert_eq!(template.last(), Some(&Attribute::Modifiable(false)));
        }
    }
}
