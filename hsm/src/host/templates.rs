//! Every template of the host. A token derives, unwraps and generates what the template says, so the promises about keys are kept here:
//! no usage attribute is left to the module's default (SoftHSM's default for an AES key is encrypt, decrypt, sign, wrap and unwrap).
//!
//! `DESTROYABLE` is true everywhere: a key that does not prove itself is destroyed at once, and the key life cycle ends with it.

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki_sys::{
    CKM_AES_CMAC, CKM_AES_ECB_ENCRYPT_DATA, CKM_AES_GCM, CKM_ECDH1_DERIVE, CKM_ECDSA, CKM_EDDSA, CKM_RSA_PKCS, CKM_RSA_PKCS_OAEP,
    CKM_RSA_PKCS_PSS, CKM_SHA256_HMAC,
};
use der::asn1::ObjectIdentifier;

pub(super) mod managed;

use super::ffi;
use crate::derivation::Algorithm;
use crate::managed::{KekForm, KekRef};
use crate::model::{KeyKind, KeyPurpose, Profile};

/// What a key may do. Everything that is not named is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one flag for each usage attribute of PKCS#11")]
pub(super) struct Use {
    pub(super) encrypt: bool,
    pub(super) decrypt: bool,
    pub(super) sign: bool,
    pub(super) verify: bool,
    pub(super) wrap: bool,
    pub(super) unwrap: bool,
    pub(super) derive: bool,
}

/// No usage at all: an object that is only there to be wrapped, or to be looked at.
pub(super) const NOTHING: Use =
    Use { encrypt: false, decrypt: false, sign: false, verify: false, wrap: false, unwrap: false, derive: false };
/// Makes MACs or signatures.
pub(super) const SIGN: Use = Use { sign: true, ..NOTHING };
/// Verifies MACs, and cannot make one.
pub(super) const VERIFY: Use = Use { verify: true, ..NOTHING };
/// Derives, and nothing else: base keys and the tree below them.
pub(super) const DERIVE: Use = Use { derive: true, ..NOTHING };
/// Wraps and unwraps keys.
const WRAP_UNWRAP: Use = Use { wrap: true, unwrap: true, ..NOTHING };
/// Unwraps, and cannot wrap.
pub(super) const UNWRAP: Use = Use { unwrap: true, ..NOTHING };
/// Wraps, and cannot unwrap.
pub(super) const WRAP: Use = Use { wrap: true, ..NOTHING };
/// Decrypts account data.
pub(super) const DECRYPT: Use = Use { decrypt: true, ..NOTHING };

/// What the token itself holds the keys made under another one to (`CKA_UNWRAP_TEMPLATE`, `CKA_DERIVE_TEMPLATE`): AES keys with these flags.
pub(super) type Bound = &'static [(AttributeType, bool)];

/// Sensitive and never leaves.
const STAYS: Bound = &[(AttributeType::Sensitive, true), (AttributeType::Extractable, false)];
/// Sensitive, and there to be wrapped.
const TO_BE_WRAPPED: Bound = &[(AttributeType::Sensitive, true), (AttributeType::Extractable, true)];
/// Out of its escrow block, or out of what a partner wrapped: there to be wrapped again, and for nothing else. It is what stops wrap and decrypt.
const ONLY_TO_BE_WRAPPED: Bound = &[
    (AttributeType::Sensitive, true),
    (AttributeType::Extractable, true),
    (AttributeType::Encrypt, false),
    (AttributeType::Decrypt, false),
    (AttributeType::Sign, false),
    (AttributeType::Verify, false),
    (AttributeType::Wrap, false),
    (AttributeType::Unwrap, false),
    (AttributeType::Derive, false),
];
/// Below a partner's KEK of the form `key-block`: the key that wraps or unwraps, and the key of the MAC.
const BELOW_KEK: Bound = &[
    (AttributeType::Sensitive, true),
    (AttributeType::Extractable, false),
    (AttributeType::Encrypt, false),
    (AttributeType::Decrypt, false),
    (AttributeType::Derive, false),
];
/// Below a BDK: sensitive, and no use that could give a value away. `EXTRACTABLE` stays open, because an initial key is derived once to be
/// wrapped for its phone.
const BELOW_BDK: Bound = &[
    (AttributeType::Sensitive, true),
    (AttributeType::Encrypt, false),
    (AttributeType::Decrypt, false),
    (AttributeType::Wrap, false),
    (AttributeType::Unwrap, false),
];
/// The key that a key agreement gives: it unwraps one second secret.
const AGREED: Bound = &[
    (AttributeType::Sensitive, true),
    (AttributeType::Extractable, false),
    (AttributeType::Encrypt, false),
    (AttributeType::Decrypt, false),
    (AttributeType::Sign, false),
    (AttributeType::Verify, false),
    (AttributeType::Wrap, false),
    (AttributeType::Derive, false),
];

