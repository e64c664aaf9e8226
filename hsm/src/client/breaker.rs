//! When a host is not asked any more, and when again. Pure: time is an argument.
//!
//! ```text
//!            5 bad answers in a row            the probe fails, or silence
//!   closed -------------------------> doubted -----------------------------> open
//!      ^  <-- a good answer, or the probe's --/                              |  ^ 250 ms after
//!      |                                                                     v  | the last one
//!      \--------------------- the probe's good answer --------------------- half open
//! ```
//!
//! Bad answers alone do not open it: `CKR_GENERAL_ERROR` is what SoftHSM says of a tampered blob too, so whoever sends some could shut the
//! service. They call for a probe, a signature of the HSM's own, and only its failure opens. Silence is not the caller's to cause.

use std::time::Duration;

use serde::Serialize;

/// Bad answers in a row that call for a probe.
pub(super) const FAULTS: u32 = 5;
/// From one failed probe to the next.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Doubted { probing: bool },
    Open { probe_at: Duration },
    HalfOpen,
}

/// A breaker as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Calls are sent.
    Closed,
    /// Calls are refused at once, without being sent.
    Open,
    /// The same, and a probe is under way.
    HalfOpen,
}

/// The breaker of one host. Every time is the time since one fixed moment.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    phase: Phase,
    faults: u32,
    opened: u64,
}

impl Breaker {
    /// Closed.
    pub(super) fn new() -> Self {
        Self { phase: Phase::Closed, faults: 0, opened: 0 }
    }

    /// A new, closed one that goes on counting how often it opened.
    pub(super) fn renewed(&self) -> Self {
        Self { opened: self.opened, ..Self::new() }
    }

