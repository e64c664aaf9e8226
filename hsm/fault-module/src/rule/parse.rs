//! From text to a rule. Strict: what is not understood, doubled or without effect is an error that names the word.

use std::time::Duration;

use super::{ALWAYS, Action, Calls, Damage, Death, Harm, Line, Rule, When};
use crate::code;
use crate::function::{Function, FunctionSet};

/// The words of a line, taken from the left.
struct Words<'a>(std::iter::Peekable<std::str::SplitAsciiWhitespace<'a>>);

impl<'a> Words<'a> {
    fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("{what} is missing"))
    }

    fn end(&mut self) -> Result<(), String> {
        self.0.next().map_or(Ok(()), |word| Err(format!("\"{word}\" stands behind the end")))
    }
}

/// Reads a line that is neither empty nor a comment.
pub(super) fn line(text: &str) -> Result<Line, String> {
    let mut words = Words(text.split_ascii_whitespace().peekable());
    let parsed = match words.next("a rule")? {
        "limit" => limit(&mut words)?,
        "pin-tries" => match number(words.next("the number of tries")?)? {
            tries @ 1..=1_000 => Line::PinTries(tries),
            _ => return Err("pin-tries is between 1 and 1000".to_owned()),
        },
        functions => Line::Rule(rule(functions, &mut words)?),
    };
    words.end()?;
    Ok(parsed)
}

fn limit(words: &mut Words<'_>) -> Result<Line, String> {
    let what = words.next("what is limited")?;
    let most = number(words.next("the limit")?)?;
    Ok(match what {
        "sessions" => Line::Sessions { most, shared: words.0.next_if_eq(&"shared").is_some() },
        "token-objects" => Line::TokenObjects(most),
        "session-objects" => Line::SessionObjects(most),
        other => return Err(format!("\"{other}\" is none of sessions, token-objects, session-objects")),
    })
}

fn rule(selector: &str, words: &mut Words<'_>) -> Result<Rule, String> {
    let functions = functions(selector)?;
    let mut when = When::default();
    let mut seen = Vec::new();
    let action = loop {
        let word = words.next("the action")?;
        if !condition(word, words, &mut when, &mut seen)? {
            break action(word, words)?;
        }
    };
    if matches!(action, Action::Damage(_)) && when.after {
        return Err("damage to the output is always done after the call: leave \"after\" out".to_owned());
    }
    if (when.output || matches!(action, Action::Damage(_))) && !functions.intersects(FunctionSet::WITH_OUTPUT) {
        return Err("none of the functions has an output with a length".to_owned());
    }
    let draws = when.per_million < ALWAYS || matches!(action, Action::Delay(shortest, longest) if shortest < longest);
    if seen.contains(&"seed") && !draws && !matches!(action, Action::Damage(Damage::Corrupt)) {
        return Err("\"seed\" without anything to draw".to_owned());
    }
    Ok(Rule { functions, when, action })
}

/// `*`, names, and beginnings of names with a star, separated by commas.
fn functions(selector: &str) -> Result<FunctionSet, String> {
    let mut all = FunctionSet::EMPTY;
    for part in selector.split(',') {
        let before = all;
        for function in Function::ALL {
            let chosen = match part.strip_suffix('*') {
                Some(beginning) => function.name().starts_with(beginning),
                None => function.name() == part,
            };
            if chosen {
                all = all.with(*function);
            }
        }
        if all == before {
            return Err(format!("\"{part}\" names no function that is not named already"));
        }
    }
    Ok(all)
}

/// Takes a condition into `when`. False if the word is not one: the action begins.
fn condition<'a>(word: &'a str, words: &mut Words<'a>, when: &mut When, seen: &mut Vec<&'static str>) -> Result<bool, String> {
    let kind = match word {
        "on" => {
            let text = words.next("the call's number")?;
            let (first, last) = text.split_once("..").unwrap_or((text, text));
            let (first, last) = (number(first)?, number(last)?);
            if first == 0 || last < first {
                return Err(format!("\"{text}\": calls are counted from 1 upwards"));
            }
            when.calls = Calls::Range(first, last);
            "which calls"
        }
        "next" => {
            when.calls = Calls::Range(1, positive(words.next("how many calls")?)?);
            "which calls"
        }
        "every" => {
            when.calls = Calls::Every(positive(words.next("the step")?)?);
            "which calls"
        }
        "always" => "which calls",
        "seed" => {
            when.seed = number(words.next("the seed")?)?;
            "seed"
        }
        "from" => {
            when.from = duration(words.next("the time until it begins")?)?;
            "from"
        }
        "for" => {
            let span = duration(words.next("the time")?)?;
            if span.is_zero() {
                return Err("\"for\" no time at all".to_owned());
            }
            when.span = Some(span);
            "for"
        }
        "shared" => {
            when.shared = true;
            "shared"
        }
        "output" => {
            when.output = true;
            "output"
        }
        "before" => "before or after",
        "after" => {
            when.after = true;
            "before or after"
        }
        _ => match word.strip_suffix('%') {
            Some(share) => {
                when.per_million = percent(share)?;
                "share"
            }
            None => return Ok(false),
        },
    };
    if seen.contains(&kind) {
        return Err(format!("\"{word}\": {kind} was said before"));
    }
    seen.push(kind);
    Ok(true)
}

