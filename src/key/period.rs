//! How long and how often a key is used: cryptoperiods (SP 800-57 part 1 rev. 5, §5.3) and limits.

use tillward_hsm::managed::{KeyAlgorithm, Purpose};

use super::state::Use;
use crate::clock::UnixTime;

/// Cryptoperiods of a logical key, seconds from the activation of each version. None: without end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Periods {
    /// After it, the next version is made and takes over.
    pub rotation: Option<u64>,
    /// Originator usage period: after it, a version protects nothing more.
    pub protect: Option<u64>,
    /// Recipient usage period, from the activation as well: after it, a version processes nothing more. Not shorter than the other.
    pub process: Option<u64>,
}

/// When a version is valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Validity {
    /// Not used before.
    pub not_before: Option<UnixTime>,
    /// Protects nothing from then on.
    pub protect_until: Option<UnixTime>,
    /// Not used at all from then on.
    pub not_after: Option<UnixTime>,
}

/// Ten years: longer is no cryptoperiod.
const LONGEST: u64 = 3653 * 86_400;
/// A rotation in less than an hour is an accident.
const SHORTEST: u64 = 3600;

impl Periods {
    /// What is wrong with them, if something is.
    pub fn fault(&self) -> Option<&'static str> {
        let outside = |period: Option<u64>| period.is_some_and(|seconds| !(SHORTEST..=LONGEST).contains(&seconds));
        if outside(self.rotation) || outside(self.protect) || outside(self.process) {
            return Some("a period is an hour to ten years, in seconds");
        }
        let longer = |one: Option<u64>, other: Option<u64>| matches!((one, other), (Some(one), Some(other)) if one > other);
        if longer(self.protect, self.process) {
            return Some("protect_seconds must not be longer than process_seconds");
        }
        // Otherwise there would be a time without a version that protects.
        if longer(self.rotation, self.protect) || longer(self.rotation, self.process) {
            return Some("rotation_seconds must not be longer than the other periods");
        }
        None
    }

    /// The validity of a version that is activated now.
    pub fn validity(&self, not_before: Option<UnixTime>, activated: UnixTime) -> Validity {
        let end = |period: Option<u64>| period.map(|seconds| activated.plus(i64::try_from(seconds).unwrap_or(i64::MAX)));
        Validity { not_before, protect_until: end(self.protect), not_after: end(self.process) }
    }
}

impl Validity {
    /// Whether it may be used so at this time.
    pub fn allows(&self, asked: Use, now: UnixTime) -> bool {
        let begun = self.not_before.is_none_or(|begin| now >= begin);
        let lasts = self.not_after.is_none_or(|end| now < end);
        begun && lasts && (asked == Use::Process || self.protect_until.is_none_or(|end| now < end))
    }
}

/// How often a version may protect where nobody says it: AES-GCM with random 96-bit nonces, 2^32 (SP 800-38D §8.3).
pub fn default_limit(purpose: Purpose, algorithm: KeyAlgorithm) -> Option<u64> {
    let gcm = purpose == Purpose::Encrypt && matches!(algorithm, KeyAlgorithm::Aes128 | KeyAlgorithm::Aes256);
    gcm.then_some(1 << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000_000);

    #[test]
    fn the_originators_period_ends_before_the_recipients() {
        let periods = Periods { rotation: Some(3600), protect: Some(7200), process: Some(10_000) };
        assert_eq!(periods.fault(), None);
        let validity = periods.validity(Some(NOW.plus(10)), NOW);
        for (after, protects, processes) in
            [(9, false, false), (10, true, true), (7199, true, true), (7200, false, true), (9999, false, true), (10_000, false, false)]
        {
            assert_eq!(validity.allows(Use::Protect, NOW.plus(after)), protects, "{after}");
            assert_eq!(validity.allows(Use::Process, NOW.plus(after)), processes, "{after}");
        }
    }

    #[test]
    fn periods_that_contradict_each_other_are_refused() {
        for bad in [
            Periods { rotation: Some(3599), ..Periods::default() },
            Periods { process: Some(LONGEST + 1), ..Periods::default() },
            Periods { protect: Some(8000), process: Some(7000), rotation: None },
            Periods { rotation: Some(8000), protect: Some(7000), process: None },
        ] {
            assert!(bad.fault().is_some(), "{bad:?}");
        }
        assert_eq!(Periods::default().fault(), None);
    }

    #[test]
    fn only_gcm_has_a_limit_of_its_own() {
        assert_eq!(default_limit(Purpose::Encrypt, KeyAlgorithm::Aes128), Some(4_294_967_296));
        assert_eq!(default_limit(Purpose::Mac, KeyAlgorithm::Aes256), None);
    }
}
