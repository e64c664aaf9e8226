//! Who may be inside the module: many workers, or the keeper alone. `C_Finalize` under a running call crashes SoftHSM, so the keeper waits until
//! nobody is inside; nobody waits without a limit for the keeper.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

#[derive(Default)]
struct Count {
    inside: usize,
    closed: bool,
}

/// A value that is shared, or held alone.
pub(super) struct Gate<T> {
    value: RwLock<T>,
    count: Mutex<Count>,
    changed: Condvar,
}

/// Shared access.
pub(super) struct Inside<'g, T> {
    gate: &'g Gate<T>,
    value: Option<RwLockReadGuard<'g, T>>,
}

/// Access alone.
pub(super) struct Alone<'g, T> {
    gate: &'g Gate<T>,
    value: Option<RwLockWriteGuard<'g, T>>,
}

impl<T> Gate<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: RwLock::new(value), count: Mutex::default(), changed: Condvar::new() }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes in; `None` where the gate does not open before `until`.
    pub(super) fn enter(&self, until: Instant) -> Option<Inside<'_, T>> {
        let patience = until.saturating_duration_since(Instant::now());
        let (mut count, _) =
            self.changed.wait_timeout_while(self.count(), patience, |count| count.closed).unwrap_or_else(PoisonError::into_inner);
        if count.closed {
            return None;
        }
        count.inside = count.inside.saturating_add(1);
        drop(count);
        Some(Inside { gate: self, value: Some(self.value.read().unwrap_or_else(PoisonError::into_inner)) })
    }

    /// Lets nobody in any more and waits until nobody is inside. A call that never returns keeps it waiting: the watchdog ends the process then.
    pub(super) fn close(&self) -> Alone<'_, T> {
        let mut count = self.changed.wait_while(self.count(), |count| count.closed).unwrap_or_else(PoisonError::into_inner);
        count.closed = true;
        drop(self.changed.wait_while(count, |count| count.inside > 0).unwrap_or_else(PoisonError::into_inner));
        Alone { gate: self, value: Some(self.value.write().unwrap_or_else(PoisonError::into_inner)) }
    }

    pub(super) fn into_inner(self) -> T {
        self.value.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        self.value.take();
        let mut count = self.gate.count();
        count.inside = count.inside.saturating_sub(1);
        self.gate.changed.notify_all();
    }
}

impl<T> Drop for Alone<'_, T> {
    fn drop(&mut self) {
        self.value.take();
        self.gate.count().closed = false;
        self.gate.changed.notify_all();
    }
}

impl<T> Deref for Inside<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_deref().expect("taken only when dropped")
    }
}

impl<T> Deref for Alone<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_deref().expect("taken only when dropped")
    }
}

impl<T> DerefMut for Alone<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_deref_mut().expect("taken only when dropped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_keeper_is_alone_and_nobody_waits_for_it_without_a_limit() {
        let gate = Gate::new(0);
        let soon = || Instant::now() + Duration::from_millis(20);
        let one = gate.enter(soon()).expect("open");
        let two = gate.enter(soon()).expect("open");
        std::thread::scope(|scope| {
            let keeper = scope.spawn(|| {
                let mut alone = gate.close();
                *alone += 1;
                assert!(gate.enter(soon()).is_none(), "somebody came in beside the keeper");
            });
            // From when the gate closes, nobody new comes in, though two are inside.
            while gate.enter(Instant::now()).is_some() {
                std::thread::yield_now();
            }
            assert_eq!((*one, *two), (0, 0));
            drop((one, two));
            keeper.join().expect("the keeper");
        });
        assert_eq!(*gate.enter(soon()).expect("open again"), 1);
    }
}