fn action(word: &str, words: &mut Words<'_>) -> Result<Action, String> {
    Ok(match word {
        "return" => Action::Return(return_code(words.next("the return code")?)?),
        "delay" => {
            let text = words.next("the delay")?;
            let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
            let (shortest, longest) = (duration(shortest)?, duration(longest)?);
            if longest < shortest {
                return Err(format!("\"{text}\" ends before it begins"));
            }
            Action::Delay(shortest, longest)
        }
        "hang" => Action::Hang,
        "abort" => Action::Die(Death::Abort),
        "segfault" => Action::Die(Death::Segfault),
        "kill" => Action::Die(Death::Kill),
        "exit" => {
            let status = words.next("the exit status")?;
            Action::Die(Death::Exit(status.parse().map_err(|_| format!("\"{status}\" is no exit status"))?))
        }
        "drop-login" => Action::Harm(Harm::DropLogin),
        "close-session" => Action::Harm(Harm::CloseSession),
        "close-sessions" => Action::Harm(Harm::CloseSessions),
        "stale-objects" => Action::Harm(Harm::StaleObjects),
        "change-slots" => Action::Harm(Harm::ChangeSlots),
        "remove-token" => Action::Harm(Harm::RemoveToken),
        "lose-init" => Action::Harm(Harm::LoseInit),
        "break-device" => Action::Harm(Harm::BreakDevice(match words.0.next() {
            Some(code) => match return_code(code)? {
                cryptoki_sys::CKR_OK => return Err("a device that answers CKR_OK is not broken".to_owned()),
                code => code,
            },
            None => cryptoki_sys::CKR_DEVICE_ERROR,
        })),
        "corrupt" => Action::Damage(Damage::Corrupt),
        "shorten" => Action::Damage(Damage::Shorten(positive(words.next("the number of bytes")?)?)),
        "lengthen" => Action::Damage(Damage::Lengthen(positive(words.next("the number of bytes")?)?)),
        other => return Err(format!("\"{other}\" is neither a condition nor an action")),
    })
}

fn return_code(text: &str) -> Result<cryptoki_sys::CK_RV, String> {
    code::parse(text).ok_or_else(|| format!("\"{text}\" is no return code"))
}

/// Digits only: no sign, no space.
fn number(text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| format!("\"{text}\" is no number"))
}

fn positive(text: &str) -> Result<u64, String> {
    number(text).and_then(|number| if number == 0 { Err("0 is too few".to_owned()) } else { Ok(number) })
}

/// A year is long enough, and no sum of two overflows.
const LONGEST_MS: u64 = 365 * 24 * 3_600_000;

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(format!("\"{text}\" is no duration: 50ms, 2s, 1m")),
    };
    match number(digits)?.checked_mul(factor) {
        Some(ms) if ms <= LONGEST_MS => Ok(Duration::from_millis(ms)),
        _ => Err(format!("\"{text}\" is too long")),
    }
}

/// Up to four digits behind the point: a millionth.
fn percent(text: &str) -> Result<u32, String> {
    let wrong = || format!("\"{text}%\" is no share between 0.0001% and 100%");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.len() > 4 {
        return Err(wrong());
    }
    let (whole, part) = (number(whole).map_err(|_| wrong())?, number(&format!("{part:0<4}")).map_err(|_| wrong())?);
    let millionths = whole.checked_mul(10_000).and_then(|whole| whole.checked_add(part));
    match millionths.and_then(|share| u32::try_from(share).ok()) {
        Some(share @ 1..=ALWAYS) => Ok(share),
        _ => Err(wrong()),
    }
}
