//! Calls by operation and outcome, with their latency: what metrics show.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Fault, HsmError};

/// Upper bounds of the latency buckets.
pub const BUCKETS: [Duration; 9] = [
    Duration::from_micros(100),
    Duration::from_micros(300),
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// The calls of one operation since this client was made.
#[derive(Debug, Clone, Default)]
pub struct CallCount {
    /// How many ended how: `ok`, `refused` (the caller's fault), `busy`, `deadline`, `unavailable`, `failed`.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How many took no longer than each of [`BUCKETS`].
    pub buckets: [u64; BUCKETS.len()],
    /// How many there were.
    pub count: u64,
    /// How long they took together.
    pub took: Duration,
}

/// Counts, by the operation's name.
#[derive(Debug, Default)]
pub(super) struct Counts {
    calls: Mutex<BTreeMap<&'static str, CallCount>>,
    repeats: Mutex<u64>,
}

impl Counts {
    pub(super) fn count<T>(&self, operation: &'static str, result: &Result<T, HsmError>, took: Duration) {
        let outcome = match result {
            Ok(_) => "ok",
            Err(HsmError::Deadline) => "deadline",
            Err(HsmError::Unavailable(_)) => "unavailable",
            Err(error) => match error.fault() {
                Fault::Caller => "refused",
                Fault::Load => "busy",
                Fault::Hsm => "failed",
            },
        };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let call = calls.entry(operation).or_default();
        *call.outcomes.entry(outcome).or_default() += 1;
        call.count += 1;
        call.took = call.took.saturating_add(took);
        for (bound, bucket) in BUCKETS.iter().zip(call.buckets.iter_mut()) {
            if took <= *bound {
                *bucket += 1;
            }
        }
    }

    pub(super) fn repeated(&self) {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        *repeats = repeats.saturating_add(1);
    }

    pub(super) fn calls(&self) -> BTreeMap<&'static str, CallCount> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn repeats(&self) -> u64 {
        *self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
