//! Keys on their way to and from partners. What is wrapped, or unwrapped, is a session object made for that one act: sensitive, extractable, without any
//! use, destroyed at once.

use sha2::{Digest as _, Sha256};

use super::super::context::Context;
use super::super::fault::Fault;
use super::super::keeper::Host;
use super::super::pool::Session;
use super::super::ring::{self, Key};
use super::super::{create, templates};
use super::approved::demand;
use super::settle::{must_be_new, settle};
use super::{carry, escrow, kek};
use crate::approval::Approved;
use crate::derivation::Algorithm;
use crate::error::Refusal;
use crate::escrow::{Escrow, travels_as};
use crate::managed::{KekRef, KeyRef};
use crate::managed_op::{Exchange, Generated, ManagedAnswer};
use crate::op::Answer;
use crate::plan::Deed;

/// What is asked about keys of partners.
pub(in crate::host) fn exchange(host: &Host, context: &Context, session: &Session, operation: &Exchange) -> Result<Answer, Fault> {
    match operation {
        Exchange::MakeKek { kek, partner } => kek::make(host, context, session, kek, partner),
        Exchange::MakeBdks { acquirer } => kek::make_bdks(host, context, session, acquirer),
        Exchange::Export { key, kek, escrow, approved } => export(host, context, session, (key, kek), escrow, approved),
        Exchange::Import { key, kek, content: sent, approved } => import(host, context, session, (key, kek), sent, approved),
    }
}

/// A key that can travel at all, whoever approved it.
fn traveller(key: &KeyRef) -> Result<Algorithm, Fault> {
    travels_as(key).ok_or_else(|| not_offered(key))
}

fn not_offered(key: &KeyRef) -> Fault {
    Refusal::NotOffered { what: format!("the export or import of {} keys of {}", key.purpose.name(), key.algorithm.name()) }.into()
}

/// The KEK as the token has it now.
fn find_kek(context: &Context, session: &Session, kek: &KekRef) -> Result<Key, Fault> {
    let label = kek.label();
    let _guard = context.searching(session);
    if let Some(key) = ring::present(session, &label)? {
        return Ok(key);
    }
    context.demand_login(session)?;
    Err(Refusal::UnknownKey { label }.into())
}

/// Changes nothing on the token: a crash leaves session objects, which go with the process.
fn export(
    host: &Host,
    context: &Context,
    session: &Session,
    (key, kek): (&KeyRef, &KekRef),
    escrow: &[u8],
    approved: &Approved,
) -> Result<Answer, Fault> {
    demand(host, approved, |deed| *deed == Deed::ExportKey(key.clone(), kek.clone()))?;
    traveller(key)?;
    let escrow = Escrow::parse(escrow)?;
    // The owner follows from the label and algorithm that the MAC covers; `open` verifies it.
    if escrow.owner().as_ref() != Some(key) {
        return Err(Refusal::KeyBlockRefused.into());
    }
    // An escrow block out of a backup does not bring back a key that was destroyed.
    {
        let _guard = context.searching(session);
        ring::present(session, escrow.label())?.ok_or_else(|| Refusal::UnknownKey { label: escrow.label().to_owned() })?;
    }
    let under = find_kek(context, session, kek)?;
    let leaving = escrow::open(context, session, &escrow)?;
    let sent = carry::send(context, session, (kek, &under), (key, escrow.label()), &leaving)?;
    drop(leaving);
    tracing::info!(label = escrow.label(), kek = under.design.label, "key exported");
    Ok(Answer::Bytes(sent))
}

/// What a crash leaves: 1. unwrapped, to be wrapped only: a session object, which goes with the process; 2. on the token: the key as approved, of
/// which nobody was told. Asked again, its label is taken, and reading it back tells that it is there.
fn import(
    host: &Host,
    context: &Context,
    session: &Session,
    (key, kek): (&KeyRef, &KekRef),
    sent: &[u8],
    approved: &Approved,
) -> Result<Answer, Fault> {
    let hash = Sha256::digest(sent).into();
    demand(host, approved, |deed| *deed == Deed::ImportKey(key.clone(), kek.clone(), hash))?;
    let algorithm = traveller(key)?;
    // What is not made while the host runs does not come in either: base derivation keys are begun here, in a ceremony.
    if !context.profile.managed.contains(&(key.purpose, key.algorithm)) {
        return Err(not_offered(key));
    }
    let designs = templates::designs(&key.label());
    let design = designs.into_iter().find(|design| design.bits == algorithm.bits()).ok_or_else(|| Fault::input("key"))?;
    let under = find_kek(context, session, kek)?;
    let arrived = carry::receive(context, session, (kek, &under), key, algorithm, sent)?;
    let _guard = context.changing(session);
    must_be_new(session, &design)?;
    create::demand_room(host, 1)?;
    let settled = settle(context, session, &design, arrived)?;
    tracing::info!(label = design.label, kek = under.design.label, "key imported");
    let record = settled.record(session)?;
    context.ring.shelf.keep(settled.key);
    Ok(Answer::Managed(ManagedAnswer::Generated(Box::new(Generated { record, escrow: None }))))
}
