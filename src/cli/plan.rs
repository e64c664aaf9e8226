//! `tillward plan`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tillward_hsm::{Deed, KekForm, KeyAlgorithm, KeyName, Purpose};

use super::failure::Advice;
use super::{Reach, output};
use crate::ops::{ExecutionBody, PlanBody};
use crate::store::PlanId;

/// Plans: what several officers have to approve.
#[derive(Debug, Subcommand)]
pub(super) enum Plan {
    /// Propose what needs a quorum; with --dry-run, show the plan, its hash and what it would do
    Propose(Box<Propose>),
    /// List plans, the latest first
    List {
        /// Only open, executed or cancelled ones
        #[arg(long, value_parser = ["open", "executed", "cancelled"])]
        state: Option<String>,
        /// At most this many, up to 200
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show a plan as it is signed, its hash and its approvals
    Show {
        /// The plan's id
        id: PlanId,
        #[command(flatten)]
        reach: Reach,
    },
    /// Write a plan with its approvals as a bundle that `approval verify` verifies offline
    Bundle {
        /// The plan's id
        id: PlanId,
        #[command(flatten)]
        reach: Reach,
    },
    /// Withdraw a plan
    Cancel {
        /// The plan's id
        id: PlanId,
        #[command(flatten)]
        reach: Reach,
    },
    /// Execute an approved plan; without --execute, verify everything and say what it would do
    Execute {
        /// The plan's id
        id: PlanId,
        /// Do it
        #[arg(long)]
        execute: bool,
        /// What an import brings: the partner's key block, or wrapped key
        #[arg(long, value_name = "FILE")]
        content: Option<PathBuf>,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Arguments of `tillward plan propose`.
#[derive(Debug, Args)]
pub(super) struct Propose {
    /// What is to be done
    #[arg(value_parser = Deed::NAMES)]
    deed: String,
    /// The logical key
    #[arg(long)]
    key: Option<KeyName>,
    /// Its version
    #[arg(long)]
    version: Option<u32>,
    /// What a key that comes in is for
    #[arg(long, value_parser = purpose)]
    purpose: Option<Purpose>,
    /// What a key that comes in is
    #[arg(long, value_parser = algorithm)]
    algorithm: Option<KeyAlgorithm>,
    /// The partner's KEK
    #[arg(long)]
    kek: Option<KeyName>,
    /// Its version
    #[arg(long)]
    kek_version: Option<u32>,
    /// How the key travels: key-block, or kwp
    #[arg(long, value_parser = form)]
    form: Option<KekForm>,
    /// SHA-256 of the content, 64 lower-case hexadecimal digits
    #[arg(long, value_name = "HASH", conflicts_with = "file")]
    content: Option<String>,
    /// The content itself: officers' file, ceremony file, key block; it stays here, only its SHA-256 is sent
    #[arg(long)]
    file: Option<PathBuf>,
    /// Show what the plan would be and what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reach: Reach,
}

fn purpose(text: &str) -> Result<Purpose, String> {
    let names = Purpose::ALL.map(Purpose::name).join(", ");
    Purpose::named(text).ok_or_else(|| format!("one of {names}"))
}

fn algorithm(text: &str) -> Result<KeyAlgorithm, String> {
    let names = KeyAlgorithm::ALL.map(KeyAlgorithm::name).join(", ");
    KeyAlgorithm::named(text).ok_or_else(|| format!("one of {names}"))
}

fn form(text: &str) -> Result<KekForm, &'static str> {
    KekForm::named(text).ok_or("key-block or kwp")
}

pub(super) async fn run(command: Plan) -> anyhow::Result<()> {
    match command {
        Plan::Propose(propose) => return self::propose(*propose).await,
        Plan::List { state, limit, reach } => {
            let state = state.map_or(String::new(), |state| format!("&state={state}"));
            let page = reach.api()?.get(&format!("/v1/plans?limit={limit}{state}")).await?;
            if reach.json {
                output::json(&page);
                return Ok(());
            }
            let plans = page.get("plans").and_then(Value::as_array).cloned().unwrap_or_default();
            let columns = ["id", "state", "deed", "resource", "requester", "expires"];
            let cell = |plan: &Value, name: &str| plan.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let rows: Vec<Vec<String>> = plans.iter().map(|plan| columns.iter().map(|name| cell(plan, name)).collect()).collect();
            output::table(&columns, &rows);
        }
        Plan::Show { id, reach } => show(&reach, &reach.api()?.get(&format!("/v1/plans/{id}")).await?),
        Plan::Bundle { id, reach } => output::json(&reach.api()?.get(&format!("/v1/plans/{id}/bundle")).await?),
        Plan::Cancel { id, reach } => show(&reach, &reach.api()?.post(&format!("/v1/plans/{id}/cancel"), &json!({})).await?),
        Plan::Execute { id, execute, content, reach } => {
            let content = content
                .map(|path| {
                    std::fs::read(&path)
                        .with_context(|| Advice::new(format!("cannot read {}", path.display()), "name a file that you may read."))
                })
                .transpose()?
                .map(|bytes| data_encoding::BASE64URL_NOPAD.encode(&bytes));
            let body = serde_json::to_value(ExecutionBody { content, dry_run: !execute })?;
            let done = reach.api()?.post(&format!("/v1/plans/{id}/execute"), &body).await?;
            show(&reach, &done);
            if !execute && !reach.json {
                println!("Nothing was done: this was a dry run. With --execute it is done.");
            }
        }
    }
    Ok(())
}

async fn propose(propose: Propose) -> anyhow::Result<()> {
    let content = match propose.file {
        Some(path) => {
            let bytes = std::fs::read(&path)
                .with_context(|| Advice::new(format!("cannot read {}", path.display()), "name a file that you may read."))?;
            Some(data_encoding::HEXLOWER.encode(&Sha256::digest(bytes)))
        }
        None => propose.content,
    };
    let body = PlanBody {
        deed: propose.deed,
        key: propose.key,
        version: propose.version,
        purpose: propose.purpose,
        algorithm: propose.algorithm,
        kek: propose.kek,
        kek_version: propose.kek_version,
        form: propose.form,
        content,
        dry_run: propose.dry_run,
    };
    let answer = propose.reach.api()?.post("/v1/plans", &serde_json::to_value(body)?).await?;
    show(&propose.reach, &answer);
    if propose.dry_run && !propose.reach.json {
        println!("Nothing was proposed: this was a dry run.");
    }
    Ok(())
}

/// A plan for people: first what is signed, as it is signed.
pub(super) fn show(reach: &Reach, plan: &Value) {
    if reach.json {
        output::json(plan);
        return;
    }
    let text = |name: &str| plan.get(name).and_then(Value::as_str).unwrap_or_default();
    print!("{}", text("plan"));
    println!();
    println!("hash       {}", text("hash"));
    println!("state      {}", text("state"));
    for approval in plan.get("approvals").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| approval.get(name).and_then(Value::as_str).unwrap_or_default();
        println!("approved   {} {}", text("at"), text("officer"));
    }
    if !text("closed_by").is_empty() {
        println!("closed     {} {}", text("closed"), text("closed_by"));
    }
    for name in ["check", "result"] {
        if let Some(value) = plan.get(name).filter(|value| !value.is_null()) {
            println!("{name}");
            output::object(value);
        }
    }
}
