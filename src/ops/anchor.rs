//! What a restored database must not revive (a used code, a stopped phone) moves the mark on the token, so that a backup from before it
//! is known for one at the next start. A write on the token is slow, so the move follows the commit instead of being part of it, at most
//! one a second and acquirer: a backup taken just before, put back after a crash within that second, is the one that is not noticed.
//! Even then no derivation id is given twice (`derivation_ids`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::derivation_ids::take;
use crate::app::App;
use crate::id::AcquirerId;

/// The acquirers whose mark is to move, each with how often that was noted.
#[derive(Debug, Default)]
pub struct Anchor {
    due: Mutex<BTreeMap<AcquirerId, u64>>,
    wake: Notify,
}

impl Anchor {
    /// Something of this acquirer was committed that must not come back.
    pub(super) fn note(&self, acquirer: &AcquirerId) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner).entry(acquirer.clone()).or_default() += 1;
        self.wake.notify_one();
    }

    /// Something of a managed key was committed that must not come back. Of a key of the service, any acquirer's mark tells.
    pub(super) fn note_key(&self, app: &App, key: &crate::store::Key) {
        let any = app.settings.acquirers.first().map(|acquirer| &acquirer.name);
        if let Some(acquirer) = key.acquirer.as_ref().or(any) {
            self.note(acquirer);
        }
    }

    /// Returns when something was noted.
    pub(crate) async fn noted(&self) {
        self.wake.notified().await;
    }

    /// Moves the marks that are due. What fails, is cut off, or was noted again meanwhile stays due: the next try is as good.
    pub(crate) async fn settle(&self, app: &App) {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (acquirer, noted) in due {
            match take(app, &acquirer, 1).await {
                Ok(_) => {
                    let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
                    if due.get(&acquirer) == Some(&noted) {
                        due.remove(&acquirer);
                    }
                }
                Err(error) => {
                    tracing::warn!(%acquirer, %error, "the mark on the token could not be moved; it will be tried again");
                    self.wake.notify_one();
                }
            }
        }
    }
}
