//! From a rule back to text: what `status` shows, in the words that a script is written in.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::{ALWAYS, Action, Calls, Damage, Death, Harm, Rule, When};
use crate::code;
use crate::function::FunctionSet;

struct Time(Duration);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.functions == FunctionSet::ALL {
            f.write_str("*")?;
        } else {
            let names: Vec<_> = self.functions.iter().map(crate::function::Function::name).collect();
            f.write_str(&names.join(","))?;
        }
        write!(f, "{} {}", self.when, self.action)
    }
}

impl Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.calls {
            Calls::Every(1) => {}
            Calls::Every(step) => write!(f, " every {step}")?,
            Calls::Range(first, last) if first == last => write!(f, " on {first}")?,
            Calls::Range(first, last) => write!(f, " on {first}..{last}")?,
        }
        if self.per_million < ALWAYS {
            write!(f, " {}.{:04}%", self.per_million / 10_000, self.per_million % 10_000)?;
        }
        if self.seed != 0 {
            write!(f, " seed {}", self.seed)?;
        }
        if !self.from.is_zero() {
            write!(f, " from {}", Time(self.from))?;
        }
        if let Some(span) = self.span {
            write!(f, " for {}", Time(span))?;
        }
        for (is, word) in [(self.shared, " shared"), (self.output, " output"), (self.after, " after")] {
            if is {
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Return(rv) => write!(f, "return {}", code::name(*rv)),
            Self::Delay(shortest, longest) if shortest == longest => write!(f, "delay {}", Time(*shortest)),
            Self::Delay(shortest, longest) => write!(f, "delay {}..{}", Time(*shortest), Time(*longest)),
            Self::Hang => f.write_str("hang"),
            Self::Die(Death::Abort) => f.write_str("abort"),
            Self::Die(Death::Segfault) => f.write_str("segfault"),
            Self::Die(Death::Kill) => f.write_str("kill"),
            Self::Die(Death::Exit(status)) => write!(f, "exit {status}"),
            Self::Harm(harm) => match harm {
                Harm::DropLogin => f.write_str("drop-login"),
                Harm::CloseSession => f.write_str("close-session"),
                Harm::CloseSessions => f.write_str("close-sessions"),
                Harm::StaleObjects => f.write_str("stale-objects"),
                Harm::ChangeSlots => f.write_str("change-slots"),
                Harm::RemoveToken => f.write_str("remove-token"),
                Harm::LoseInit => f.write_str("lose-init"),
                Harm::BreakDevice(rv) => write!(f, "break-device {}", code::name(*rv)),
            },
            Self::Damage(Damage::Corrupt) => f.write_str("corrupt"),
            Self::Damage(Damage::Shorten(bytes)) => write!(f, "shorten {bytes}"),
            Self::Damage(Damage::Lengthen(bytes)) => write!(f, "lengthen {bytes}"),
        }
    }
}
