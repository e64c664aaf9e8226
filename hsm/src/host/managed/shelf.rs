//! Managed keys that this host knows. They come and go while hosts run, so what is not known is looked for, and what is gone is forgotten.
//!
//! To look costs a time that grows with the token, and a service that was taken over can ask for labels that do not exist. So one thread looks at a
//! time, it looks at everything, and it rests for a multiple of the time that it took; who asks meanwhile is pushed back and asks again. That a key is
//! not there is said only after a look that began later than the question: another host may have made it a moment ago.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

use super::super::context::Context;
use super::super::fault::{self, Fault};
use super::super::pool::Session;
use super::super::ring::{self, Key, Objects};
use crate::error::Refusal;
use crate::managed::is_managed;

/// So many times as long as it looked, it rests: a fifth of one thread's time is the most that unknown labels cost.
const REST: u32 = 4;
/// Within the time for which a client asks again.
const LONGEST_REST: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Keys {
    /// Compared with their designs.
    known: HashMap<String, Arc<Key>>,
    /// There when somebody looked last.
    seen: BTreeMap<String, Objects>,
}

/// The managed keys of one generation of handles.
#[derive(Debug, Default)]
pub(in crate::host) struct Shelf {
    keys: RwLock<Keys>,
    /// Until when nobody looks again. Locked by the thread that looks.
    rests: Mutex<Option<Instant>>,
    /// Locked by the thread that makes a key.
    making: Mutex<()>,
}

impl Shelf {
    /// Of what stands on the token now.
    pub(in crate::host) fn of(seen: BTreeMap<String, Objects>) -> Self {
        Self { keys: RwLock::new(Keys { known: HashMap::new(), seen }), ..Self::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// One key is made at a time, so that the other workers go on: RSA takes seconds. `None` while another is.
    pub(in crate::host) fn making(&self) -> Option<MutexGuard<'_, ()>> {
        held(self.making.try_lock())
    }

    /// Keeps a key that is as designed.
    pub(in crate::host) fn keep(&self, key: Key) -> Arc<Key> {
        let key = Arc::new(key);
        self.write().known.insert(key.design.label.clone(), key.clone());
        key
    }

    /// Forgets what is known of a label.
    pub(in crate::host) fn forget(&self, label: &str) {
        let mut keys = self.write();
        keys.known.remove(label);
        keys.seen.remove(label);
    }
}

fn held<T>(locked: TryLockResult<MutexGuard<'_, T>>) -> Option<MutexGuard<'_, T>> {
    match locked {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The key of that label, as designed; looked for only where it is not known.
pub(in crate::host) fn key(context: &Context, session: &Session, label: &str) -> Result<Arc<Key>, Fault> {
    let shelf = &context.ring.shelf;
    if let Some(key) = shelf.read().known.get(label) {
        return Ok(key.clone());
    }
    let seen = shelf.read().seen.get(label).cloned();
    // What was half made when it was seen may be whole now, and what was there may be gone.
    if let Some(Ok(key)) = seen.map(|objects| ring::recognise(session, label, &objects)) {
        return Ok(shelf.keep(key));
    }
    look(context, session, label)
}

fn look(context: &Context, session: &Session, label: &str) -> Result<Arc<Key>, Fault> {
    let shelf = &context.ring.shelf;
    let mut rests = held(shelf.rests.try_lock()).ok_or(Refusal::Busy)?;
    let began = Instant::now();
    if rests.is_some_and(|until| began < until) {
        return Err(Refusal::Busy.into());
    }
    let Some(_guard) = context.try_searching() else { return Err(Refusal::Busy.into()) };
    let listed = ring::list(session);
    *rests = Some(Instant::now() + began.elapsed().saturating_mul(REST).min(LONGEST_REST));
    let mut seen = listed?;
    seen.retain(|label, _| is_managed(label));
    let objects = seen.get(label).cloned();
    shelf.write().seen = seen;
    let Some(objects) = objects else {
        context.demand_login(session)?;
        return Err(Refusal::UnknownKey { label: label.to_owned() }.into());
    };
    match ring::recognise(session, label, &objects) {
        Ok(key) => Ok(shelf.keep(key)),
        // It went while it was looked at.
        Err(Fault::Token(error)) if fault::is_stale(&error) => Err(Refusal::Busy.into()),
        Err(fault) => Err(fault),
    }
}

/// Does something with the key of that label. Where it fails as with a key that another host has destroyed (SoftHSM: the handle is none; kryoptic:
/// `CKR_GENERAL_ERROR`), the key is looked for.
pub(in crate::host) fn with<T>(
    context: &Context,
    session: &Session,
    label: &str,
    act: impl Fn(&Key) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let key = key(context, session, label)?;
    let error = match act(&key) {
        Err(Fault::Token(error)) if fault::is_stale(&error) || fault::rule(&error).canary => error,
        done => return done,
    };
    context.ring.shelf.forget(label);
    match look(context, session, label) {
        // It is there: the login, the session or the token is to blame, and the failure rules say what follows.
        Ok(again) if again.handle == key.handle => Err(error.into()),
        Ok(again) => act(&again),
        Err(fault) => Err(fault),
    }
}
