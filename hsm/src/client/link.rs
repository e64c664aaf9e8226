//! One connection to a host: many calls in flight, told apart by their number.

use std::collections::HashMap;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::error::{HsmError, Outage, Refusal};
use crate::frame;
use crate::op::{Answer, Asked, Operation, Response};

type Waiting = HashMap<u64, oneshot::Sender<Result<Answer, Refusal>>>;

/// A connection. Dropping every clone ends it, and with it the host.
pub(super) struct Link {
    waiting: Arc<Mutex<Option<Waiting>>>,
    next: AtomicU64,
    in_flight: AtomicUsize,
    /// Calls in a row that ran into their deadline without any answer in between.
    overdue: Arc<AtomicUsize>,
    frames: Mutex<Option<mpsc::UnboundedSender<Zeroizing<Vec<u8>>>>>,
    closed: watch::Receiver<bool>,
    /// Told when the host seems to hang.
    pub(super) hangs: Notify,
    patience: usize,
}

/// Forgets a call whose caller does not wait any more.
struct Forget<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.in_flight.fetch_sub(1, Ordering::SeqCst);
        if let Some(waiting) = self.link.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            waiting.remove(&self.id);
        }
    }
}

impl Link {
    /// Takes the connection over. `patience` calls in a row without an answer mean that the host hangs.
    pub(super) fn new(stream: StdStream, patience: usize) -> std::io::Result<Arc<Self>> {
        stream.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        let (frames, outgoing) = mpsc::unbounded_channel();
        let (close, closed) = watch::channel(false);
        let waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let overdue = Arc::new(AtomicUsize::new(0));
        tokio::spawn(send(write, outgoing));
        tokio::spawn(receive(read, waiting.clone(), overdue.clone(), close));
        Ok(Arc::new(Self {
            waiting,
            next: AtomicU64::new(1),
            in_flight: AtomicUsize::new(0),
            overdue,
            frames: Mutex::new(Some(frames)),
            closed,
            hangs: Notify::new(),
            patience,
        }))
    }

    /// How many calls wait for their answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Sends no more; the host answers what it has and ends.
    pub(super) fn finish(&self) {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Resolves when the host has closed its end.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the receiving task is gone, which is the same.
        drop(closed.wait_for(|closed| *closed).await);
    }

    /// One operation, one answer. [`Outage::Replaced`] means that it was not sent, because another host has taken over.
    pub(super) async fn call(&self, operation: &Operation, deadline: Duration) -> Result<Answer, HsmError> {
        let ended = || HsmError::Unavailable(Outage::Ended);
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let budget_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        let frame = frame::encode(&Asked { id, budget_ms, operation })
            .map_err(|_| HsmError::Refused(Refusal::InvalidInput { what: "request longer than a frame".to_owned() }))?;
        let (answer, answered) = oneshot::channel();
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let _forget = Forget { link: self, id };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut().ok_or_else(ended)?.insert(id, answer);
        self.frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .ok_or(HsmError::Unavailable(Outage::Replaced))?
            .send(frame)
            .map_err(|_| ended())?;
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) => Err(ended()),
            Err(_) => {
                if self.overdue.fetch_add(1, Ordering::SeqCst).saturating_add(1) >= self.patience {
                    self.hangs.notify_one();
                }
                Err(HsmError::Deadline)
            }
        }
    }
}

async fn send(mut write: OwnedWriteHalf, mut outgoing: mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>) {
    while let Some(frame) = outgoing.recv().await {
        if write.write_all(&frame).await.is_err() {
            break;
        }
    }
    // Dropping the half shuts the direction down: the host reads the end of the stream.
}

async fn receive(mut read: OwnedReadHalf, waiting: Arc<Mutex<Option<Waiting>>>, overdue: Arc<AtomicUsize>, close: watch::Sender<bool>) {
    while let Some(Response { id, result }) = response(&mut read).await {
        overdue.store(0, Ordering::SeqCst);
        let caller = waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(|waiting| waiting.remove(&id));
        // Nobody waits for an answer that came after its deadline.
        if let Some(caller) = caller {
            drop(caller.send(result));
        }
    }
    // Dropping the senders tells every caller that the host ended.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    close.send_replace(true);
}

async fn response(read: &mut OwnedReadHalf) -> Option<Response> {
    let mut header = [0; 4];
    read.read_exact(&mut header).await.ok()?;
    let mut body = Zeroizing::new(vec![0; frame::length(header).ok()?]);
    read.read_exact(&mut body).await.ok()?;
    frame::decode(&body).ok()
}
