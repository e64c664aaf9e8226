//! `tillward hsm`

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::Value;

use super::{Reach, output};

/// The HSM.
#[derive(Debug, Subcommand)]
pub(super) enum Hsm {
    /// Show the HSM hosts: state, breaker, sessions and objects with their budgets, memory, recoveries, replacements
    Status {
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) async fn run(command: Hsm) -> anyhow::Result<()> {
    let Hsm::Status { reach } = command;
    let answer = reach.api()?.get("/v1/hsm").await?;
    if reach.json {
        output::json(&answer);
    } else {
        print!("{}", summary(&answer));
        let hosts = answer.get("hosts").and_then(Value::as_array).cloned().unwrap_or_default();
        let headings =
            ["host", "pid", "state", "breaker", "generation", "sessions", "objects", "made objects", "MiB", "recoveries", "replacements"];
        output::table(&headings, &hosts.iter().map(row).collect::<Vec<_>>());
        hosts.iter().for_each(explain);
    }
    Ok(())
}

fn summary(answer: &Value) -> String {
    let state = match (answer.get("bound").and_then(Value::as_bool), answer.get("ready").and_then(Value::as_bool)) {
        (Some(true), Some(true)) => "serves",
        (Some(true), _) => "the HSM is away",
        _ => "not bound to its token yet",
    };
    let mut text = format!("{state}; calls in flight {}; sent again {}\n", budget(answer.get("queue")), number(answer, "repeats"));
    if let Some(trouble) = answer.get("trouble").and_then(Value::as_str) {
        let _ = writeln!(text, "{trouble}");
    }
    text
}

fn row(host: &Value) -> Vec<String> {
    let word = |name: &str| host.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let mib = host.get("memory_kib").and_then(Value::as_u64).unwrap_or(0) / 1024;
    vec![
        word("kind"),
        number(host, "pid"),
        word("state"),
        word("breaker"),
        number(host, "generation"),
        budget(host.get("sessions")),
        budget(host.get("objects")),
        number(host, "made_objects"),
        mib.to_string(),
        counts(host.get("recoveries")),
        counts(host.get("replacements")),
    ]
}

/// Why a host does not serve.
fn explain(host: &Value) {
    if let Some(outage) = host.get("outage").and_then(Value::as_str) {
        println!("{outage}");
    }
    for problem in host.get("problems").and_then(Value::as_array).into_iter().flatten() {
        let word = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        println!("{} {} {}", word("name"), word("code"), word("hint"));
    }
}

fn number(value: &Value, name: &str) -> String {
    value.get(name).filter(|value| !value.is_null()).map_or_else(|| "-".to_owned(), Value::to_string)
}

/// `used/most`, or with what the token gives, if that is less.
fn budget(budget: Option<&Value>) -> String {
    let part = |name: &str| budget.and_then(|budget| budget.get(name)).and_then(Value::as_u64);
    let most = [part("most"), part("token")].into_iter().flatten().min();
    let used = part("used").unwrap_or(0);
    most.map_or_else(|| used.to_string(), |most| format!("{used}/{most}"))
}

fn counts(counts: Option<&Value>) -> String {
    let all: Vec<_> = counts.and_then(Value::as_object).into_iter().flatten().map(|(name, count)| format!("{name} {count}")).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}
