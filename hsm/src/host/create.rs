//! Ceremonies: making the token and its keys. Never overwrites, never deletes what it did not make in the same step.

use std::collections::HashSet;
use std::path::Path;

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::UserType;

use super::context::Context;
use super::fault::{self, Fault};
use super::keeper::{Host, Inner};
use super::pool::Session;
use super::prove::{self, Unproven};
use super::ring::{self, Key};
use super::templates::{self, Design};
use super::{module, object, public};
use crate::error::Refusal;
use crate::model::{AcquirerKeys, Finding, KeyKind, KeyPurpose, KeySpec, Profile};
use crate::op::{Answer, bdk_label};

/// Makes the token that the URI names, if there is none of that label: in the first slot whose token is not initialised. What a crash leaves:
/// 1. `C_InitToken`: a token without a user PIN, which the next call finds and finishes; 2. `C_InitPIN`: done.
pub(super) fn init_token(host: &Host, inner: &Inner, so_pin: &Path) -> Result<Answer, Fault> {
    let refused = |finding: Finding| Fault::from(Refusal::NotReady { finding });
    if inner.context.is_some() {
        return Ok(Answer::Created(false));
    }
    let module = inner.module.as_ref().ok_or_else(|| refused(Finding::failed("module", None, "it is not loaded")))?;
    let so_pin = module::read_pin(so_pin).map_err(refused)?;
    let pin = module::read_pin(host.args.uri.pin_path()).map_err(refused)?;
    let (mut empty, mut half_made) = (None, None);
    for slot in module.get_slots_with_token()? {
        let info = module.get_token_info(slot)?;
        if info.token_initialized() && info.label() == host.args.uri.token() {
            if info.user_pin_initialized() {
                // It is there, and its login failed at start: that is told by the status.
                return Ok(Answer::Created(false));
            }
            half_made = Some(slot);
        } else if !info.token_initialized() {
            empty = empty.or(Some(slot));
        }
    }
    let slot = match (half_made, empty) {
        (Some(slot), _) => slot,
        (None, Some(slot)) => {
            module.init_token(slot, &so_pin, host.args.uri.token())?;
            slot
        }
        (None, None) => return Err(refused(Finding::failed("token", None, "no slot has a token that is not initialised yet"))),
    };
    let session = module.open_rw_session(slot)?;
    session.login(UserType::So, Some(&so_pin))?;
    let made = session.init_pin(&pin);
    session.logout()?;
    made?;
    host.end();
    Ok(Answer::Created(true))
}

/// Makes the keys that are missing. The workers' ring was read at start, so the process ends after it has made one.
pub(super) fn create_keys(host: &Host, context: &Context, session: &Session, spec: &KeySpec) -> Result<Answer, Fault> {
    let wanted = designs(context, spec)?;
    let _guard = context.changing(session);
    // As the token is now: another ceremony may have been here since the start.
    let (ring, findings) = ring::load(session)?;
    let mut records = Vec::with_capacity(wanted.len());
    let mut missing = Vec::new();
    // All refusals first, so that none comes after half of the keys were made.
    for design in &wanted {
        let name = format!("key:{}", design.label);
        match ring.get(&design.label) {
            Ok(key) if key.design.bits == design.bits => records.push(ring::record(session, key, false)?),
            Ok(_) => return Err(differs(design, "its length is another")),
            Err(_) => match findings.iter().find(|finding| finding.name == name && !finding.hint.contains("`tillward init`")) {
                Some(finding) => return Err(differs(design, &finding.hint)),
                None => missing.push(design),
            },
        }
        no_other_bdk(&ring, design)?;
    }
    let made: usize = missing.iter().map(|design| if design.is_pair() { 2 } else { 1 }).sum();
    demand_room(host, made)?;
    for design in missing {
        host.end();
        let key = make(session, &context.profile, design)?;
        tracing::info!(label = design.label, "key made");
        records.push(ring::record(session, &key, true)?);
    }
    Ok(Answer::Keys(records))
}

/// Room for so many more token objects than there were when they were counted last.
pub(super) fn demand_room(host: &Host, more: usize) -> Result<(), Fault> {
    let used = host.counters.objects.load(std::sync::atomic::Ordering::Relaxed);
    match host.args.objects.filter(|most| used.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)) > *most) {
        Some(most) => Err(Refusal::ObjectBudget { used, most }.into()),
        None => Ok(()),
    }
}

pub(super) fn differs(design: &Design, difference: &str) -> Fault {
    Refusal::KeyDiffers { label: design.label.clone(), difference: difference.to_owned() }.into()
}

/// One BDK has an id, and one an acquirer and purpose.
pub(super) fn no_other_bdk(ring: &ring::Ring, design: &Design) -> Result<(), Fault> {
    match templates::parse_bdk(&design.label) {
        Some((purpose, acquirer, id)) if ring.bdks().any(|bdk| (bdk.id == id) != (bdk.purpose == purpose && bdk.acquirer == acquirer)) => {
            Err(differs(design, "another base derivation key has its id, or its acquirer and purpose"))
        }
        _ => Ok(()),
    }
}

/// PIN, then data.
pub(super) fn bdk_designs(acquirer: &AcquirerKeys) -> Result<[Design; 2], Fault> {
    if !templates::is_acquirer(&acquirer.name) {
        return Err(Fault::input("acquirer"));
    }
    if acquirer.bdk_pin == acquirer.bdk_data {
        return Err(Fault::input("bdk id"));
    }
    let design = |purpose, id| {
        let label = bdk_label(purpose, &acquirer.name, id);
        templates::designs(&label).into_iter().find(|design| design.bits == acquirer.bits).ok_or_else(|| Fault::input("bits"))
    };
    Ok([design(KeyPurpose::Pin, acquirer.bdk_pin)?, design(KeyPurpose::Data, acquirer.bdk_data)?])
}