    /// Whether a call may be sent.
    pub(super) fn admits(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Doubted { .. })
    }

    /// How it is shown.
    pub(super) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed | Phase::Doubted { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen => BreakerState::HalfOpen,
        }
    }

    /// How often it opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// A call was answered well. Answers that were on their way when it opened do not close it: the probe does.
    pub(super) fn succeeded(&mut self) {
        if self.admits() {
            *self = self.renewed();
        }
    }

    /// A call was answered with an error that speaks against the HSM.
    pub(super) fn failed(&mut self) {
        self.faults = self.faults.saturating_add(1);
        if self.faults >= FAULTS && self.phase == Phase::Closed {
            self.phase = Phase::Doubted { probing: false };
        }
    }

    /// The host was asked and says nothing.
    pub(super) fn fell_silent(&mut self, now: Duration) {
        if self.admits() {
            self.opened = self.opened.saturating_add(1);
            self.phase = Phase::Open { probe_at: now };
        }
    }

    /// When the next probe is due; `None` while none is, or one is under way.
    pub(super) fn due(&self) -> Option<Duration> {
        match self.phase {
            Phase::Doubted { probing: false } => Some(Duration::ZERO),
            Phase::Open { probe_at } => Some(probe_at),
            Phase::Closed | Phase::Doubted { probing: true } | Phase::HalfOpen => None,
        }
    }

    /// Begins a probe, if one is due. Whoever gets `true` makes it and tells [`Self::probed`].
    pub(super) fn begin(&mut self, now: Duration) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.phase = if self.admits() { Phase::Doubted { probing: true } } else { Phase::HalfOpen };
        }
        due
    }

    /// How a probe ended.
    pub(super) fn probed(&mut self, good: bool, now: Duration) {
        if good {
            *self = self.renewed();
        } else if self.phase == Phase::Closed {
            // A call that succeeded meanwhile has taken the doubt away.
            self.failed();
        } else {
            if self.admits() {
                self.opened = self.opened.saturating_add(1);
            }
            self.phase = Phase::Open { probe_at: now.saturating_add(PAUSE) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(7);

    fn doubted() -> Breaker {
        let mut breaker = Breaker::new();
        (0..FAULTS).for_each(|_| breaker.failed());
        breaker
    }

    #[test]
    fn bad_answers_in_a_row_call_for_a_probe_and_its_failure_opens() {
        let mut breaker = Breaker::new();
        for _ in 1..FAULTS {
            breaker.failed();
            assert_eq!(breaker.due(), None);
        }
        breaker.failed();
        assert!(breaker.admits() && breaker.begin(NOW) && !breaker.begin(NOW), "one probe at a time");
        breaker.probed(false, NOW);
        assert_eq!((breaker.admits(), breaker.state(), breaker.opened()), (false, BreakerState::Open, 1));
        assert!(!breaker.begin(NOW + PAUSE / 2) && breaker.begin(NOW + PAUSE));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.succeeded();
        assert!(!breaker.admits(), "an answer from before does not close it");
        breaker.probed(true, NOW + PAUSE);
        assert_eq!((breaker.admits(), breaker.due(), breaker.opened()), (true, None, 1));
    }

    #[test]
    fn a_good_answer_starts_the_count_anew() {
        let mut breaker = Breaker::new();
        for _ in 0..3 {
            (1..FAULTS).for_each(|_| breaker.failed());
            breaker.succeeded();
        }
        assert_eq!(breaker.due(), None);
        let mut breaker = doubted();
        assert!(breaker.begin(NOW));
        breaker.succeeded();
        breaker.probed(false, NOW);
        assert!(breaker.admits(), "the doubt was taken away while the probe was under way");
    }

    #[test]
    fn silence_opens_at_once_and_is_probed_at_once() {
        let mut breaker = Breaker::new();
        breaker.fell_silent(NOW);
        assert_eq!((breaker.admits(), breaker.due()), (false, Some(NOW)));
        breaker.fell_silent(NOW + PAUSE);
        assert_eq!((breaker.opened(), breaker.due()), (1, Some(NOW)), "it is open already");
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Succeeded,
        Failed,
        Silent,
        Begin,
        Probed(bool),
        Later(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => Just(Step::Succeeded),
            4 => Just(Step::Failed),
            1 => Just(Step::Silent),
            2 => Just(Step::Begin),
            2 => any::<bool>().prop_map(Step::Probed),
            2 => (1..400_u16).prop_map(Step::Later),
        ]
    }

    proptest! {
        #[test]
        fn it_opens_only_for_a_reason_and_closes_only_by_a_probe(steps in prop::collection::vec(step(), 0..200)) {
            let mut breaker = Breaker::new();
            let mut now = Duration::ZERO;
            let (mut in_a_row, mut probing, mut last_failed) = (0_u32, false, None::<Duration>);
            for step in steps {
                let (admitted, opened) = (breaker.admits(), breaker.opened());
                match step {
                    Step::Succeeded => { breaker.succeeded(); if admitted { in_a_row = 0; } }
                    Step::Failed => { breaker.failed(); in_a_row += 1; }
                    Step::Silent => breaker.fell_silent(now),
                    Step::Begin => if breaker.begin(now) {
                        prop_assert!(!admitted || in_a_row >= FAULTS, "a probe without doubt");
                        if let (false, Some(last)) = (admitted, last_failed) {
                            prop_assert!(now >= last + PAUSE, "probes follow too fast");
                        }
                        probing = true;
                    },
                    // The seat reports each probe once.
                    Step::Probed(good) => if std::mem::take(&mut probing) {
                        breaker.probed(good, now);
                        if good { in_a_row = 0; last_failed = None; } else if !breaker.admits() { last_failed = Some(now); } else { in_a_row += 1; }
                    },
                    Step::Later(ms) => now += Duration::from_millis(u64::from(ms)),
                }
                if admitted && !breaker.admits() {
                    prop_assert!(matches!(step, Step::Silent | Step::Probed(false)), "{step:?} opened it");
                    prop_assert_eq!(breaker.opened(), opened + 1);
                } else {
                    prop_assert_eq!(breaker.opened(), opened);
                }
                if !admitted && breaker.admits() {
                    prop_assert!(matches!(step, Step::Probed(true)), "{step:?} closed it");
                }
                if !breaker.admits() && !probing {
                    prop_assert!(breaker.due().is_some_and(|due| due <= now + PAUSE), "an open one is always probed again");
                }
            }
        }
    }
}
