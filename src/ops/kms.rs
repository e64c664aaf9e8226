//! What the uses of managed keys share: one request, one item or many, an answer for each.
//!
//! The items of a request that use the same version share one permit, one count of uses and one entry of the audit log, which is written before
//! any answer is given out. An item that cannot be done fails alone; what stops the request (no permit, a part of Tillward away) stops all of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use tillward_hsm::KeyName;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::context::Context;
use super::error::{OpError, Refusal};
use super::reason::Reason;
use super::refuse;
use super::usable_key::{UsableKey, Use, usable_key};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::Action;
use crate::wire::{b64url, length_prefix};

/// Most items of a request.
pub(super) const MOST_ITEMS: usize = 100;
/// Longest message, plaintext or associated data.
pub(super) const LONGEST: usize = 32 * 1024;

/// Body of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch<T> {
    /// 1 to 100 items, each as in the request for one.
    #[schema(min_items = 1, max_items = 100)]
    pub items: Vec<T>,
}

/// Answer to a batch.
#[derive(Serialize, ToSchema)]
pub struct BatchAnswer<T> {
    /// An outcome for each item, in their order.
    pub items: Vec<Outcome<T>>,
}

/// What became of an item.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Outcome<T> {
    /// Done: as in the answer for one.
    Done(T),
    /// Refused.
    Refused {
        /// Why.
        problem: ItemProblem,
    },
}

/// Why an item was refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemProblem {
    /// The stable reason.
    reason: &'static str,
    /// The status that a request for this item alone would have had.
    status: u16,
    /// One line for people.
    title: &'static str,
    /// Which member or check.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl From<Refusal> for ItemProblem {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.reason;
        Self { reason: reason.code(), status: reason.status(), title: reason.title(), detail: refusal.detail }
    }
}

/// Bytes that leave for the caller alone: base64url in the answer, gone from memory after it.
pub(super) struct SecretText(Zeroizing<String>);

impl SecretText {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(b64url::encode(bytes)))
    }
}

/// The way out: into the answer and nowhere else.
impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// One way of using a managed key.
pub(super) trait Verb {
    /// What is asked.
    type Item: Sync;
    /// What is answered.
    type Done: Send;
    /// What it is to the policies.
    const ACTION: Action;
    /// What it does with the key.
    const USE: Use;
    /// Whether a use is an entry of the audit log. Verifying is not: it gives nothing out that was not brought.
    const AUDITED: bool = true;

    /// The version that the item names; none: the primary one.
    fn version(item: &Self::Item) -> Result<Option<u32>, Refusal>;

    /// Does it. [`OpError::Refused`] fails this item alone.
    fn perform(app: &App, key: &UsableKey, item: &Self::Item) -> impl Future<Output = Result<Self::Done, OpError>> + Send;
}

/// One item.
pub(super) async fn one<V: Verb>(app: &App, context: &Context, name: &KeyName, item: V::Item) -> Result<V::Done, OpError> {
    let outcomes = run::<V>(app, context, name, &[item]).await?;
    let outcome = outcomes.into_iter().next().ok_or_else(|| OpError::internal("using a key", "an item has no outcome"))?;
    Ok(outcome?)
}

/// Many items.
pub(super) async fn many<V: Verb>(
    app: &App,
    context: &Context,
    name: &KeyName,
    batch: &Batch<V::Item>,
) -> Result<BatchAnswer<V::Done>, OpError> {
    if !(1..=MOST_ITEMS).contains(&batch.items.len()) {
        return Err(Reason::Malformed.with("items: 1 to 100").into());
    }
    let outcomes = run::<V>(app, context, name, &batch.items).await?;
    let items = outcomes.into_iter().map(|outcome| match outcome {
        Ok(done) => Outcome::Done(done),
        Err(refusal) => Outcome::Refused { problem: refusal.into() },
    });
    Ok(BatchAnswer { items: items.collect() })
}

