//! A rule: which calls of which functions, and what happens to them. Pure: time, counts and seeds are arguments.

mod parse;
mod script;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use cryptoki_sys::CK_RV;

pub(crate) use self::script::{Line, Settings};
pub use self::script::{Script, ScriptError};
use crate::function::FunctionSet;

/// One line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) functions: FunctionSet,
    pub(crate) when: When,
    pub(crate) action: Action,
}

/// Which calls of the functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) calls: Calls,
    /// Of a million matching calls, how many are hit.
    pub(crate) per_million: u32,
    pub(crate) seed: u64,
    /// The rule sleeps this long after it was installed.
    pub(crate) from: Duration,
    /// And then lives this long.
    pub(crate) span: Option<Duration>,
    /// Calls are counted over all processes that share the state file.
    pub(crate) shared: bool,
    /// Only calls with a buffer for the output: not those that ask for its length.
    pub(crate) output: bool,
    /// The fault comes once the real module has done its work.
    pub(crate) after: bool,
}

/// Numbers of the calls that are hit; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    Every(u64),
    Range(u64, u64),
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Return(CK_RV),
    /// A duration from the range, drawn by the seed.
    Delay(Duration, Duration),
    Hang,
    Die(Death),
    Harm(Harm),
    Damage(Damage),
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    Abort,
    Segfault,
    Kill,
    Exit(u8),
}

/// What is done to module, token or session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    DropLogin,
    CloseSession,
    CloseSessions,
    StaleObjects,
    ChangeSlots,
    RemoveToken,
    LoseInit,
    BreakDevice(CK_RV),
}

/// What is done to the output of a call that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Corrupt,
    Shorten(u64),
    Lengthen(u64),
}

/// All of a million.
pub(crate) const ALWAYS: u32 = 1_000_000;

impl Default for When {
    fn default() -> Self {
        Self {
            calls: Calls::Every(1),
            per_million: ALWAYS,
            seed: 0,
            from: Duration::ZERO,
            span: None,
            shared: false,
            output: false,
            after: false,
        }
    }
}

impl When {
    /// Whether the rule is at work so long after it was installed. Calls outside are not counted.
    pub(crate) fn is_awake(&self, age: Duration) -> bool {
        age >= self.from && !self.is_over(age)
    }

    /// Whether the rule's time has passed.
    pub(crate) fn is_over(&self, age: Duration) -> bool {
        self.span.is_some_and(|span| age >= self.from.saturating_add(span))
    }

    /// Whether the `number`-th call is hit.
    pub(crate) fn hits(&self, number: u64) -> bool {
        let counted = match self.calls {
            Calls::Every(step) => number.is_multiple_of(step),
            Calls::Range(first, last) => (first..=last).contains(&number),
        };
        counted && (self.per_million >= ALWAYS || draw(self.seed, number) % u64::from(ALWAYS) < u64::from(self.per_million))
    }

    /// How long the `number`-th call is delayed.
    pub(crate) fn delay(&self, number: u64, shortest: Duration, longest: Duration) -> Duration {
        let width = u64::try_from(longest.saturating_sub(shortest).as_micros()).unwrap_or(u64::MAX);
        // The other half of the generator's range, so that share and delay are not the same draw.
        let extra = draw(!self.seed, number) % width.saturating_add(1);
        shortest.saturating_add(Duration::from_micros(extra))
    }
}

/// Number `index` of the sequence of a seed (`SplitMix64`).
pub(crate) fn draw(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
