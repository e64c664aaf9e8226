//! Keys as people compare them: check values and fingerprints in groups, to be read aloud.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use tillward_hsm::KeyName;

use super::arguments::in_words;
use crate::cli::output::{self, Paint};
use crate::cli::reach::Reach;

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Groups of four, as two people read them to each other.
fn grouped(hex: &str) -> String {
    let symbols: Vec<char> = hex.chars().collect();
    symbols.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// `KCV` or `SHA-256`, and the value in groups.
fn check(version: &Value) -> String {
    let value = |name: &str| version.get(name).and_then(Value::as_str);
    match (value("kcv"), value("fingerprint")) {
        (Some(kcv), _) => format!("KCV {}", grouped(kcv)),
        (None, Some(fingerprint)) => format!("SHA-256 {}", grouped(fingerprint)),
        (None, None) => "-".to_owned(),
    }
}

fn periods(key: &Value) -> String {
    let named = [("rotation_seconds", "rotate every"), ("protect_seconds", "protect for"), ("process_seconds", "process for")];
    let all: Vec<String> =
        named.iter().filter_map(|(name, words)| Some(format!("{words} {}", in_words(key.get(name)?.as_u64()?)))).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

/// A key with its versions.
pub(super) fn key(reach: &Reach, key: &Value) {
    if reach.json {
        return output::json(key);
    }
    let aliases = array(key, "aliases").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    for (name, value) in [
        ("key", text(key, "key")),
        ("class", text(key, "class")),
        ("purpose", text(key, "purpose")),
        ("algorithm", text(key, "algorithm")),
        ("acquirer", text(key, "acquirer")),
        ("aliases", if aliases.is_empty() { "-".to_owned() } else { aliases }),
        ("exportable", if key.get("exportable") == Some(&json!(true)) { "yes" } else { "no" }.to_owned()),
        ("periods", periods(key)),
        ("created", text(key, "created")),
    ] {
        println!("{name:<10}  {value}");
    }
    println!();
    let versions = array(key, "versions");
    let primary = key.get("primary");
    let row = |version: &Value| {
        let is_primary = primary.is_some() && primary == version.get("version");
        let uses = match (version.get("uses"), version.get("uses_limit")) {
            (Some(uses), Some(limit)) => format!("{uses}/{limit}"),
            _ => "-".to_owned(),
        };
        let state = if version.get("unfinished") == Some(&json!(true)) { "not made yet".to_owned() } else { text(version, "state") };
        let state = version.get("destroy_at").and_then(Value::as_str).map_or(state, |at| format!("destroyed at {at}"));
        let mark = if is_primary { "*" } else { "" };
        let number = format!("{}{mark}", text(version, "version"));
        vec![
            number,
            state,
            text(version, "origin"),
            text(version, "activated"),
            text(version, "protect_until"),
            text(version, "not_after"),
            uses,
        ]
    };
    let headings = ["version", "state", "origin", "activated", "protects until", "used until", "uses"];
    output::table(&headings, &versions.iter().map(row).collect::<Vec<_>>());
    println!("\n{}", Paint::stdout().strong("To compare"));
    let checks: Vec<Vec<String>> = versions.iter().map(|version| vec![text(version, "version"), check(version)]).collect();
    output::table(&["version", "check value, or SHA-256 of the public key"], &checks);
    if primary.is_some() {
        println!("\n* protects where a request names no version.");
    }
}

/// Keys, a line each.
pub(super) fn list(reach: &Reach, keys: &[Value]) {
    if reach.json {
        return output::json(&json!({"keys": keys}));
    }
    let row = |key: &Value| {
        let mut row: Vec<String> = ["key", "class", "purpose", "algorithm", "acquirer", "primary"].map(|name| text(key, name)).to_vec();
        row.push(periods(key));
        row
    };
    output::table(&["key", "class", "purpose", "algorithm", "acquirer", "primary", "periods"], &keys.iter().map(row).collect::<Vec<_>>());
}

/// What token and database do not agree on, and what to do about each kind.
pub(super) fn reconciliation(reach: &Reach, found: &Value) -> ExitCode {
    const KINDS: [(&str, &str); 5] = [
        (
            "missing_on_token",
            "in the database, not on the token: stop its use with `tillward key suspend`, and look whether it is the right token.",
        ),
        ("unknown_on_token", "on the token, unknown to the database: nobody may use it; a ceremony decides what becomes of it."),
        ("differing", "not as it was made: report it compromised, unless the reason is known."),
        ("unfinished", "not finished: the same `tillward key create` or `tillward key rotate` again finishes it."),
        ("destroyed_but_there", "destroyed in the database, still on the token: `tillward doctor`, and the service's log, say why."),
    ];
    let differs = KINDS.iter().any(|(kind, _)| !array(found, kind).is_empty());
    if reach.json {
        output::json(found);
    } else {
        for (kind, advice) in KINDS {
            let all = array(found, kind);
            if all.is_empty() {
                continue;
            }
            println!("{}, {advice}", Paint::stdout().bad(&all.len().to_string()));
            for one in all {
                let label = one.as_str().map_or_else(|| text(one, "label"), str::to_owned);
                let more = array(one, "what").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
                println!("  {}", format!("{label}  {more}").trim_end());
            }
        }
        println!("{} agree{}", text(found, "agreeing"), if differs { ". Nothing was changed." } else { ": token and database are one." });
    }
    if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Arguments of `tillward key public`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Public {
    /// The key, or an alias of it
    key: KeyName,
    /// Its version; the primary one, if absent
    version: Option<u32>,
    /// Nothing but PEM (RFC 7468)
    #[arg(long, conflicts_with_all = ["json", "jwk"])]
    pem: bool,
    /// Nothing but a JSON Web Key (RFC 7517)
    #[arg(long, conflicts_with = "json")]
    jwk: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Public {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { key, version, pem, jwk, reach } = self;
        let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
        let answer = reach.api()?.get(&format!("/v1/keys/{key}/public{query}")).await?;
        if reach.json {
            output::json(&answer);
        } else if jwk {
            output::json(answer.get("jwk").unwrap_or(&Value::Null));
        } else if pem {
            print!("{}", text(&answer, "pem"));
        } else {
            println!("key        {} version {}, {}", text(&answer, "key"), text(&answer, "version"), text(&answer, "algorithm"));
            println!("compare    {}\n", check(&answer));
            print!("{}", text(&answer, "pem"));
        }
        Ok(())
    }
}

/// The inventory as a table: what a person compares in a ceremony.
pub(in crate::cli) fn print_inventory(keys: &[Value]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_aloud_stands_in_groups() {
        assert_eq!(grouped("A1B2C3D4E5"), "A1B2 C3D4 E5");
        assert_eq!(check(&json!({"fingerprint": "00112233"})), "SHA-256 0011 2233");
        assert_eq!(check(&json!({})), "-");
    }
}
