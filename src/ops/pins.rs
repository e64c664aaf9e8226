//! What is pinned: the policy set and the roster of officers stand in force by digest. The first start pins what it finds; afterwards another is
//! taken only if an executed plan approves exactly that digest, and never an older one again without another plan.

use super::context::Context;
use super::error::{OpError, Refusal};
use super::officers::Officers;
use super::reason::Reason;
use crate::app::App;
use crate::audit::{AuditEvent, Fact, Occasion};
use crate::authz::{Action, Authz, Caller, Circumstances, Resource};
use crate::clock::Clock;
use crate::store::{PinKind, Store, StoreError};

/// A file that nobody approved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {what} (digest {found}) is not the one that is in force (digest {pinned}): put that one back, or let the officers in force approve this one: \
     `tillward plan propose {deed} --content {found}`, while the old one serves"
)]
pub struct NotApproved {
    what: &'static str,
    deed: &'static str,
    found: String,
    pinned: String,
}

impl NotApproved {
    fn new(kind: PinKind, found: &[u8; 32], pinned: &[u8; 32]) -> Self {
        let (what, deed) = match kind {
            PinKind::Policy => ("policy set", "change-policy"),
            PinKind::Officers => ("officers' file", "change-officers"),
        };
        Self { what, deed, found: data_encoding::HEXLOWER.encode(found), pinned: data_encoding::HEXLOWER.encode(pinned) }
    }
}

/// Why something is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Nobody approved it.
    #[error(transparent)]
    NotApproved(#[from] NotApproved),
    /// Whether somebody did is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be pinned.
    #[error(transparent)]
    Work(#[from] OpError),
}

/// The digest that is in force, if one is pinned.
///
/// # Errors
/// [`StoreError`].
pub async fn pinned(store: &Store, kind: PinKind) -> Result<Option<[u8; 32]>, StoreError> {
    store.read().await?.pinned(kind).await
}

/// Whether a digest may be in force beside the one that is pinned.
///
/// # Errors
/// [`NotApproved`].
pub fn compare(kind: PinKind, digest: &[u8; 32], pinned: Option<[u8; 32]>) -> Result<(), PinError> {
    match pinned {
        Some(pinned) if pinned != *digest => Err(NotApproved::new(kind, digest, &pinned).into()),
        _ => Ok(()),
    }
}

/// Whether this digest may be in force.
///
/// # Errors
/// [`PinError`].
pub async fn allow(store: &Store, kind: PinKind, digest: &[u8; 32]) -> Result<(), PinError> {
    compare(kind, digest, pinned(store, kind).await?)
}

/// Why no plan is approved or executed here: what is loaded is not what is pinned. An officer who was taken out by a plan would still count on a
/// node whose file was not changed yet.
pub(super) async fn behind(app: &App) -> Result<Option<Refusal>, StoreError> {
    let mut reads = app.store.read().await?;
    let (officers, policy) = (reads.pinned(PinKind::Officers).await?, reads.pinned(PinKind::Policy).await?);
    drop(reads);
    let what = if officers.is_some_and(|pinned| pinned != app.officers.now().digest) {
        "the roster in force is not the one that was approved"
    } else if policy.is_some_and(|pinned| pinned != app.authz.digest()) {
        "the policies in force are not those that were approved"
    } else {
        return Ok(None);
    };
    Ok(Some(Reason::StateConflict.with(what)))
}

/// The look at the start: pins what nobody has pinned, and refuses what nobody approved. While there is no roster, nobody could approve a change:
/// then the policies are not pinned either.
///
/// # Errors
/// [`PinError`].
pub async fn check(store: &Store, authz: &Authz, clock: &Clock, officers: &Officers) -> Result<(), PinError> {
    if officers.path().is_some() {
        first(store, authz, clock, PinKind::Officers, &officers.now().digest).await?;
        first(store, authz, clock, PinKind::Policy, &authz.digest()).await?;
        allow(store, PinKind::Officers, &officers.now().digest).await?;
    }
    allow(store, PinKind::Policy, &authz.digest()).await
}

async fn first(store: &Store, authz: &Authz, clock: &Clock, kind: PinKind, digest: &[u8; 32]) -> Result<(), PinError> {
    let mut tx = store.begin().await?;
    if tx.pinned(kind).await?.is_some() {
        return Ok(());
    }
    let now = clock.now();
    let permit = authz
        .authorize(&Caller::System("pins"), Action::Initialise, &Resource::service(), Circumstances::at(now))
        .map_err(|error| OpError::internal("asking for a permit", error))?;
    let occasion = Occasion { at: now, request: Context::of_the_service()?.request_id };
    match tx.pin(kind, digest, None, now).await {
        Ok(()) => {}
        // Another node was first: what it pinned is compared next.
        Err(StoreError::Conflict(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    tx.commit(AuditEvent::effect(permit, &occasion).with(kind.name(), Fact::hex(digest))).await?;
    Ok(())
}