/// The fixed keys, then two BDKs for each acquirer.
fn designs(context: &Context, spec: &KeySpec) -> Result<Vec<Design>, Fault> {
    let audit = if context.profile.ed25519 { KeyKind::Ed25519 } else { KeyKind::P256 };
    let mut wanted = Vec::new();
    for label in templates::FIXED.into_iter().chain(templates::OPTIONAL) {
        let mut designs = templates::designs(label);
        // An audit key that is there keeps its kind, whatever the module would offer today.
        let there = context.ring.get(label).ok().map(|key| key.design.kind);
        designs.retain(|design| label != templates::AUDIT_SIGNING || design.kind == there.unwrap_or(audit));
        designs.retain(|design| templates::is_made(design, &context.profile));
        wanted.extend(designs);
    }
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    for acquirer in &spec.acquirers {
        let designs = bdk_designs(acquirer)?;
        if !names.insert(&acquirer.name) {
            return Err(Fault::input("acquirer"));
        }
        if !ids.insert(acquirer.bdk_pin) || !ids.insert(acquirer.bdk_data) {
            return Err(Fault::input("bdk id"));
        }
        wanted.extend(designs);
    }
    Ok(wanted)
}

/// The key as its design has it: the secret key, or the private and the public half.
pub(super) fn generate(
    session: &Session,
    profile: &Profile,
    design: &Design,
    id: &[u8],
) -> Result<(ObjectHandle, Option<ObjectHandle>), Error> {
    let private = design.private(profile, id);
    if !design.is_pair() {
        let mechanism = if design.kind == KeyKind::Aes { Mechanism::AesKeyGen } else { Mechanism::GenericSecretKeyGen };
        return Ok((session.generate_key(&mechanism, &private)?, None));
    }
    let mechanism = match design.kind {
        KeyKind::Rsa => Mechanism::RsaPkcsKeyPairGen,
        KeyKind::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
        _ => Mechanism::EccKeyPairGen,
    };
    let (public, private) = session.generate_key_pair(&mechanism, &design.public(id), &private)?;
    Ok((private, Some(public)))
}

/// Generate, read back, prove. What fails is destroyed again, half a pair too: it is found by the id that was drawn for it.
pub(super) fn make(session: &Session, profile: &Profile, design: &Design) -> Result<Key, Fault> {
    let id = session.generate_random_vec(16)?;
    let made = generate(session, profile, design, &id)
        .map_err(Fault::from)
        .and_then(|(handle, public)| accept(session, profile, design, &id, handle, public));
    if made.is_err() {
        let destroyed = session
            .find_objects(&[Attribute::Token(true), Attribute::Id(id)])
            .and_then(|objects| objects.into_iter().try_for_each(|object| session.destroy_object(object)));
        if let Err(error) = destroyed {
            tracing::error!(label = design.label, code = fault::code(&error), "a key that failed could not be destroyed");
        }
    }
    made
}

fn accept(
    session: &Session,
    profile: &Profile,
    design: &Design,
    id: &[u8],
    handle: ObjectHandle,
    public: Option<ObjectHandle>,
) -> Result<Key, Fault> {
    let unproven = |what: &str| Fault::from(Refusal::Unproven { label: design.label.clone(), what: what.to_owned() });
    ring::check(session, design, handle, public)?;
    let provenance = Design::provenance();
    if let Some(difference) = object::difference(&object::read_flags(session, handle, &provenance)?, &provenance) {
        return Err(unproven(&difference));
    }
    for object in [Some(handle), public].into_iter().flatten() {
        if object::bytes(session, object, AttributeType::Id)?.as_deref() != Some(id) {
            return Err(unproven("its CKA_ID is not as given"));
        }
    }
    let public = match public {
        None => None,
        Some(object) => {
            let key = public::read(session, object, design.kind)?.ok_or_else(|| unproven("its public half is not a key"))?;
            Some((session.handle(object), key))
        }
    };
    let handle = session.handle(handle);
    let key = Key { design: design.clone(), handle, working: handle, public };
    prove::prove(session, profile, &key).map_err(|reason| match reason {
        Unproven::At(what) => unproven(what),
        Unproven::Token(error) => error.into(),
    })?;
    Ok(key)
}

/// A page has room in a frame: the record of an RSA-4096 pair takes a kilobyte.
const PAGE: usize = 40;

/// The keys of the token as it is now that are as designed, in the order of their labels.
pub(super) fn inventory(context: &Context, session: &Session, after: Option<&str>) -> Result<Answer, Fault> {
    let _guard = context.searching(session);
    let mut labels = ring::list(session)?.into_iter().filter(|(label, _)| after.is_none_or(|after| label.as_str() > after));
    let mut records = Vec::new();
    for (label, objects) in labels.by_ref() {
        match ring::recognise(session, &label, &objects) {
            Ok(key) => records.push(ring::record(session, &key, false)?),
            // Not as designed: the findings tell of it, or who uses it is told.
            Err(Fault::Refused(_)) => continue,
            Err(fault) => return Err(fault),
        }
        if records.len() == PAGE {
            break;
        }
    }
    Ok(Answer::Page(records, labels.next().is_some()))
}