/// A long-lived key of the design.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Design {
    pub(super) label: String,
    pub(super) kind: KeyKind,
    pub(super) bits: u16,
    /// Of the secret key, or of the private half.
    pub(super) usage: Use,
    /// Of the public half.
    pub(super) public: Use,
    /// Only where the hot path uses a session copy, and a copy keeps what the key promises ([`Profile::copies_sealed`]). kryoptic 1.5 copies a
    /// key that cannot be modified into one that can, SoftHSM 2.6.1 does not copy it at all.
    pub(super) copyable: bool,
    /// `CKA_UNWRAP_TEMPLATE`.
    pub(super) unwraps: Option<Bound>,
    /// `CKA_DERIVE_TEMPLATE`.
    pub(super) derives: Option<Bound>,
}

pub(super) const ACTIVATION_MAC: &str = "activation-mac";
pub(super) const ENROLMENT_TRANSPORT: &str = "enrollment-transport";
pub(super) const ENROLMENT_TRANSPORT_EC: &str = "enrollment-transport-ec";
pub(super) const STORAGE_KEK: &str = "storage-kek";
pub(super) const STORAGE_MAC: &str = "storage-mac";
/// Wraps what may be exported, for its escrow block.
pub(super) const EXPORT_KEK: &str = "export-kek";
pub(super) const ATTESTATION_SIGNING: &str = "attestation-signing";
pub(super) const PERSONALIZATION_SIGNING: &str = "personalization-signing";
pub(super) const ISSUING_CA: &str = "issuing-ca";
pub(super) const ROOT_CA: &str = "root-ca";
pub(super) const AUDIT_SIGNING: &str = "audit-signing";

/// Labels of the keys that every installation has, in the order of their making.
pub(super) const FIXED: [&str; 9] = [
    ACTIVATION_MAC,
    ENROLMENT_TRANSPORT,
    STORAGE_KEK,
    STORAGE_MAC,
    ATTESTATION_SIGNING,
    PERSONALIZATION_SIGNING,
    ROOT_CA,
    ISSUING_CA,
    AUDIT_SIGNING,
];

/// Labels of the keys that an installation has only where the module can use them: nothing else stands still without them.
pub(super) const OPTIONAL: [&str; 2] = [ENROLMENT_TRANSPORT_EC, EXPORT_KEK];

