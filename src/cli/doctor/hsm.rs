//! `tillward doctor hsm`: is this HSM fit for Tillward? Before there is a configuration, and for a module that nobody here has seen.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tillward_hsm::trial::{self, Outcome, Report, Row, Wanted};

use crate::cli::output::{self, Paint};
use crate::cli::progress;
use crate::cli::target::{Which, print_device};

/// Arguments of `tillward doctor hsm`.
#[derive(Debug, Args)]
pub(super) struct Hsm {
    #[command(flatten)]
    which: Which,
    /// Sessions to open side by side, besides that of the login
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    sessions: u16,
    /// Also make keys while another session searches; a module that loses them (SoftHSM 2.6) leaves half a key behind: for a throw-away token
    #[arg(long)]
    races: bool,
    /// JSON for machines instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Hsm) -> anyhow::Result<ExitCode> {
    let target = args.which.target()?;
    let bar = progress::spinner(args.json);
    let wanted = Wanted { sessions: args.sessions, races: args.races };
    let report = trial::examine(&target, wanted, &mut |check| bar.set_message(check.to_owned())).await?;
    bar.finish_and_clear();
    if args.json {
        output::json(&json!({"fit": report.is_fit(), "device": report.device, "checks": report.rows}));
    } else {
        print_device(report.device.as_ref());
        print(&report);
    }
    Ok(if report.is_fit() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line of the table.
struct Line {
    section: String,
    outcome: Outcome,
    name: String,
    text: String,
}

fn line(row: &Row) -> Line {
    let code = row.code.as_ref().map(|code| format!(" [{code}]")).unwrap_or_default();
    let (section, name) = match row.group.strip_prefix("key ") {
        Some(key) => ("keys".to_owned(), format!("{key}: {}", row.name)),
        None => (row.group.clone(), row.name.clone()),
    };
    Line { section, outcome: row.outcome, name, text: format!("{}{code}", row.hint) }
}

/// The rows by section. What passed of a key is one line: there are ten of them for each.
fn lines(rows: &[Row]) -> Vec<Line> {
    let mut lines = Vec::new();
    for of_group in rows.chunk_by(|a, b| a.group == b.group) {
        let key = of_group.first().and_then(|row| row.group.strip_prefix("key "));
        let (passed, other): (Vec<_>, Vec<_>) = of_group.iter().partition(|row| key.is_some() && row.outcome == Outcome::Pass);
        if let (Some(key), false) = (key, passed.is_empty()) {
            let text = passed.iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ");
            lines.push(Line { section: "keys".to_owned(), outcome: Outcome::Pass, name: key.to_owned(), text });
        }
        lines.extend(other.into_iter().map(line));
    }
    lines
}

fn print(report: &Report) {
    let paint = Paint::stdout();
    let lines = lines(&report.rows);
    let width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
    for (at, section) in sections(&lines).iter().enumerate() {
        if at > 0 {
            println!();
        }
        println!("{}", paint.strong(section));
        for Line { outcome, name, text, .. } in lines.iter().filter(|line| line.section == *section) {
            let word = format!("{:10}", outcome.name());
            let mark = match outcome {
                Outcome::Pass => paint.good(&word),
                Outcome::Fail => paint.bad(&word),
                Outcome::Workaround => paint.warn(&word),
                Outcome::Note => paint.faint(&word),
            };
            println!("  {mark}  {name:width$}  {text}");
        }
    }
    let count = |outcome: Outcome| format!("{} {}", report.count(outcome), outcome.name());
    let counts = [Outcome::Pass, Outcome::Workaround, Outcome::Note, Outcome::Fail].map(count).join(", ");
    println!("\n{} checks: {counts}.", report.rows.len());
    if report.is_fit() {
        println!("{}", paint.good("This HSM is fit for Tillward."));
    } else {
        println!("{}", paint.bad("This HSM is not fit for Tillward as it is."));
    }
}

/// In the order of their first line.
fn sections(lines: &[Line]) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in lines {
        if !sections.contains(&line.section) {
            sections.push(line.section.clone());
        }
    }
    sections
}
