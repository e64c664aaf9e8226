//! A key of a session becomes a key of the token: it goes through `storage-kek`, whose template holds what comes back to staying. So a long-lived
//! key is never extractable, though its material was made to leave by one path, or came from a partner.
//!
//! Such a key is not `CKA_LOCAL` and not `CKA_NEVER_EXTRACTABLE`, and nobody says it is: those promises are of keys that cannot be exported.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::AttributeType;

use super::super::context::Context;
use super::super::fault::{self, Fault};
use super::super::object::{self, Ephemeral};
use super::super::pool::Session;
use super::super::prove::{self, Unproven};
use super::super::ring::{self, Key};
use super::super::templates::{self, Design};
use super::super::{create, ffi};
use crate::derivation::Algorithm;
use crate::error::Refusal;
use crate::escrow::wrapped_bytes;
use crate::model::KeyRecord;
use crate::rules::Action;

/// A key that was brought to the token, read back and proven.
pub(in crate::host) struct Settled {
    pub(in crate::host) key: Key,
    /// The token key may not make one: a session key of the same material did.
    kcv: [u8; 5],
}

impl Settled {
    /// As it is told to the service.
    pub(in crate::host) fn record(&self, session: &Session) -> Result<KeyRecord, Fault> {
        Ok(KeyRecord { kcv: Some(self.kcv), ..ring::record(session, &self.key, true)? })
    }
}

/// AES-KWP of this module.
pub(super) fn kwp(context: &Context) -> Result<Mechanism<'static>, Fault> {
    context.profile.kwp.map(ffi::plain).ok_or_else(|| Refusal::NotOffered { what: "AES-KWP".to_owned() }.into())
}

/// The AES key that a design is.
pub(super) fn algorithm(design: &Design) -> Result<Algorithm, Fault> {
    Algorithm::of_bits(design.bits).ok_or_else(|| Fault::input("algorithm"))
}

/// Refuses a label that the token has, whatever carries it: a key is made once, and one that differs is no better. Under the gate for changes.
pub(super) fn must_be_new(session: &Session, design: &Design) -> Result<(), Fault> {
    use cryptoki::object::Attribute;
    let label = Attribute::Label(design.label.clone().into_bytes());
    match session.find_objects(&[Attribute::Token(true), label])?.first() {
        None => Ok(()),
        Some(_) => Err(create::differs(design, "it is there already, and is given out once")),
    }
}

/// The blob under `storage-kek`: KWP gives the same for the same key, so it also compares keys.
pub(super) fn stored(context: &Context, session: &Session, key: &Ephemeral<'_>) -> Result<Vec<u8>, Fault> {
    let kek = context.ring.get(templates::STORAGE_KEK)?.working.on(session)?;
    let mechanism = kwp(context)?;
    Ok(object::twice(|| session.wrap_key(&mechanism, kek, key.handle()))?)
}

/// Brings the key of a session to the token. Under the gate for changes, and after [`must_be_new`]. What a crash leaves:
/// 1. wrapped, check value made: session objects, which go with the process;
/// 2. unwrapped to the token: the key, not extractable and as designed, which nobody was told of. Its label is taken; what was to be given out with it is
///    lost, so it is destroyed by hand, and another version is made.
pub(in crate::host) fn settle(context: &Context, session: &Session, design: &Design, key: Ephemeral<'_>) -> Result<Settled, Fault> {
    let algorithm = algorithm(design)?;
    let blob = stored(context, session, &key)?;
    drop(key);
    if blob.len() != wrapped_bytes(algorithm) {
        return Err(Refusal::UnwrapFailed.into());
    }
    let (kek, mechanism) = (context.ring.get(templates::STORAGE_KEK)?.working.on(session)?, kwp(context)?);
    let template = templates::unwrapped_as(&context.profile, algorithm, templates::SIGN, false);
    let kcv = session
        .unwrap_key(&mechanism, kek, &blob, &template)
        .map(|checked| Ephemeral::new(session, checked))
        .and_then(|checked| object::check_value(session, checked.handle()));
    let kcv = match kcv {
        // kryoptic 1.5 takes a key of no AES length until it is used.
        Err(error) if fault::rule(&error).action == Action::Fail => return Err(Refusal::UnwrapFailed.into()),
        other => other?,
    };
    let id = ring::id_with_bits(&session.generate_random_vec(16)?, design.bits);
    let made = session.unwrap_key(&mechanism, kek, &blob, &design.unwrapped(&context.profile, &id))?;
    let accepted = accept(context, session, design, &id);
    match accepted {
        Ok(key) => Ok(Settled { key, kcv }),
        Err(fault) => {
            if let Err(error) = session.destroy_object(made) {
                tracing::error!(label = design.label, code = fault::code(&error), "a key that failed could not be destroyed");
            }
            Err(fault)
        }
    }
}

/// Found by its label as the one key of it, as designed, and proven by use.
fn accept(context: &Context, session: &Session, design: &Design, id: &[u8]) -> Result<Key, Fault> {
    let unproven = |what: &str| Fault::from(Refusal::Unproven { label: design.label.clone(), what: what.to_owned() });
    let key = ring::present(session, &design.label)?.ok_or_else(|| unproven("it is not found by its label"))?;
    if key.design != *design {
        return Err(unproven("it is not as designed"));
    }
    if object::bytes(session, key.handle.on(session)?, AttributeType::Id)?.as_deref() != Some(id) {
        return Err(unproven("its CKA_ID is not as given"));
    }
    prove::prove(session, &context.profile, &key).map_err(|reason| match reason {
        Unproven::At(what) => unproven(what),
        Unproven::Token(error) => error.into(),
    })?;
    Ok(key)
}
