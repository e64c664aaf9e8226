//! `tillward audit`

use clap::Subcommand;
use serde_json::Value;

use super::{Reach, output};

/// The audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List entries in the order of the log
    List {
        /// Only entries after this number
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// At most this many, up to 500
        #[arg(long, default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) async fn run(command: Audit) -> anyhow::Result<()> {
    let Audit::List { after, limit, reach } = command;
    let answer = reach.api()?.get(&format!("/v1/audit?after={after}&limit={limit}")).await?;
    if reach.json {
        output::json(&answer);
        return Ok(());
    }
    let text = |entry: &Value, name: &str| match entry.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let rows: Vec<Vec<String>> = answer
        .get("entries")
        .and_then(Value::as_array)
        .map(|entries| {
            entries
                .iter()
                .map(|e| ["seq", "time", "caller", "action", "resource", "outcome", "reason"].map(|name| text(e, name)).to_vec())
                .collect()
        })
        .unwrap_or_default();
    output::table(&["seq", "time", "caller", "action", "resource", "outcome", "reason"], &rows);
    Ok(())
}