/// The designs of the key that `label` names; more than one where the module decides (audit-signing, copies). Empty for a label that is not ours.
pub(super) fn designs(label: &str) -> Vec<Design> {
    let design = |kind, bits, usage, public| {
        let label = label.to_owned();
        Design { label, kind, bits, usage, public, copyable: false, unwraps: None, derives: None }
    };
    let signing = |kind, bits, copyable| Design { copyable, ..design(kind, bits, SIGN, VERIFY) };
    match label {
        ACTIVATION_MAC => vec![design(KeyKind::GenericSecret, 256, SIGN, NOTHING)],
        // The public half wraps only to probe the hash of OAEP and to prove the pair; phones use the exported key.
        ENROLMENT_TRANSPORT => {
            vec![Design { unwraps: Some(TO_BE_WRAPPED), ..design(KeyKind::Rsa, 3072, UNWRAP, WRAP) }]
        }
        ENROLMENT_TRANSPORT_EC => vec![Design { derives: Some(AGREED), ..design(KeyKind::P256, 256, DERIVE, NOTHING) }],
        STORAGE_KEK => {
            vec![Design { unwraps: Some(STAYS), ..design(KeyKind::Aes, 256, WRAP_UNWRAP, NOTHING) }]
        }
        EXPORT_KEK => vec![Design { unwraps: Some(ONLY_TO_BE_WRAPPED), ..design(KeyKind::Aes, 256, WRAP_UNWRAP, NOTHING) }],
        STORAGE_MAC => vec![design(KeyKind::Aes, 256, Use { sign: true, verify: true, ..NOTHING }, NOTHING)],
        ATTESTATION_SIGNING | PERSONALIZATION_SIGNING => [true, false].map(|copyable| signing(KeyKind::P256, 256, copyable)).into(),
        ISSUING_CA => vec![signing(KeyKind::P256, 256, false)],
        ROOT_CA => vec![signing(KeyKind::P384, 384, false)],
        AUDIT_SIGNING => vec![signing(KeyKind::Ed25519, 256, false), signing(KeyKind::P256, 256, false)],
        _ if parse_bdk(label).is_some() => {
            [128, 256].map(|bits| Design { derives: Some(BELOW_BDK), ..design(KeyKind::Aes, bits, DERIVE, NOTHING) }).into()
        }
        _ => match KekRef::parse(label).map(|kek| kek.form) {
            Some(KekForm::Kwp) => {
                vec![Design { unwraps: Some(ONLY_TO_BE_WRAPPED), ..design(KeyKind::Aes, 256, WRAP_UNWRAP, NOTHING) }]
            }
            Some(KekForm::KeyBlock) => vec![Design { derives: Some(BELOW_KEK), ..design(KeyKind::Aes, 256, DERIVE, NOTHING) }],
            None => managed::design(label).into_iter().collect(),
        },
    }
}

/// Whether `tillward init` makes this design on a module of that profile: not a key for what the module cannot do, and of two designs that
/// differ only in `COPYABLE` the one that the module's copies allow.
pub(super) fn is_made(design: &Design, profile: &Profile) -> bool {
    match design.label.as_str() {
        ENROLMENT_TRANSPORT_EC => profile.ecdh,
        // Without the bound, what comes out of it could be given any use.
        EXPORT_KEK => profile.unwrap_template,
        ATTESTATION_SIGNING | PERSONALIZATION_SIGNING => design.copyable == profile.copies_sealed,
        _ => true,
    }
}

/// Reads the label of a BDK: `bdk-pin:<acquirer>:<BDK id>` or `bdk-data:<acquirer>:<BDK id>`.
pub(super) fn parse_bdk(label: &str) -> Option<(KeyPurpose, &str, crate::ksn::BdkId)> {
    let mut parts = label.split(':');
    let purpose = match parts.next()? {
        "bdk-pin" => KeyPurpose::Pin,
        "bdk-data" => KeyPurpose::Data,
        _ => return None,
    };
    let acquirer = parts.next().filter(|name| is_acquirer(name))?;
    let id = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((purpose, acquirer, id))
}

