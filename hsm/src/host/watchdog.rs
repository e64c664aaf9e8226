//! Nothing in PKCS#11 can be cancelled: a call that hangs is ended with its process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Since when a thread is inside a call of the module, in milliseconds from the start plus one; 0 outside.
pub(super) struct Beat {
    began: Instant,
    limit: Duration,
    /// What the operation that the thread is at may take beyond the limit, milliseconds.
    longer: AtomicU64,
    since: AtomicU64,
}

/// A thread that is inside the module.
pub(super) struct Watched(Arc<Beat>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::SeqCst);
        self.0.longer.store(0, Ordering::SeqCst);
    }
}

impl Beat {
    /// Of a thread whose calls may take so long.
    pub(super) fn new(limit: Duration) -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), limit, longer: AtomicU64::new(0), since: AtomicU64::new(0) })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The thread goes in.
    pub(super) fn watch(self: &Arc<Self>) -> Watched {
        self.since.store(self.now(), Ordering::SeqCst);
        Watched(self.clone())
    }

    /// The next call begins: an operation of many slow calls does not hang.
    pub(super) fn tick(&self) {
        if self.since.load(Ordering::Relaxed) > 0 {
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A call of this operation may take so much longer than others: an RSA key is looked for until it is found.
    pub(super) fn allow(&self, longer: Duration) {
        self.longer.store(u64::try_from(longer.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Waits outside of the module for what another thread holds: no call of this thread hangs meanwhile.
    pub(super) fn pause<T>(&self, wait: impl FnOnce() -> T) -> T {
        let inside = self.since.swap(0, Ordering::SeqCst) > 0;
        let waited = wait();
        if inside {
            self.since.store(self.now(), Ordering::SeqCst);
        }
        waited
    }

    fn is_stuck(&self) -> bool {
        let since = self.since.load(Ordering::SeqCst);
        let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX).saturating_add(self.longer.load(Ordering::SeqCst));
        since > 0 && self.now().saturating_sub(since) > limit
    }
}

/// Looks after all threads that go into the module.
pub(super) struct Watchdog {
    limit: Duration,
    workers: Vec<Arc<Beat>>,
    keeper: Arc<Beat>,
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Watchdog {
    /// For so many workers and the keeper.
    pub(super) fn new(workers: usize, limit: Duration, keeper: Arc<Beat>) -> Self {
        let workers = std::iter::repeat_with(|| Beat::new(limit)).take(workers).collect();
        Self { limit, workers, keeper, stopped: Mutex::new(false), told: Condvar::new() }
    }

    /// The beats of the workers.
    pub(super) fn workers(&self) -> &[Arc<Beat>] {
        &self.workers
    }

    /// Whether a thread is inside for too long.
    fn is_stuck(&self) -> bool {
        self.workers.iter().chain([&self.keeper]).any(|beat| beat.is_stuck())
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

    fn becomes_stuck(watchdog: &Watchdog) {
        let started = Instant::now();
        while !watchdog.is_stuck() {
            assert!(started.elapsed() < Duration::from_secs(30), "never noticed");
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_a_thread_that_stays_inside_is_stuck() {
        let watchdog = Watchdog::new(2, Duration::ZERO, Beat::new(Duration::ZERO));
        drop(watchdog.workers()[0].watch());
        assert!(!watchdog.is_stuck());
        for beat in watchdog.workers().iter().chain([&watchdog.keeper]) {
            let inside = beat.watch();
            becomes_stuck(&watchdog);
            drop(inside);
            assert!(!watchdog.is_stuck());
        }
        watchdog.keeper.tick();
        assert!(!watchdog.is_stuck(), "nobody is inside");
    }

    #[test]
    fn who_waits_outside_or_was_allowed_more_time_is_not_stuck() {
        let watchdog = Watchdog::new(1, Duration::ZERO, Beat::new(Duration::ZERO));
        let beat = &watchdog.workers()[0];
        let inside = beat.watch();
        becomes_stuck(&watchdog);
        assert!(!beat.pause(|| watchdog.is_stuck()));
        becomes_stuck(&watchdog);
        beat.allow(Duration::from_hours(1));
        assert!(!watchdog.is_stuck());
        drop(inside);
        let _inside = beat.watch();
        becomes_stuck(&watchdog);
    }

    #[test]
    fn the_next_call_is_timed_anew() {
        let beat = Beat::new(Duration::ZERO);
        let _inside = beat.watch();
        let first = beat.since.load(Ordering::SeqCst);
        let started = Instant::now();
        while beat.since.load(Ordering::SeqCst) == first {
            assert!(started.elapsed() < Duration::from_secs(30), "never timed anew");
            beat.tick();
        }
    }
}
