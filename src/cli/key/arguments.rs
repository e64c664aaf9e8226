//! What the arguments of `tillward key` are made of.

use clap::Args;
use serde_json::Value;
use tillward_hsm::{KekForm, KeyAlgorithm, KeyName, Purpose};

use crate::cli::reach::Reach;

pub(super) fn purpose(text: &str) -> Result<Purpose, String> {
    Purpose::named(text).ok_or_else(|| format!("one of {}", Purpose::ALL.map(Purpose::name).join(", ")))
}

pub(super) fn algorithm(text: &str) -> Result<KeyAlgorithm, String> {
    KeyAlgorithm::named(text).ok_or_else(|| format!("one of {}", KeyAlgorithm::ALL.map(KeyAlgorithm::name).join(", ")))
}

pub(super) fn form(text: &str) -> Result<KekForm, &'static str> {
    KekForm::named(text).ok_or("key-block or kwp")
}

/// Whether it is meant.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct Dry {
    /// Ask whether it may be done; change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Dry {
    /// The path with the parameter.
    pub(super) fn at(self, path: &str) -> String {
        if self.dry_run { format!("{path}?dry_run=true") } else { path.to_owned() }
    }

    /// Prints the key as it is now, or what would have been done.
    pub(super) fn print(self, reach: &Reach, answer: &Value) {
        if !self.dry_run {
            return super::show::key(reach, answer);
        }
        reach.print(answer);
        if !reach.json {
            println!("\nNothing was done: this was a dry run.");
        }
    }
}

/// A time as people say it, in seconds.
pub(super) fn period(text: &str) -> Result<u64, &'static str> {
    let wrong = "a number with its unit: 90d, 12h, 30m";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(wrong)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return Err(wrong),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).filter(|seconds| *seconds > 0).ok_or(wrong)
}

/// Seconds as [`period`] takes them, in the largest unit that is whole.
pub(super) fn in_words(seconds: u64) -> String {
    let (unit, name) =
        [(86_400, 'd'), (3600, 'h'), (60, 'm')].into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, 's'));
    format!("{}{name}", seconds / unit)
}

/// Something, or the word `none` for taking it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OrNone<T> {
    /// This.
    Given(T),
    /// Nothing.
    None,
}

impl<T> OrNone<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::None => None,
        }
    }
}

impl OrNone<u64> {
    pub(super) fn period(text: &str) -> Result<Self, &'static str> {
        if text == "none" { Ok(Self::None) } else { period(text).map(Self::Given) }
    }

    pub(super) fn number(text: &str) -> Result<Self, &'static str> {
        if text == "none" { Ok(Self::None) } else { text.parse().map(Self::Given).map_err(|_| "a number, or none") }
    }
}

/// Names of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names(pub(super) Vec<KeyName>);

pub(super) fn names(text: &str) -> Result<OrNone<Names>, String> {
    if text == "none" {
        return Ok(OrNone::None);
    }
    let all: Result<Vec<KeyName>, _> = text.split(',').map(str::parse).collect();
    all.map(|all| OrNone::Given(Names(all))).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_its_unit_and_comes_back_as_it_was() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("7s", 7)] {
            assert_eq!(period(text), Ok(seconds));
            assert_eq!(in_words(seconds), text);
        }
        for wrong in ["", "d", "90", "-1d", "0d", "1.5h", "90 d", "90y", "9\u{e9}", "99999999999999999999d"] {
            assert!(period(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn none_takes_away() {
        assert_eq!(OrNone::<u64>::period("none"), Ok(OrNone::None));
        assert_eq!(OrNone::<u64>::number("7"), Ok(OrNone::Given(7)));
        assert_eq!(names("none"), Ok(OrNone::None));
        assert!(names("a,,b").is_err());
    }
}
