//! Lets calls through to the real module, and keeps them out for the moment in which a fault needs the module for itself: software tokens
//! crash if sessions are closed under a running call, and that would not be the fault that was asked for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A call that does not end within this time is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Gate {
    inside: AtomicUsize,
    /// Faults that have the module for themselves or wait for it.
    shut: AtomicUsize,
    one: Mutex<()>,
    open: Mutex<()>,
    opened: Condvar,
}

/// A call inside the module.
struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A fault that has the module for itself.
struct Alone<'a>(&'a Gate);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let _open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.shut.fetch_sub(1, Ordering::SeqCst);
        self.0.opened.notify_all();
    }
}

impl Gate {
    /// Makes a call. Calls do not wait for each other.
    pub(crate) fn pass<T>(&self, call: impl FnOnce() -> T) -> T {
        loop {
            self.inside.fetch_add(1, Ordering::SeqCst);
            let inside = Inside(self);
            if self.shut.load(Ordering::SeqCst) == 0 {
                let answer = call();
                drop(inside);
                return answer;
            }
            drop(inside);
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.opened.wait_while(open, |()| self.shut.load(Ordering::SeqCst) != 0).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Does something while no call is inside, as far as calls end in time.
    pub(crate) fn alone<T>(&self, act: impl FnOnce() -> T) -> T {
        self.shut.fetch_add(1, Ordering::SeqCst);
        let alone = Alone(self);
        let one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = Instant::now() + PATIENCE;
        while self.inside.load(Ordering::SeqCst) != 0 && Instant::now() < patience {
            std::thread::sleep(Duration::from_micros(50));
        }
        let done = act();
        drop(one);
        drop(alone);
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn calls_pass_together_but_not_while_a_fault_is_alone() {
        let gate = Gate::default();
        let (alone, inside) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        gate.pass(|| {
                            inside.fetch_add(1, Ordering::SeqCst);
                            assert!(!alone.load(Ordering::SeqCst));
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        gate.alone(|| {
                            assert!(!alone.swap(true, Ordering::SeqCst));
                            assert_eq!(inside.load(Ordering::SeqCst), 0);
                            alone.store(false, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
    }

    #[test]
    fn a_call_that_does_not_end_is_not_waited_for() {
        let gate = Gate::default();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                gate.pass(|| {
                    while !done.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
            });
            while gate.inside.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            gate.alone(|| done.store(true, Ordering::SeqCst));
        });
        gate.pass(|| ());
    }
}
