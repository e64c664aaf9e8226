//! One signature over the hash of a plan, by the key of an officer. Nothing is made on the token.

use std::sync::Arc;

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};

use crate::host::fault::{self, Fault};
use crate::host::keeper::CEREMONY;
use crate::host::logins::Logins;
use crate::host::pool::{Counters, Pool, Session};
use crate::host::watchdog::Beat;
use crate::host::{module, object, public};
use crate::model::{Finding, KeyKind};
use crate::trial::SignedPlan;
use crate::uri::Pkcs11Uri;

pub(super) fn sign_plan(uri: &Pkcs11Uri, label: &str, hash: &[u8; 32]) -> Result<SignedPlan, Finding> {
    let module = module::load(uri)?;
    module::initialise(&module)?;
    let (slot, _) = module::find_token(&module, uri)?;
    // Nobody looks at this beat: the process is what a hanging call costs.
    let pool = Pool::new(module.clone(), slot, 1, 1, Arc::new(Counters::default()), Beat::new(CEREMONY));
    let session = pool.aside().map_err(|error| Finding::failed("token", Some(fault::code(&error)), "the token gives no session"))?;
    module::log_in(&module, slot, &session, uri, &mut None, &Logins::default().turn(uri, || {}))?;
    let signed = with_key(&session, label, hash);
    drop(session);
    drop(module.finalize());
    signed
}

fn with_key(session: &Session, label: &str, hash: &[u8; 32]) -> Result<SignedPlan, Finding> {
    let failed = |hint: &str| Finding::failed("key", None, hint);
    let answered = |error: Error| Finding::failed("key", None, Fault::from(error).into_refusal().to_string());
    let labelled = |class| {
        let wanted = [Attribute::Class(class), Attribute::KeyType(KeyType::EC), Attribute::Label(label.as_bytes().to_vec())];
        session.find_objects(&wanted).map_err(answered)
    };
    // Exactly one: which of two keys signed would be chance.
    let [private] = labelled(ObjectClass::PRIVATE_KEY)?[..] else {
        return Err(failed("not exactly one private EC key has this label: name it with object="));
    };
    // The pair belongs together by its id; where a tool gave it none, by its label.
    let id = object::bytes(session, private, AttributeType::Id).map_err(answered)?.filter(|id| !id.is_empty());
    let found = match id {
        Some(id) => session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id)]).map_err(answered)?,
        None => labelled(ObjectClass::PUBLIC_KEY)?,
    };
    let [public] = found[..] else { return Err(failed("not exactly one public key belongs to it")) };
    let key = public::read(session, public, KeyKind::P256).map_err(answered)?.ok_or_else(|| failed("it is not a P-256 key"))?;
    let signature = session.sign(&Mechanism::Ecdsa, private, hash).map_err(answered)?;
    // Nothing leaves that its own public half does not vouch for.
    if key.verifies(hash, &signature) {
        Ok(SignedPlan { signature, public_key: key.spki })
    } else {
        Err(failed("what the token signed does not verify with its public key"))
    }
}
