//! What the command line prints: tables for people, JSON for machines, colour only on a terminal.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use serde_json::Value;

use super::environment;

/// Prints a value as indented JSON.
pub(super) fn json(value: &Value) {
    println!("{value:#}");
}

/// Prints rows under headings, columns aligned.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) {
    print!("{}", render(headings, rows));
}

fn render(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        text.push_str(out.trim_end());
        text.push('\n');
    };
    line(&mut headings.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Prints the members of an object, one a line, nested ones indented.
pub(super) fn object(value: &Value) {
    print!("{}", members(value, 0));
}

fn members(value: &Value, indent: usize) -> String {
    let mut text = String::new();
    let Some(map) = value.as_object() else { return format!("{value}\n") };
    let width = map.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in map {
        let pad = " ".repeat(indent);
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                let _ = write!(text, "{pad}{name}\n{}", members(value, indent + 2));
            }
            Value::String(plain) => {
                let _ = writeln!(text, "{pad}{name:width$}  {plain}");
            }
            other => {
                let _ = writeln!(text, "{pad}{name:width$}  {other}");
            }
        }
    }
    text
}

/// Colours of a terminal, or nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    /// Colour if standard output is a terminal, and its user has nothing against it.
    pub(super) fn stdout() -> Self {
        Self(std::io::stdout().is_terminal() && !environment::is_plain())
    }

    /// The same for standard error.
    pub(super) fn stderr() -> Self {
        Self(std::io::stderr().is_terminal() && !environment::is_plain())
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// For what went well.
    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// For what was refused or failed.
    pub(super) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// For what works in another way than it should.
    pub(super) fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    /// For headings.
    pub(super) fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    /// For what may be skipped.
    pub(super) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_blanks() {
        let text = render(&["id", "state"], &[vec!["a-long-one".into(), "active".into()], vec!["b".into(), "retired".into()]]);
        assert_eq!(text, "id          state\na-long-one  active\nb           retired\n");
    }

    #[test]
    fn an_object_is_one_member_a_line() {
        let text = members(&serde_json::json!({"id": "x", "inner": {"n": 1}}), 0);
        assert_eq!(text, "id     x\ninner\n  n  1\n");
    }
}