/// 1 to 36 of `A-Z a-z 0-9 . _ -`, first a letter or digit.
pub(super) fn is_acquirer(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.len() <= 36
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The template with `CKA_MODIFIABLE` = false as its last attribute: SoftHSM works through a template in order, and refuses everything that
/// stands after it with `CKR_ATTRIBUTE_READ_ONLY`.
pub(super) fn sealed(mut template: Vec<Attribute>) -> Vec<Attribute> {
    template.retain(|attribute| !matches!(attribute, Attribute::Modifiable(_)));
    template.push(Attribute::Modifiable(false));
    template
}

impl Design {
    /// Whether it is a key pair.
    pub(super) fn is_pair(&self) -> bool {
        !matches!(self.kind, KeyKind::GenericSecret | KeyKind::Aes)
    }

    /// The mechanisms that the key may be used with.
    fn mechanisms(&self, profile: &Profile) -> Vec<MechanismType> {
        let numbers = match (self.kind, self.usage) {
            (KeyKind::GenericSecret, _) => vec![CKM_SHA256_HMAC],
            (KeyKind::Rsa, Use { sign: true, .. }) => vec![CKM_RSA_PKCS_PSS, CKM_RSA_PKCS],
            (KeyKind::Rsa, _) => vec![CKM_RSA_PKCS_OAEP],
            (KeyKind::P256, Use { derive: true, .. }) => vec![CKM_ECDH1_DERIVE],
            (KeyKind::P256 | KeyKind::P384, _) => vec![CKM_ECDSA],
            (KeyKind::Ed25519, _) => vec![CKM_EDDSA],
            (KeyKind::Aes, Use { derive: true, .. }) => vec![CKM_AES_ECB_ENCRYPT_DATA],
            (KeyKind::Aes, Use { wrap: true, .. }) => profile.kwp.into_iter().collect(),
            (KeyKind::Aes, Use { encrypt: true, .. }) => vec![CKM_AES_GCM],
            (KeyKind::Aes, _) => vec![CKM_AES_CMAC],
        };
        numbers.into_iter().map(ffi::mechanism_type).collect()
    }

    /// Whether what it unwraps can only be wrapped again.
    pub(super) fn gives_only_to_wrap(&self) -> bool {
        self.unwraps == Some(ONLY_TO_BE_WRAPPED)
    }

    /// The secret key as a token object that is unwrapped, not generated: no length, unless the module wants it.
    pub(super) fn unwrapped(&self, profile: &Profile, id: &[u8]) -> Vec<Attribute> {
        let mut template = self.private(profile, id);
        template.retain(|attribute| profile.value_len_on_unwrap || !matches!(attribute, Attribute::ValueLen(_)));
        template
    }

    /// Secret key, or private half of a pair, as a token object.
    pub(super) fn private(&self, profile: &Profile, id: &[u8]) -> Vec<Attribute> {
        let mut template = self.private_flags();
        template.extend([Attribute::Label(self.label.clone().into_bytes()), Attribute::Id(id.to_vec())]);
        if !self.is_pair() {
            let key_type = if self.kind == KeyKind::Aes { KeyType::AES } else { KeyType::GENERIC_SECRET };
            template.extend([
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(key_type),
                Attribute::ValueLen(u64::from(self.bits / 8).into()),
            ]);
        }
        if profile.allowed_mechanisms {
            template.push(Attribute::AllowedMechanisms(self.mechanisms(profile)));
        }
        if let Some(bound) = self.unwraps.filter(|_| profile.unwrap_template) {
            template.push(ffi::unwrap_template(bound));
        }
        if let Some(bound) = self.derives.filter(|_| profile.derive_template) {
            template.push(ffi::derive_template(bound));
        }
        sealed(template)
    }

    /// The boolean attributes of the secret key or private half: what is asked for, and what has to be read back.
    pub(super) fn private_flags(&self) -> Vec<Attribute> {
        let Use { encrypt, decrypt, sign, verify, wrap, unwrap, derive } = self.usage;
        let mut flags = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Modifiable(false),
            Attribute::Copyable(self.copyable),
            Attribute::Destroyable(true),
            Attribute::Decrypt(decrypt),
            Attribute::Sign(sign),
            Attribute::Unwrap(unwrap),
            Attribute::Derive(derive),
        ];
        if self.is_pair() {
            flags.push(Attribute::SignRecover(false));
        } else {
            flags.extend([Attribute::Encrypt(encrypt), Attribute::Verify(verify), Attribute::Wrap(wrap)]);
        }
        flags
    }

    /// What the token itself must say of a key that it generated and that never left it.
    pub(super) fn provenance() -> [Attribute; 3] {
        [Attribute::Local(true), Attribute::AlwaysSensitive(true), Attribute::NeverExtractable(true)]
    }

    /// Public half, as a token object.
    pub(super) fn public(&self, id: &[u8]) -> Vec<Attribute> {
        let mut template = self.public_flags();
        template.extend([Attribute::Label(self.label.clone().into_bytes()), Attribute::Id(id.to_vec())]);
        match self.kind {
            KeyKind::Rsa => {
                template.extend([Attribute::ModulusBits(u64::from(self.bits).into()), Attribute::PublicExponent(vec![1, 0, 1])]);
            }
            KeyKind::P256 => template.push(Attribute::EcParams(P256.to_vec())),
            KeyKind::P384 => template.push(Attribute::EcParams(P384.to_vec())),
            KeyKind::Ed25519 => template.push(Attribute::EcParams(ED25519.to_vec())),
            KeyKind::GenericSecret | KeyKind::Aes => {}
        }
        sealed(template)
    }

    /// The boolean attributes of the public half.
    pub(super) fn public_flags(&self) -> Vec<Attribute> {
        let Use { encrypt, verify, wrap, .. } = self.public;
        vec![
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Modifiable(false),
            Attribute::Copyable(false),
            Attribute::Destroyable(true),
            Attribute::Encrypt(encrypt),
            Attribute::Verify(verify),
            Attribute::VerifyRecover(false),
            Attribute::Wrap(wrap),
            Attribute::Derive(false),
        ]
    }
}

