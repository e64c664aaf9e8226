//! The sessions of one generation, lent to the workers one operation at a time, and the handles that belong to them.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::slot::Slot;

use super::fault::Fault;
use super::watchdog::{Beat, Watched};
use crate::error::Refusal;

/// After this a limit that the token once showed is tried again: others may have given sessions back.
const FORGET: Duration = Duration::from_secs(10);

/// What is counted over all generations.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Sessions open now.
    pub(super) sessions: AtomicU64,
    /// The number at which the token refused one more; 0 while it has not.
    pub(super) session_limit: AtomicU64,
    /// Session objects made since the module was initialised.
    pub(super) made: AtomicU64,
    /// Token objects when the keys were looked for last.
    pub(super) objects: AtomicU64,
}

/// A session that knows its generation. Dropping it closes it.
pub(super) struct Session {
    inner: cryptoki::session::Session,
    generation: u64,
    counters: Arc<Counters>,
    /// Of the thread that calls by it.
    beat: Arc<Beat>,
    /// While it is lent. Behind `inner`, so that closing it is watched too.
    watched: Option<Watched>,
}

impl Session {
    /// A handle that this session gave.
    pub(super) fn handle(&self, object: ObjectHandle) -> Handle {
        Tagged { handle: object, generation: self.generation }
    }

    /// Counts a session object.
    pub(super) fn made(&self) {
        self.counters.made.fetch_add(1, Ordering::Relaxed);
    }

    /// The next calls may take so much longer than others.
    pub(super) fn allow(&self, longer: Duration) {
        self.beat.allow(longer);
    }

    /// Waits for something else than the module.
    pub(super) fn pause<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.beat.pause(wait)
    }

    /// How many token objects there are.
    pub(super) fn saw(&self, objects: usize) {
        self.counters.objects.store(u64::try_from(objects).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Deref for Session {
    type Target = cryptoki::session::Session;
    fn deref(&self) -> &Self::Target {
        // Every call of the module by a session comes through here.
        self.beat.tick();
        &self.inner
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.counters.sessions.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The handle of a token key.
pub(super) type Handle = Tagged<ObjectHandle>;

/// A handle of one generation. It cannot be used in another: tokens count handles anew, so an old one may name another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tagged<T> {
    handle: T,
    generation: u64,
}

impl<T: Copy> Tagged<T> {
    /// The bare handle, for a session of the same generation; otherwise what the token would say of it.
    pub(super) fn on(self, session: &Session) -> Result<T, Error> {
        self.in_generation(session.generation)
    }

    fn in_generation(self, generation: u64) -> Result<T, Error> {
        if self.generation == generation {
            Ok(self.handle)
        } else {
            Err(Error::Pkcs11(RvError::ObjectHandleInvalid, Function::FindObjects))
        }
    }
}

struct Stock {
    idle: Vec<Session>,
    /// Sessions of this pool, lent ones too.
    open: usize,
    /// The number that the token gave, once it refused one more, and when.
    refused: Option<(usize, Instant)>,
}

/// The sessions of one generation.
pub(super) struct Pool {
    module: Pkcs11,
    slot: Slot,
    pub(super) generation: u64,
    most: usize,
    counters: Arc<Counters>,
    keeper: Arc<Beat>,
    stock: Mutex<Stock>,
    returned: Condvar,
}

impl Pool {
    /// A pool that lends `most` sessions at most.
    pub(super) fn new(module: Pkcs11, slot: Slot, generation: u64, most: usize, counters: Arc<Counters>, keeper: Arc<Beat>) -> Self {
        let stock = Mutex::new(Stock { idle: Vec::new(), open: 0, refused: None });
        Self { module, slot, generation, most: most.max(1), counters, keeper, stock, returned: Condvar::new() }
    }

    /// A session outside of the pool: for the anchor, and for the keeper's probes, which spoil theirs.
    pub(super) fn aside(&self) -> Result<Session, Error> {
        self.keeper.tick();
        self.open(&self.keeper)
    }

    fn open(&self, beat: &Arc<Beat>) -> Result<Session, Error> {
        let inner = self.module.open_rw_session(self.slot)?;
        self.counters.sessions.fetch_add(1, Ordering::SeqCst);
        Ok(Session { inner, generation: self.generation, counters: self.counters.clone(), beat: beat.clone(), watched: None })
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends a session: an idle one, a new one, or the next that comes back. A token that gives fewer than are asked for makes callers wait, and
    /// pushes back the one whose time is up. The calls by it are watched, the wait for it is not: others' calls are what takes the time.
    pub(super) fn lend(&self, until: Instant, beat: &Arc<Beat>) -> Result<Session, Fault> {
        let mut stock = self.stock();
        loop {
            if let Some(mut session) = stock.idle.pop() {
                (session.beat, session.watched) = (beat.clone(), Some(beat.watch()));
                return Ok(session);
            }
            let refused = stock.refused.filter(|(_, at)| at.elapsed() < FORGET).map(|(number, _)| number);
            if stock.open < self.most.min(refused.unwrap_or(usize::MAX)) {
                stock.open = stock.open.saturating_add(1);
                drop(stock);
                let watched = beat.watch();
                let opened = self.open(beat);
                match opened {
                    Ok(mut session) => {
                        session.watched = Some(watched);
                        return Ok(session);
                    }
                    Err(error) => {
                        drop(watched);
                        stock = self.stock();
                        stock.open = stock.open.saturating_sub(1);
                        // Who waits for a session may have waited for this one.
                        self.returned.notify_one();
                        if !matches!(error, Error::Pkcs11(RvError::SessionCount, _)) {
                            return Err(error.into());
                        }
                        self.counters.session_limit.store(self.counters.sessions.load(Ordering::SeqCst), Ordering::SeqCst);
                        if stock.open == 0 {
                            return Err(Refusal::Busy.into());
                        }
                        stock.refused = Some((stock.open, Instant::now()));
                        continue;
                    }
                }
            }
            let patience = until.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err(Refusal::Busy.into());
            }
            stock = self.returned.wait_timeout(stock, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes a session back that is fit for the next operation.
    pub(super) fn give_back(&self, mut session: Session) {
        session.watched = None;
        self.stock().idle.push(session);
        self.returned.notify_one();
    }

    /// Closes a session that failed: an operation that stopped half-way poisons it for ever, and cryptoki has no `C_SessionCancel`.
    pub(super) fn throw_away(&self, session: Session) {
        drop(session);
        let mut stock = self.stock();
        stock.open = stock.open.saturating_sub(1);
        self.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_handle_cannot_be_used() {
        let handle = Tagged { handle: 7, generation: 3 };
        assert_eq!(handle.in_generation(3).expect("of this generation"), 7);
        let stale = handle.in_generation(4).expect_err("stale");
        assert!(matches!(stale, Error::Pkcs11(RvError::ObjectHandleInvalid, _)), "as the token would answer: {stale}");
    }
}
