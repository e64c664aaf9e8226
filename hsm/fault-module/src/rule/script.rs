//! A script: rules, limits and comments, one a line.

use super::{Rule, parse};

/// Why a script is refused. The whole of it is: half a script would be a fault nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScriptError {
    /// The line, counted from 1.
    pub line: usize,
    reason: String,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Rule(Rule),
    Sessions { most: u64, shared: bool },
    TokenObjects(u64),
    SessionObjects(u64),
    PinTries(u64),
}

/// What holds for as long as the script does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Open sessions, and whether they are counted over all processes.
    pub(crate) sessions: Option<(u64, bool)>,
    pub(crate) token_objects: Option<u64>,
    pub(crate) session_objects: Option<u64>,
    pub(crate) pin_tries: Option<u64>,
}

impl Settings {
    /// Takes a line that is no rule; false if the same was said before.
    pub(crate) fn take(&mut self, line: &Line) -> bool {
        match line {
            Line::Rule(_) => true,
            Line::Sessions { most, shared } => self.sessions.replace((*most, *shared)).is_none(),
            Line::TokenObjects(most) => self.token_objects.replace(*most).is_none(),
            Line::SessionObjects(most) => self.session_objects.replace(*most).is_none(),
            Line::PinTries(tries) => self.pin_tries.replace(*tries).is_none(),
        }
    }

    /// These, and where they say nothing, the others.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            sessions: self.sessions.or(other.sessions),
            token_objects: self.token_objects.or(other.token_objects),
            session_objects: self.session_objects.or(other.session_objects),
            pin_tries: self.pin_tries.or(other.pin_tries),
        }
    }
}

impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if let Some((most, shared)) = self.sessions {
            parts.push(format!("limit sessions {most}{}", if shared { " shared" } else { "" }));
        }
        parts.extend(self.token_objects.map(|most| format!("limit token-objects {most}")));
        parts.extend(self.session_objects.map(|most| format!("limit session-objects {most}")));
        parts.extend(self.pin_tries.map(|tries| format!("pin-tries {tries}")));
        f.write_str(&parts.join("; "))
    }
}

/// A script that was understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// With the number of the line that each stands on.
    pub(crate) rules: Vec<(usize, Rule)>,
    pub(crate) settings: Settings,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        for (number, text) in (1..).zip(text.lines()) {
            let failed = |reason| ScriptError { line: number, reason };
            let Some(line) = Self::line(text).map_err(failed)? else { continue };
            if !script.settings.take(&line) {
                return Err(failed("was said before".to_owned()));
            }
            if let Line::Rule(rule) = line {
                script.rules.push((number, rule));
            }
        }
        Ok(script)
    }

    /// Reads one line; nothing if it is empty or a comment.
    pub(crate) fn line(text: &str) -> Result<Option<Line>, String> {
        let text = text.split_once('#').map_or(text, |(before, _)| before).trim();
        if text.is_empty() { Ok(None) } else { parse::line(text).map(Some) }
    }
}
