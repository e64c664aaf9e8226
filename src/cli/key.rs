//! `tillward key`

use clap::Subcommand;
use serde_json::Value;

use super::{Reach, output};

/// Keys.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// List the keys on the token: kind, check value or fingerprint, attributes as read back
    List {
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) async fn run(command: Key) -> anyhow::Result<()> {
    let Key::List { reach } = command;
    let answer = reach.api()?.get("/v1/hsm/keys").await?;
    if reach.json {
        output::json(&answer);
    } else {
        let keys = answer.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
        print_inventory(&keys);
    }
    Ok(())
}

/// The inventory as a table: what a person compares in a ceremony.
pub(super) fn print_inventory(keys: &[Value]) {
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let attributes = key.get("attributes").and_then(Value::as_object).map(|map| {
                map.iter().filter(|(_, on)| on.as_bool() == Some(true)).map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
            });
            let value = |name: &str| key.get(name).and_then(Value::as_str);
            let compare = match (value("kcv"), value("check_value"), value("fingerprint")) {
                (Some(kcv), ..) => format!("KCV {kcv}"),
                (None, Some(check), _) => format!("ECB {check}"),
                (None, None, fingerprint) => fingerprint.unwrap_or("-").to_owned(),
            };
            vec![text(key, "label"), text(key, "kind"), compare, attributes.unwrap_or_default()]
        })
        .collect();
    output::table(&["key", "kind", "check value or SHA-256 of the public key", "attributes that are true"], &rows);
}
