//! Group commit of audit entries that belong to no change: a disk is synced once for all that wait.

use super::open::Pools;
use super::{Cause, StoreError};
use crate::audit::Entry;
use tokio::sync::{mpsc, oneshot};

/// Entries in one transaction.
const BATCH: usize = 256;
/// Entries that may wait. More are refused: a caller that is told "busy" now is better off than one that waits for seconds.
const WAITING: usize = 4096;

type Waiter = (Entry, oneshot::Sender<Result<(), StoreError>>);

/// The way to the task that commits.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    queue: mpsc::Sender<Waiter>,
}

impl Recorder {
    /// Starts the task. It ends when the last `Recorder` is gone.
    pub(super) fn start(pools: Pools) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(commit_batches(pools, waiting));
        Self { queue }
    }

    pub(super) async fn record(&self, entry: Entry) -> Result<(), StoreError> {
        let (done, written) = oneshot::channel();
        self.queue.try_send((entry, done)).map_err(|_| unavailable("too many audit entries wait"))?;
        written.await.map_err(|_| unavailable("the audit entry was not acknowledged"))?
    }
}

async fn commit_batches(pools: Pools, mut waiting: mpsc::Receiver<Waiter>) {
    let mut batch: Vec<Waiter> = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let (entries, acknowledgements): (Vec<Entry>, Vec<_>) = batch.drain(..).unzip();
        let outcome = match pools.begin().await {
            Ok(tx) => tx.commit_entries(&entries).await,
            Err(error) => Err(error),
        };
        for acknowledgement in acknowledgements {
            // A caller that has gone away needs no answer; its entry stands.
            let _ = acknowledgement.send(outcome.clone());
        }
    }
}

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable(Cause::new(reason))
}
