//! Ceremonies: a partner's KEK, and base derivation keys that may be exported.

use super::super::context::Context;
use super::super::fault::Fault;
use super::super::keeper::Host;
use super::super::object::Ephemeral;
use super::super::pool::Session;
use super::super::prove::oaep_mechanism;
use super::super::templates;
use super::super::{create, ring};
use super::escrow;
use super::settle::{must_be_new, settle};
use crate::derivation::Algorithm;
use crate::error::Refusal;
use crate::managed::KekRef;
use crate::managed_op::{Generated, MadeKek, ManagedAnswer};
use crate::model::AcquirerKeys;
use crate::op::Answer;
use crate::partner::PartnerKey;
use cryptoki::mechanism::Mechanism;

/// Makes a KEK, wraps it once for the partner, and keeps it on the token, from where it does not leave. What a crash leaves:
/// 1. generated, wrapped for the partner: session objects, which go with the process;
/// 2. on the token: a KEK that nobody else has, because the answer was not given. No key was exported under it; the next version replaces it.
pub(super) fn make(host: &Host, context: &Context, session: &Session, kek: &KekRef, partner: &[u8]) -> Result<Answer, Fault> {
    let partner = PartnerKey::parse(partner).map_err(|error| Fault::input(&error.to_string()))?;
    let not_offered = |what: &str| Fault::from(Refusal::NotOffered { what: what.to_owned() });
    let oaep = context.profile.oaep.ok_or_else(|| not_offered("RSA-OAEP"))?;
    // What comes out of a KEK must not be a key with a use.
    if !context.profile.unwrap_template {
        return Err(not_offered("keys that hold what they unwrap to one use"));
    }
    let design = templates::designs(&kek.label()).pop().ok_or_else(|| Fault::input("kek"))?;
    let _guard = context.changing(session);
    must_be_new(session, &design)?;
    create::demand_room(host, 1)?;
    let key = session.generate_key(&Mechanism::AesKeyGen, &templates::generated_to_be_wrapped(Algorithm::Aes256))?;
    let key = Ephemeral::new(session, key);
    let public = session.create_object(&templates::partner_key(&partner.modulus, &partner.exponent))?;
    let public = Ephemeral::new(session, public);
    let wrapped = session.wrap_key(&oaep_mechanism(oaep), public.handle(), key.handle())?;
    drop(public);
    let settled = settle(context, session, &design, key)?;
    tracing::info!(label = design.label, "KEK made");
    Ok(Answer::Managed(ManagedAnswer::Kek(Box::new(MadeKek { record: settled.record(session)?, wrapped, oaep }))))
}

/// Makes the BDK pair of an acquirer with escrow blocks. What a crash leaves:
/// 1. both generated, both escrow blocks made: session objects, which go with the process;
/// 2. the PIN key is on the token: an acquirer with one BDK, for whom nobody is enrolled. It is destroyed by hand, or the data key is made by
///    `tillward init`, and neither can be exported then;
/// 3. both are on the token, the answer was not given: they work, and cannot be exported.
///
/// Hosts find base derivation keys when they start: a service that is to use them is started afterwards.
pub(super) fn make_bdks(host: &Host, context: &Context, session: &Session, acquirer: &AcquirerKeys) -> Result<Answer, Fault> {
    let designs = create::bdk_designs(acquirer)?;
    let _guard = context.changing(session);
    // As the token is now, and all refusals first.
    let (ring, _) = ring::load(session)?;
    for design in &designs {
        must_be_new(session, design)?;
        create::no_other_bdk(&ring, design)?;
    }
    create::demand_room(host, designs.len())?;
    let drafts = designs.each_ref().map(|design| escrow::draft(context, session, design));
    let drafts = drafts.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut made = Vec::with_capacity(designs.len());
    for (design, draft) in designs.iter().zip(drafts) {
        let (settled, escrow) = draft.settle(context, session, design)?;
        tracing::info!(label = design.label, "key made");
        made.push(Generated { record: settled.record(session)?, escrow: Some(escrow) });
    }
    Ok(Answer::Managed(ManagedAnswer::Bdks(made)))
}