/// RFC 5480 §2.1.1.1: secp256r1, DER.
pub(super) const P256: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
/// secp384r1, DER.
pub(super) const P384: &[u8] = &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22];
/// RFC 8410 §3: id-Ed25519, DER.
pub(super) const ED25519: &[u8] = &[0x06, 0x03, 0x2B, 0x65, 0x70];
/// id-Ed25519.
pub(super) const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// An AES session object: sensitive, private, not copyable, with exactly this use; to be [`sealed`]. `extractable` only for what is made to be
/// wrapped and destroyed at once.
fn session_aes(usage: Use, extractable: bool) -> Vec<Attribute> {
    let Use { encrypt, decrypt, sign, verify, wrap, unwrap, derive } = usage;
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
        Attribute::Copyable(false),
        Attribute::Destroyable(true),
        Attribute::Encrypt(encrypt),
        Attribute::Decrypt(decrypt),
        Attribute::Sign(sign),
        Attribute::Verify(verify),
        Attribute::Wrap(wrap),
        Attribute::Unwrap(unwrap),
        Attribute::Derive(derive),
    ]
}

/// A key derived for use: single purpose, never leaves.
pub(super) fn derived(algorithm: Algorithm, usage: Use) -> Vec<Attribute> {
    let mut template = session_aes(usage, false);
    template.push(value_len(algorithm));
    sealed(template)
}

/// An initial key that is derived to be wrapped for its phone, and destroyed at once. It can do nothing else.
pub(super) fn derived_to_be_wrapped(algorithm: Algorithm) -> Vec<Attribute> {
    let mut template = session_aes(NOTHING, true);
    template.push(value_len(algorithm));
    sealed(template)
}

/// The key of a key agreement: unwraps one second secret, to be wrapped, and is destroyed at once.
pub(super) fn agreed(profile: &Profile) -> Vec<Attribute> {
    let mut template = session_aes(UNWRAP, false);
    template.push(value_len(Algorithm::Aes256));
    if profile.unwrap_template {
        template.push(ffi::unwrap_template(TO_BE_WRAPPED));
    }
    sealed(template)
}

/// A second secret out of its transport, to be wrapped under the storage KEK and destroyed at once. It can do nothing else.
pub(super) fn unwrapped_to_be_wrapped(profile: &Profile) -> Vec<Attribute> {
    unwrapped(profile, NOTHING, true)
}

/// A second secret out of its key block: derives, never leaves.
pub(super) fn unwrapped_to_derive(profile: &Profile) -> Vec<Attribute> {
    let mut template = unwrapped(profile, DERIVE, false);
    if profile.derive_template {
        template.push(ffi::derive_template(STAYS));
    }
    sealed(template)
}

fn unwrapped(profile: &Profile, usage: Use, extractable: bool) -> Vec<Attribute> {
    unwrapped_as(profile, Algorithm::Aes256, usage, extractable)
}

