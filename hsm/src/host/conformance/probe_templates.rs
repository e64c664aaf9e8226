//! Templates that Tillward never uses for a key: what the module makes of them is what is asked. Public test values, or nothing of worth.

use cryptoki::object::{Attribute, KeyType, ObjectClass};

/// An AES-256 session key without a word about what it may do.
pub(super) fn bare() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(32.into()),
        Attribute::Token(false),
    ]
}

/// What must not become of a derived key: one that everybody can read.
pub(super) fn readable() -> Vec<Attribute> {
    let mut template = bare();
    template.extend([Attribute::Sensitive(false), Attribute::Extractable(true), Attribute::Sign(true)]);
    template
}

/// A generic secret with a public value that makes HMACs.
pub(super) fn generic_secret(value: &[u8], extractable: bool) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
        Attribute::Sign(true),
        Attribute::Value(value.to_vec()),
    ]
}

/// An EC session pair for a key agreement.
pub(super) fn agreement(curve: &[u8]) -> (Vec<Attribute>, Vec<Attribute>) {
    let public = vec![Attribute::Token(false), Attribute::Private(false), Attribute::EcParams(curve.to_vec())];
    let private = vec![
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(false),
        Attribute::Derive(true),
    ];
    (public, private)
}
