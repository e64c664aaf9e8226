//! MACs with managed keys.

use cryptoki::mechanism::Mechanism;
use subtle::ConstantTimeEq as _;

use super::super::context::Context;
use super::super::fault::Fault;
use super::super::object;
use super::super::phone::verify_mac;
use super::super::pool::Session;
use super::{fits, label_for, shelf};
use crate::error::Refusal;
use crate::managed::{KeyAlgorithm, KeyRef, Purpose};
use crate::op::Answer;

pub(super) fn mac(context: &Context, session: &Session, key: &KeyRef, message: &[u8]) -> Result<Answer, Fault> {
    let label = label_for(key, Purpose::Mac)?;
    fits("message", message)?;
    let mechanism = if key.algorithm == KeyAlgorithm::HmacSha256 { Mechanism::Sha256Hmac } else { Mechanism::AesCMac };
    shelf::with(context, session, &label, |key| {
        let handle = key.working.on(session)?;
        Ok(Answer::Bytes(object::twice(|| session.sign(&mechanism, handle, message))?))
    })
}

/// CMAC where the key is; HMAC here, in constant time, because what modules compare with is not known.
pub(super) fn verify(context: &Context, session: &Session, key: &KeyRef, message: &[u8], mac: &[u8]) -> Result<Answer, Fault> {
    let label = label_for(key, Purpose::Mac)?;
    fits("message", message)?;
    let hmac = key.algorithm == KeyAlgorithm::HmacSha256;
    shelf::with(context, session, &label, |key| {
        let handle = key.working.on(session)?;
        if hmac {
            let right = session.sign(&Mechanism::Sha256Hmac, handle, message)?;
            return if bool::from(right.ct_eq(mac)) { Ok(Answer::Done) } else { Err(Refusal::MacMismatch.into()) };
        }
        // A shorter one is a prefix that is easier to guess.
        let mac = mac.try_into().map_err(|_| Refusal::MacMismatch)?;
        verify_mac(session, handle, message, mac)?;
        Ok(Answer::Done)
    })
}