/// A key out of what wraps it, for one act.
pub(super) fn unwrapped_as(profile: &Profile, algorithm: Algorithm, usage: Use, extractable: bool) -> Vec<Attribute> {
    let mut template = session_aes(usage, extractable);
    if profile.value_len_on_unwrap {
        template.push(value_len(algorithm));
    }
    sealed(template)
}

/// A key that is made to be wrapped, and destroyed at once. It can do nothing else.
pub(super) fn generated_to_be_wrapped(algorithm: Algorithm) -> Vec<Attribute> {
    derived_to_be_wrapped(algorithm)
}

/// The key below a partner's KEK that unwraps one block.
pub(super) fn derived_to_unwrap(profile: &Profile) -> Vec<Attribute> {
    let mut template = session_aes(UNWRAP, false);
    template.push(value_len(Algorithm::Aes256));
    if profile.unwrap_template {
        template.push(ffi::unwrap_template(ONLY_TO_BE_WRAPPED));
    }
    sealed(template)
}

/// A partner's public key (RFC 8017 §3.1): wraps one KEK.
pub(super) fn partner_key(modulus: &[u8], exponent: &[u8]) -> Vec<Attribute> {
    sealed(vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Copyable(false),
        Attribute::Destroyable(true),
        Attribute::Encrypt(false),
        Attribute::Verify(false),
        Attribute::VerifyRecover(false),
        Attribute::Wrap(true),
        Attribute::Modulus(modulus.to_vec()),
        Attribute::PublicExponent(exponent.to_vec()),
    ])
}

/// For self-tests and probes: an AES key with a value that everybody knows.
pub(super) fn public_test_value(value: &[u8], usage: Use, extractable: bool) -> Vec<Attribute> {
    let mut template = session_aes(usage, extractable);
    template.push(Attribute::Value(value.to_vec()));
    sealed(template)
}

/// For self-tests and probes: a random AES-256 session key.
pub(super) fn generated(usage: Use, extractable: bool) -> Vec<Attribute> {
    let mut template = session_aes(usage, extractable);
    template.push(value_len(Algorithm::Aes256));
    sealed(template)
}

/// For probes: a base key whose template binds what is unwrapped under it, or derived from it.
pub(super) fn probe_binding(usage: Use, template: fn(&[(AttributeType, bool)]) -> Attribute) -> Vec<Attribute> {
    let mut base = session_aes(usage, false);
    base.extend([value_len(Algorithm::Aes256), template(STAYS)]);
    sealed(base)
}

/// For probes: a key that could be copied, if the copy stays as it is.
pub(super) fn probe_copyable() -> Vec<Attribute> {
    let mut template = session_aes(SIGN, false);
    template.retain(|attribute| !matches!(attribute, Attribute::Copyable(_)));
    template.extend([Attribute::Copyable(true), value_len(Algorithm::Aes256)]);
    sealed(template)
}

/// For probes: a derived key that could be read.
pub(super) fn probe_readable() -> Vec<Attribute> {
    let mut template = derived(Algorithm::Aes256, SIGN);
    template.retain(|attribute| !matches!(attribute, Attribute::Sensitive(_)));
    template.insert(0, Attribute::Sensitive(false));
    template
}

/// For probes: an unwrapped session key with any flags, to see what the module refuses.
pub(super) fn probe_unwrapped(usage: Use, extractable: bool, with_length: bool) -> Vec<Attribute> {
    let mut template = session_aes(usage, extractable);
    if with_length {
        template.push(value_len(Algorithm::Aes256));
    }
    sealed(template)
}

/// For self-tests: a session key pair, by its design.
pub(super) fn session_pair(design: &Design) -> (Vec<Attribute>, Vec<Attribute>) {
    let session = |template: Vec<Attribute>| {
        template.into_iter().map(|a| if matches!(a, Attribute::Token(_)) { Attribute::Token(false) } else { a }).collect::<Vec<_>>()
    };
    let mut public = session(design.public_flags());
    public.push(Attribute::EcParams(if design.kind == KeyKind::Ed25519 { ED25519.to_vec() } else { P256.to_vec() }));
    (sealed(public), sealed(session(design.private_flags())))
}

/// Session copy of a hot signing key: same attributes, held in the module's memory.
pub(super) fn session_copy() -> Vec<Attribute> {
    vec![Attribute::Token(false)]
}

