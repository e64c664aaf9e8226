//! Latencies, counted in buckets of 1/64 of their size: exact enough for a percentile, small enough for a socket.

use serde::{Deserialize, Serialize};

/// Bits of a value that a bucket keeps below its highest one.
const FINE: u32 = 6;
/// Buckets below this value hold one value each.
const SMALL: u64 = 1 << (FINE + 1);

/// Counts by latency in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
}

fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < SMALL {
        return usize::try_from(nanoseconds).unwrap_or(usize::MAX);
    }
    let shift = nanoseconds.ilog2() - FINE;
    let base = u64::from(shift) << FINE;
    usize::try_from(base + (nanoseconds >> shift)).unwrap_or(usize::MAX)
}

/// The least latency of a bucket.
fn least(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    if bucket < SMALL {
        return bucket;
    }
    let shift = (bucket >> FINE) - 1;
    (bucket - (shift << FINE)) << shift
}

impl Histogram {
    /// Counts one.
    pub(crate) fn add(&mut self, nanoseconds: u64) {
        let at = bucket(nanoseconds);
        if self.counts.len() <= at {
            self.counts.resize(at.saturating_add(1), 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_add(1);
        }
    }

    /// Takes another's counts in.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
    }

    /// How many there are.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The latency that so many of a thousand do not exceed, in nanoseconds; 0 of an empty one.
    pub(crate) fn permille(&self, share: u64) -> u64 {
        let wanted = self.total().saturating_mul(share).div_ceil(1000).max(1);
        let mut seen = 0_u64;
        for (at, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(u64::from(*count));
            if seen >= wanted {
                return least(at);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_as_wide_as_a_64th_of_what_it_holds(nanoseconds in 0_u64..1 << 40) {
            let low = least(bucket(nanoseconds));
            prop_assert!(low <= nanoseconds && nanoseconds - low <= nanoseconds / 64);
            prop_assert!(bucket(nanoseconds) <= bucket(nanoseconds + 1) && bucket(nanoseconds + 1) <= bucket(nanoseconds) + 1);
        }
    }

    #[test]
    fn percentiles_are_of_the_sum_of_both() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        (1..=50).for_each(|value| one.add(value));
        (51..=100).for_each(|value| other.add(value));
        one.merge(&other);
        assert_eq!((one.total(), one.permille(500), one.permille(990), one.permille(1000)), (100, 50, 99, 100));
        assert_eq!(Histogram::default().permille(500), 0);
    }
}
