//! Objects of a session: the ephemeral ones that must not outlive their operation, derivation, and reading attributes back.

use std::collections::BTreeMap;

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::misc::KeyDerivationStringData;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};

use super::ffi;
use super::pool::Session;
use super::templates;
use crate::agreement::SHARED_INFO;
use crate::derivation::{Algorithm, Usage, derivation_data, transaction_identifier};
use crate::ksn::{Ikid, path};

/// A session object that is destroyed when it goes out of scope, on every path.
pub(super) struct Ephemeral<'s> {
    session: &'s Session,
    handle: ObjectHandle,
}

impl<'s> Ephemeral<'s> {
    /// Takes the object over.
    pub(super) fn new(session: &'s Session, handle: ObjectHandle) -> Self {
        session.made();
        Self { session, handle }
    }

    /// The object, as long as this lives.
    pub(super) fn handle(&self) -> ObjectHandle {
        self.handle
    }
}

impl Drop for Ephemeral<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.session.destroy_object(self.handle) {
            // It goes with its session, which is thrown away after an error.
            tracing::warn!(code = super::fault::code(&error), "a session object could not be destroyed");
        }
    }
}

/// X9.24-3 §6.3 on the token: the key of `usage` and `identifier` below `parent`.
pub(super) fn derive<'s>(
    session: &'s Session,
    parent: ObjectHandle,
    usage: Usage,
    algorithm: Algorithm,
    identifier: [u8; 8],
    template: &[Attribute],
) -> Result<Ephemeral<'s>, Error> {
    let data = derivation_data(usage, algorithm, identifier);
    let data = KeyDerivationStringData::new(&data);
    let handle = session.derive_key(&ffi::aes_ecb_encrypt_data(&data), parent, template)?;
    Ok(Ephemeral::new(session, handle))
}

/// Key agreement with a phone's ephemeral point, which was checked before: the key of [`crate::agreement`].
pub(super) fn agree<'s>(session: &'s Session, private: ObjectHandle, point: &[u8], template: &[Attribute]) -> Result<Ephemeral<'s>, Error> {
    let parameters = Ecdh1DeriveParams::new(EcKdf::sha256(&SHARED_INFO), point);
    let handle = session.derive_key(&Mechanism::Ecdh1Derive(parameters), private, template)?;
    Ok(Ephemeral::new(session, handle))
}

/// X9.24-3 §6.3.2: from the BDK to the intermediate key of the transaction. Every key on the way only derives.
pub(super) fn transaction_key(
    session: &Session,
    bdk: ObjectHandle,
    algorithm: Algorithm,
    ikid: Ikid,
    counter: u32,
) -> Result<Ephemeral<'_>, Error> {
    let template = templates::derived(algorithm, templates::DERIVE);
    let mut key = derive(session, bdk, Usage::InitialKey, algorithm, ikid.0, &template)?;
    for register in path(counter) {
        key = derive(session, key.handle(), Usage::Derivation, algorithm, transaction_identifier(ikid, register), &template)?;
    }
    Ok(key)
}

/// First five bytes of AES-CMAC over 16 zero bytes (X9.24-1:2017 annex A), by a key that may sign.
pub(super) fn check_value(session: &Session, key: ObjectHandle) -> Result<[u8; 5], Error> {
    let mac = twice(|| session.sign(&Mechanism::AesCMac, key, &[0; 16]))?;
    mac.first_chunk().copied().ok_or(Error::InvalidValue)
}

/// What is deterministic is made twice: a token that computes wrong once is noticed, and its answer does not leave.
pub(super) fn twice(compute: impl Fn() -> Result<Vec<u8>, Error>) -> Result<Vec<u8>, Error> {
    let result = compute()?;
    if result == compute()? { Ok(result) } else { Err(Error::InvalidValue) }
}

/// Name and value of a boolean attribute.
pub(super) fn flag(attribute: &Attribute) -> Option<(&'static str, bool)> {
    Some(match *attribute {
        Attribute::Token(value) => ("TOKEN", value),
        Attribute::Private(value) => ("PRIVATE", value),
        Attribute::Sensitive(value) => ("SENSITIVE", value),
        Attribute::Extractable(value) => ("EXTRACTABLE", value),
        Attribute::Modifiable(value) => ("MODIFIABLE", value),
        Attribute::Copyable(value) => ("COPYABLE", value),
        Attribute::Destroyable(value) => ("DESTROYABLE", value),
        Attribute::Encrypt(value) => ("ENCRYPT", value),
        Attribute::Decrypt(value) => ("DECRYPT", value),
        Attribute::Sign(value) => ("SIGN", value),
        Attribute::SignRecover(value) => ("SIGN_RECOVER", value),
        Attribute::Verify(value) => ("VERIFY", value),
        Attribute::VerifyRecover(value) => ("VERIFY_RECOVER", value),
        Attribute::Wrap(value) => ("WRAP", value),
        Attribute::Unwrap(value) => ("UNWRAP", value),
        Attribute::Derive(value) => ("DERIVE", value),
        Attribute::Local(value) => ("LOCAL", value),
        Attribute::AlwaysSensitive(value) => ("ALWAYS_SENSITIVE", value),
        Attribute::NeverExtractable(value) => ("NEVER_EXTRACTABLE", value),
        _ => return None,
    })
}

/// Reads the boolean attributes back that `like` holds, one by one: a module that lacks one must not hide the others.
pub(super) fn read_flags(session: &Session, object: ObjectHandle, like: &[Attribute]) -> Result<BTreeMap<String, bool>, Error> {
    let mut flags = BTreeMap::new();
    for wanted in like.iter().map(Attribute::attribute_type) {
        for attribute in session.get_attributes(object, &[wanted])? {
            if let Some((name, value)) = flag(&attribute) {
                flags.insert(name.to_owned(), value);
            }
        }
    }
    Ok(flags)
}

/// The first attribute that is not as `expected`, in words.
pub(super) fn difference(found: &BTreeMap<String, bool>, expected: &[Attribute]) -> Option<String> {
    expected.iter().filter_map(flag).find_map(|(name, value)| match found.get(name) {
        Some(have) if *have == value => None,
        Some(have) => Some(format!("CKA_{name} is {have}")),
        // cryptoki leaves out what the module does not know; a usage that it does not know, it cannot grant.
        None if !value => None,
        None => Some(format!("CKA_{name} is missing")),
    })
}

/// One attribute's bytes.
pub(super) fn bytes(session: &Session, object: ObjectHandle, wanted: AttributeType) -> Result<Option<Vec<u8>>, Error> {
    Ok(session.get_attributes(object, &[wanted])?.into_iter().find_map(|attribute| match attribute {
        Attribute::Label(bytes)
        | Attribute::Id(bytes)
        | Attribute::EcPoint(bytes)
        | Attribute::EcParams(bytes)
        | Attribute::Modulus(bytes)
        | Attribute::PublicExponent(bytes)
        | Attribute::CheckValue(bytes)
        | Attribute::Value(bytes) => Some(bytes),
        _ => None,
    }))
}
