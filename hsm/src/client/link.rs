//! One connection to a host: many calls in flight, told apart by their number.

use std::collections::HashMap;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::error::Refusal;
use crate::frame;
use crate::op::{Answer, Asked, Operation, Response};

/// Why a call has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It was not sent: the connection takes nothing more.
    NotSent,
    /// It was sent, and the host ended or was given up before it answered. It may have been done.
    Lost,
    /// No answer within the deadline. It may have been done.
    Deadline,
    /// The host refused or could not do it.
    Refused(Refusal),
}

/// What is on its way, whether somebody still waits for it or not.
#[derive(Debug)]
struct Traffic {
    outstanding: usize,
    /// When something came from the host, or the first of what is outstanding was sent.
    since: Instant,
}

type Waiting = HashMap<u64, oneshot::Sender<Result<Answer, Refusal>>>;
/// A frame, and the call that it is.
type Frame = (u64, Zeroizing<Vec<u8>>);

struct Shared {
    /// `None` once nothing can be answered any more.
    waiting: Mutex<Option<Waiting>>,
    traffic: Mutex<Traffic>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) {
        let mut traffic = self.traffic();
        if traffic.outstanding == 0 {
            traffic.since = Instant::now();
        }
        traffic.outstanding = traffic.outstanding.saturating_add(1);
    }

    fn unsent(&self) {
        let mut traffic = self.traffic();
        traffic.outstanding = traffic.outstanding.saturating_sub(1);
    }

    fn heard(&self) {
        let mut traffic = self.traffic();
        traffic.outstanding = traffic.outstanding.saturating_sub(1);
        traffic.since = Instant::now();
    }
}

/// A connection. Dropping every clone ends it, and with it a host that is a child.
pub(super) struct Link {
    shared: Arc<Shared>,
    next: AtomicU64,
    frames: Mutex<Option<mpsc::UnboundedSender<Frame>>>,
    closed: watch::Receiver<bool>,
    finished: AtomicBool,
}

/// Forgets a call whose caller does not wait any more.
struct Forget<'a>(&'a Shared, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.waiting().as_mut() {
            waiting.remove(&self.1);
        }
    }
}

impl Link {
    /// Takes the connection over.
    pub(super) fn new(stream: StdStream) -> std::io::Result<Arc<Self>> {
        stream.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        let (frames, outgoing) = mpsc::unbounded_channel();
        let (close, closed) = watch::channel(false);
        let close = Arc::new(close);
        let traffic = Mutex::new(Traffic { outstanding: 0, since: Instant::now() });
        let shared = Arc::new(Shared { waiting: Mutex::new(Some(HashMap::new())), traffic });
        tokio::spawn(send(write, outgoing, shared.clone(), close.clone()));
        tokio::spawn(receive(read, shared.clone(), close));
        let (next, frames, finished) = (AtomicU64::new(1), Mutex::new(Some(frames)), AtomicBool::new(false));
        Ok(Arc::new(Self { shared, next, frames, closed, finished }))
    }

    /// How many calls wait for their answer.
    pub(super) fn in_flight(&self) -> usize {
        self.shared.waiting().as_ref().map_or(0, HashMap::len)
    }

    /// Whether it takes calls.
    pub(super) fn is_open(&self) -> bool {
        !self.finished.load(Ordering::SeqCst) && !*self.closed.borrow()
    }

    /// Sends no more; the host answers what it has and ends.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Tells everybody who waits that no answer is to be waited for.
    pub(super) fn give_up(&self) {
        if let Some(waiting) = self.shared.waiting().as_mut() {
            waiting.clear();
        }
    }