/// The derivation mark: a private data object, replaced and never changed.
pub(super) fn mark(label: &str, value: u32) -> Vec<Attribute> {
    let mut template = mark_search(label);
    template.extend([
        Attribute::Private(true),
        Attribute::Copyable(false),
        Attribute::Destroyable(true),
        Attribute::Application(b"tillward".to_vec()),
        Attribute::Value(value.to_be_bytes().to_vec()),
    ]);
    sealed(template)
}

/// What finds the derivation marks of one acquirer.
pub(super) fn mark_search(label: &str) -> Vec<Attribute> {
    vec![Attribute::Class(ObjectClass::DATA), Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec())]
}

fn value_len(algorithm: Algorithm) -> Attribute {
    Attribute::ValueLen(u64::from(algorithm.bits() / 8).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixed_key_has_a_design_and_no_private_half_leaves() {
        for label in FIXED.into_iter().chain(OPTIONAL) {
            let designs = designs(label);
            assert!(!designs.is_empty(), "{label}");
            for design in designs {
                let flags = design.private_flags();
                assert!(flags.contains(&Attribute::Sensitive(true)) && flags.contains(&Attribute::Extractable(false)), "{label}");
                assert!(flags.contains(&Attribute::Modifiable(false)), "{label}");
            }
        }
    }

    #[test]
    fn no_key_both_wraps_and_decrypts_or_derives_and_does_anything_else() {
        for label in
            FIXED.into_iter().chain(OPTIONAL).chain(["bdk-pin:a:00000001", "bdk-data:a:00000002", "kek:a:1:kwp", "kek:a:1:key-block"])
        {
            for Design { usage: u, .. } in designs(label) {
                assert!(!((u.wrap || u.unwrap) && (u.encrypt || u.decrypt)), "{label}: Clulow's wrap and decrypt");
                assert!(!u.derive || u == DERIVE, "{label}");
            }
        }
    }

    /// A module that can do everything.
    pub(super) fn profile() -> Profile {
        Profile {
            kwp: Some(0x210B),
            value_len_on_unwrap: true,
            allowed_mechanisms: true,
            unwrap_template: true,
            derive_template: true,
            ecdh: true,
            aes_192: true,
            ed25519: true,
            copies_sealed: true,
            session_copies: true,
            oaep: None,
            managed: Vec::new(),
        }
    }

    #[test]
    fn every_template_ends_with_its_seal() {
        let profile = profile();
        let mut templates: Vec<_> = FIXED
            .into_iter()
            .chain(OPTIONAL)
            .flat_map(designs)
            .flat_map(|design| [design.private(&profile, &[1]), design.public(&[1])])
            .collect();
        templates.extend([
            derived(Algorithm::Aes128, SIGN),
            derived_to_be_wrapped(Algorithm::Aes256),
            unwrapped_to_be_wrapped(&profile),
            unwrapped_to_derive(&profile),
            unwrapped_as(&profile, Algorithm::Aes128, SIGN, false),
            generated_to_be_wrapped(Algorithm::Aes128),
            derived_to_unwrap(&profile),
            partner_key(&[1], &[1]),
            agreed(&profile),
            probe_readable(),
            generated(SIGN, true),
            mark("derivation-mark:a", 1),
        ]);
        for template in templates {
            let seals = template.iter().filter(|attribute| matches!(attribute, Attribute::Modifiable(_))).count();
            assert_eq!((seals, template.last()), (1, Some(&Attribute::Modifiable(false))), "{template:?}");
        }
    }

    #[test]
    fn the_label_of_a_bdk_is_read_strictly() {
        assert!(parse_bdk("bdk-pin:acme:0A0B0C0D").is_some());
        for bad in ["bdk-pin:acme", "bdk-pin:acme:0a0b0c0d", "bdk-pin:acme:0A0B0C0D:", "bdk-pin::0A0B0C0D", "bdk:acme:0A0B0C0D", ""] {
            assert!(parse_bdk(bad).is_none(), "{bad}");
        }
    }
}
