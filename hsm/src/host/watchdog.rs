//! Nothing in PKCS#11 can be cancelled: a call that hangs is ended with its process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Since when each thread is inside the module, in milliseconds from the start plus one; 0 outside.
pub(super) struct Watchdog {
    began: Instant,
    limit: Duration,
    inside: Vec<AtomicU64>,
    stopped: Mutex<bool>,
    told: Condvar,
}

/// A thread that is inside the module.
pub(super) struct Watched<'w>(&'w AtomicU64);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

impl Watchdog {
    /// For `threads` threads.
    pub(super) fn new(threads: usize, limit: Duration) -> Self {
        let inside = std::iter::repeat_with(|| AtomicU64::new(0)).take(threads).collect();
        Self { began: Instant::now(), limit, inside, stopped: Mutex::new(false), told: Condvar::new() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The thread goes in.
    pub(super) fn watch(&self, thread: usize) -> Option<Watched<'_>> {
        let since = self.inside.get(thread)?;
        since.store(self.now(), Ordering::SeqCst);
        Some(Watched(since))
    }

    /// Whether a thread is inside for too long.
    fn is_stuck(&self) -> bool {
        let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        let now = self.now();
        self.inside.iter().map(|since| since.load(Ordering::SeqCst)).any(|since| since > 0 && now.saturating_sub(since) > limit)
    }

    /// Looks until it is stopped. Kills the process: `exit` would run the destructors of a library that a thread is inside of, which crash.
    pub(super) fn look(&self) {
        let pause = (self.limit / 8).clamp(Duration::from_millis(5), Duration::from_millis(250));
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            if self.is_stuck() {
                tracing::error!(
                    limit_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX),
                    "a call of the module hangs; the process ends"
                );
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
            stopped = self.told.wait_timeout(stopped, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends [`Self::look`].
    pub(super) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_that_stays_inside_is_stuck() {
        let watchdog = Watchdog::new(2, Duration::ZERO);
        let started = Instant::now();
        drop(watchdog.watch(0));
        assert!(!watchdog.is_stuck());
        let inside = watchdog.watch(1);
        while !watchdog.is_stuck() {
            assert!(started.elapsed() < Duration::from_secs(30), "never noticed");
            std::thread::yield_now();
        }
        drop(inside);
        assert!(!watchdog.is_stuck());
    }
}