async fn run<V: Verb>(app: &App, context: &Context, name: &KeyName, items: &[V::Item]) -> Result<Vec<Result<V::Done, Refusal>>, OpError> {
    let mut outcomes: Vec<Option<Result<V::Done, Refusal>>> = items.iter().map(|_| None).collect();
    let mut groups: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for ((at, item), outcome) in items.iter().enumerate().zip(&mut outcomes) {
        match V::version(item) {
            Ok(version) => groups.entry(version).or_default().push(at),
            Err(refusal) => *outcome = Some(Err(refusal)),
        }
    }
    let unreadable = outcomes.iter().flatten().find_map(|outcome| outcome.as_ref().err().map(|refusal| refusal.reason));
    if groups.is_empty() {
        // Who may not use the key does not learn how its ciphertexts look.
        groups.insert(None, Vec::new());
    }
    let alone = groups.len() == 1;
    for (version, group) in groups {
        let uses = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let (key, permit) = match usable_key(app, context, V::ACTION, name, version, V::USE, uses).await {
            Ok(usable) => usable,
            // Of several versions, the one that may not be used does not stop the others.
            Err(OpError::Refused(refusal)) if !alone && refusal.reason != Reason::NotPermitted => {
                for at in group {
                    if let Some(outcome) = outcomes.get_mut(at) {
                        *outcome = Some(Err(refusal.clone()));
                    }
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let (mut done, mut refused) = (0_u64, unreadable);
        for at in group {
            let (Some(item), Some(outcome)) = (items.get(at), outcomes.get_mut(at)) else { continue };
            *outcome = Some(match V::perform(app, &key, item).await {
                Ok(answer) => {
                    done += 1;
                    Ok(answer)
                }
                Err(OpError::Refused(refusal)) => {
                    refused.get_or_insert(refusal.reason);
                    Err(refusal)
                }
                Err(error) => return Err(error),
            });
        }
        match refused {
            Some(reason) if done == 0 => {
                if let error @ (OpError::Unavailable { .. } | OpError::Internal { .. }) = refuse(app, context, permit, reason).await {
                    return Err(error);
                }
            }
            _ if V::AUDITED => {
                let event =
                    AuditEvent::effect(permit, &context.occasion(app)).with("version", u64::from(key.key.version)).with("items", done);
                app.store.record(event).await?;
            }
            _ => {}
        }
    }
    let whole = outcomes.into_iter().collect::<Option<Vec<_>>>();
    whole.ok_or_else(|| OpError::internal("using a key", "an item has no outcome"))
}

/// What stands before everything that was encrypted or wrapped here: the form, and the version of the key.
const HEADER: usize = 8;

/// The form's mark and the version.
pub(super) fn header(mark: [u8; 4], version: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&mark);
    header[4..].copy_from_slice(&version.to_be_bytes());
    header
}

/// The version that a header names, and what stands behind it.
pub(super) fn open_header(mark: [u8; 4], bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (found, rest) = bytes.split_first_chunk::<4>()?;
    let (version, content) = rest.split_first_chunk::<4>()?;
    let version = u32::from_be_bytes(*version);
    (*found == mark && version > 0).then_some((version, content))
}

/// The associated data of the token: header, the key's own name, the caller's associated data, the last two with their lengths before them. So a
/// ciphertext opens under this key and version alone, whatever names lead to it.
pub(super) fn associated(header: [u8; HEADER], key: &KeyName, data: &[u8]) -> Vec<u8> {
    let name = key.as_str().as_bytes();
    [&header[..], &length_prefix(name.len()), name, &length_prefix(data.len()), data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_opens_to_what_it_was_made_of(version in 1_u32.., content in proptest::collection::vec(any::<u8>(), 0..64)) {
            let whole = [&header(*b"TWC1", version)[..], &content].concat();
            prop_assert_eq!(open_header(*b"TWC1", &whole), Some((version, &content[..])));
            prop_assert_eq!(open_header(*b"TWW1", &whole), None);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = open_header(*b"TWC1", &bytes);
        }
    }

    #[test]
    fn associated_data_of_other_parts_is_other_data() {
        let name = |name: &str| name.parse::<KeyName>().expect("a name");
        let one = associated(header(*b"TWC1", 1), &name("ab"), b"c");
        assert_ne!(one, associated(header(*b"TWC1", 1), &name("a"), b"bc"));
        assert_ne!(one, associated(header(*b"TWC1", 2), &name("ab"), b"c"));
        assert_eq!(open_header(*b"TWC1", &header(*b"TWC1", 0)), None, "versions begin at 1");
    }
}