    /// Resolves when the host has closed its end, or takes no more requests.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the receiving task is gone, which is the same.
        drop(closed.wait_for(|closed| *closed).await);
    }

    /// Whether the host was asked and has said nothing for so long.
    pub(super) fn is_silent(&self, stuck: Duration) -> bool {
        let traffic = self.shared.traffic();
        traffic.outstanding > 0 && traffic.since.elapsed() >= stuck
    }

    /// Resolves when the host was asked and has said nothing for so long. Two looks, because this process itself may have slept, with the answers
    /// ready to be read.
    pub(super) async fn falls_silent(&self, stuck: Duration) {
        let tick = (stuck / 16).clamp(Duration::from_millis(5), Duration::from_millis(100));
        let mut silent = false;
        loop {
            tokio::time::sleep(tick).await;
            let still = self.is_silent(stuck);
            if silent && still {
                return;
            }
            silent = still;
        }
    }

    /// One operation, one answer.
    pub(super) async fn call(&self, operation: &Operation, deadline: Duration) -> Result<Answer, Failed> {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let budget_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        let frame = frame::encode(&Asked { id, budget_ms, operation })
            .map_err(|_| Failed::Refused(Refusal::InvalidInput { what: "request longer than a frame".to_owned() }))?;
        let (answer, answered) = oneshot::channel();
        self.shared.waiting().as_mut().ok_or(Failed::NotSent)?.insert(id, answer);
        let _forget = Forget(&self.shared, id);
        {
            let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
            let frames = frames.as_ref().ok_or(Failed::NotSent)?;
            // Before it is on its way, or its answer could be counted first.
            self.shared.sent();
            if frames.send((id, frame)).is_err() {
                // The host takes nothing any more, and the end of its answers is about to be read.
                self.finished.store(true, Ordering::SeqCst);
                self.shared.unsent();
                return Err(Failed::NotSent);
            }
        }
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(result)) => result.map_err(Failed::Refused),
            Ok(Err(_)) => Err(Failed::Lost),
            Err(_) => Err(Failed::Deadline),
        }
    }
}

async fn send(
    mut write: OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Frame>,
    shared: Arc<Shared>,
    close: Arc<watch::Sender<bool>>,
) {
    while let Some((id, frame)) = outgoing.recv().await {
        if write.write_all(&frame).await.is_ok() {
            continue;
        }
        // The host takes no more requests, because it is about to end, and its end may be long in coming: it is not chosen any more, and
        // who was on the way to it is told. What it was asked before, it answers.
        close.send_replace(true);
        outgoing.close();
        let mut unsent = Some(id);
        while let Some(id) = unsent {
            shared.unsent();
            drop(shared.waiting().as_mut().and_then(|waiting| waiting.remove(&id)));
            unsent = outgoing.recv().await.map(|(id, _)| id);
        }
        break;
    }
    // Dropping the half shuts the direction down: the host reads the end of the stream.
}

async fn receive(mut read: OwnedReadHalf, shared: Arc<Shared>, close: Arc<watch::Sender<bool>>) {
    while let Some(Response { id, result }) = response(&mut read).await {
        shared.heard();
        let caller = shared.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
        // Nobody waits for an answer that came after its deadline.
        if let Some(caller) = caller {
            drop(caller.send(result));
        }
    }
    // First, so that nobody who is told that the host ended asks it again.
    close.send_replace(true);
    shared.waiting().take();
}

async fn response(read: &mut OwnedReadHalf) -> Option<Response> {
    let mut header = [0; 4];
    read.read_exact(&mut header).await.ok()?;
    let mut body = Zeroizing::new(vec![0; frame::length(header).ok()?]);
    read.read_exact(&mut body).await.ok()?;
    frame::decode(&body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::Shutdown;

    /// A host that takes no more requests, and answers what it has: it is about to end.
    #[tokio::test]
    async fn who_takes_no_more_requests_is_not_asked_again_and_its_answers_are_heard() {
        let (ours, mut theirs) = StdStream::pair().expect("a socket pair");
        let link = Link::new(ours).expect("a link");
        let (asked, deadline) = (link.clone(), Duration::from_secs(30));
        let first = tokio::spawn(async move { asked.call(&Operation::Canary, deadline).await });
        let read = tokio::task::spawn_blocking(move || {
            frame::read(&mut theirs).expect("reads").expect("a request");
            theirs.shutdown(Shutdown::Read).expect("shuts down");
            theirs
        });
        let mut theirs = read.await.expect("read");
        assert_eq!(link.call(&Operation::Canary, deadline).await.err(), Some(Failed::Lost));
        link.closed().await;
        assert!(!link.is_open(), "it would be asked again and again");
        assert_eq!(link.call(&Operation::Canary, deadline).await.err(), Some(Failed::NotSent));
        theirs.write_all(&frame::encode(&Response { id: 1, result: Ok(Answer::Done) }).expect("short")).expect("answers");
        assert!(matches!(first.await.expect("joins"), Ok(Answer::Done)));
    }
}
