//! Keys that may be exported: their material, wrapped under `export-kek`, goes to the database as an escrow block when they are made.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;

use super::super::context::Context;
use super::super::fault::Fault;
use super::super::object::{self, Ephemeral};
use super::super::phone::verify_mac;
use super::super::pool::Session;
use super::super::templates::{self, Design};
use super::settle::{self, Settled, algorithm, kwp, settle, stored};
use crate::error::Refusal;
use crate::escrow::{Escrow, EscrowError, travels_as};
use crate::managed::KeyRef;

/// The only generation of `export-kek` and `storage-mac` there is yet.
const KEK_VERSION: u16 = 1;

impl From<EscrowError> for Fault {
    fn from(_: EscrowError) -> Self {
        Refusal::KeyBlockRefused.into()
    }
}

fn not_offered() -> Fault {
    Refusal::NotOffered { what: "keys that can be exported: the token has no export-kek".to_owned() }.into()
}

/// A key that is made, and not on the token yet.
pub(super) struct Draft<'s> {
    key: Ephemeral<'s>,
    pub(super) escrow: Vec<u8>,
}

/// Generates the material and its escrow block. Nothing is left of it where the call fails.
pub(super) fn draft<'s>(context: &Context, session: &'s Session, design: &Design) -> Result<Draft<'s>, Fault> {
    let algorithm = algorithm(design)?;
    let kek = context.ring.get(templates::EXPORT_KEK).map_err(|_| not_offered())?.working.on(session)?;
    let mechanism = kwp(context)?;
    let template = templates::generated_to_be_wrapped(algorithm);
    let key = Ephemeral::new(session, session.generate_key(&Mechanism::AesKeyGen, &template)?);
    let wrapped = object::twice(|| session.wrap_key(&mechanism, kek, key.handle()))?;
    let escrow = Escrow::seal(&design.label, algorithm, KEK_VERSION, wrapped, |content| sign(context, session, content))?;
    // Before anybody relies on it: what is in the block is the key.
    let again = open(context, session, &escrow)?;
    if stored(context, session, &again)? != stored(context, session, &key)? {
        return Err(Refusal::Unproven { label: design.label.clone(), what: "opening its escrow block".to_owned() }.into());
    }
    Ok(Draft { key, escrow: escrow.to_bytes() })
}

impl Draft<'_> {
    /// Brings the key to the token; the escrow block stands until then for nothing.
    pub(super) fn settle(self, context: &Context, session: &Session, design: &Design) -> Result<(Settled, Vec<u8>), Fault> {
        Ok((settle(context, session, design, self.key)?, self.escrow))
    }
}

/// Makes a managed key that may be exported: the token key, which is not extractable, and the escrow block. Under the gate for changes.
pub(super) fn make(context: &Context, session: &Session, key: &KeyRef, design: &Design) -> Result<(Settled, Vec<u8>), Fault> {
    if key.label() != design.label || key.is_bdk() {
        return Err(Fault::input("key"));
    }
    if travels_as(key).is_none() {
        return Err(Refusal::NotOffered { what: format!("export of {} keys of {}", key.purpose.name(), key.algorithm.name()) }.into());
    }
    settle::must_be_new(session, design)?;
    draft(context, session, design)?.settle(context, session, design)
}

fn sign(context: &Context, session: &Session, message: &[u8]) -> Result<[u8; 16], Fault> {
    let key = context.ring.get(templates::STORAGE_MAC)?.working.on(session)?;
    let mac = object::twice(|| session.sign(&Mechanism::AesCMac, key, message))?;
    Ok(mac.try_into().map_err(|_| Error::InvalidValue)?)
}

/// The material out of an escrow block, which can only be wrapped. Its MAC is verified first.
pub(super) fn open<'s>(context: &Context, session: &'s Session, escrow: &Escrow) -> Result<Ephemeral<'s>, Fault> {
    if escrow.kek_version() != KEK_VERSION {
        return Err(Refusal::KeyBlockRefused.into());
    }
    let kek = context.ring.get(templates::EXPORT_KEK).map_err(|_| not_offered())?.working.on(session)?;
    let storage_mac = context.ring.get(templates::STORAGE_MAC)?.working.on(session)?;
    match verify_mac(session, storage_mac, &escrow.authenticated(), escrow.mac()) {
        Err(Fault::Refused(Refusal::MacMismatch)) => return Err(Refusal::KeyBlockRefused.into()),
        other => other?,
    }
    let template = templates::unwrapped_as(&context.profile, escrow.algorithm(), templates::NOTHING, true);
    let handle = session.unwrap_key(&kwp(context)?, kek, escrow.wrapped(), &template)?;
    Ok(Ephemeral::new(session, handle))
}
