//! What only a quorum may do to a key: each command proposes a plan, or says what the plan would be and what it would strand.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tillward_hsm::{KekForm, KeyAlgorithm, KeyName, Purpose};

use super::arguments::{algorithm, form, purpose};
use crate::cli::failure::Advice;
use crate::cli::reach::{Deliberate, Reach};
use crate::cli::{output, plan};
use crate::ops::PlanBody;

/// A version, and whether it is meant.
#[derive(Debug, Args)]
pub(in crate::cli) struct OfVersion {
    /// The key
    key: KeyName,
    /// Its version
    version: u32,
    #[command(flatten)]
    deliberate: Deliberate,
    #[command(flatten)]
    reach: Reach,
}

/// Under which KEK.
#[derive(Debug, Args)]
struct Under {
    /// The partner's KEK
    #[arg(long)]
    kek: KeyName,
    /// Its version
    #[arg(long, default_value_t = 1)]
    kek_version: u32,
    /// How the key travels: key-block, or kwp for a partner who wants the bare form
    #[arg(long, value_parser = form, default_value = "key-block")]
    form: KekForm,
}

/// Arguments of `tillward key export`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// The key
    key: KeyName,
    /// Its version
    version: u32,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    deliberate: Deliberate,
    #[command(flatten)]
    reach: Reach,
}

/// Arguments of `tillward key import`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The key; a new one is made
    key: KeyName,
    /// Its version
    #[arg(default_value_t = 1)]
    version: u32,
    /// What the partner sent; it stays here until the plan is executed, only its SHA-256 goes into the plan
    #[arg(long)]
    file: PathBuf,
    /// What it is for
    #[arg(long, value_parser = purpose)]
    purpose: Purpose,
    /// What it is
    #[arg(long, value_parser = algorithm)]
    algorithm: KeyAlgorithm,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    deliberate: Deliberate,
    #[command(flatten)]
    reach: Reach,
}

impl OfVersion {
    pub(super) async fn propose(self, deed: &str) -> anyhow::Result<()> {
        let Self { key, version, deliberate, reach } = self;
        let body = PlanBody { deed: deed.to_owned(), key: Some(key), version: Some(version), ..PlanBody::default() };
        propose(&reach, &deliberate, body, None).await
    }
}

impl Export {
    pub(super) async fn propose(self) -> anyhow::Result<()> {
        let Self { key, version, under, deliberate, reach } = self;
        let body = PlanBody { key: Some(key), version: Some(version), ..under.body("export-key") };
        propose(&reach, &deliberate, body, None).await
    }
}

impl Import {
    pub(super) async fn propose(self) -> anyhow::Result<()> {
        let Self { key, version, file, purpose, algorithm, under, deliberate, reach } = self;
        let bytes = std::fs::read(&file).with_context(|| {
            Advice::new(format!("cannot read {}", file.display()), "name the file with the key block that the partner sent.")
        })?;
        let body = PlanBody {
            key: Some(key),
            version: Some(version),
            purpose: Some(purpose),
            algorithm: Some(algorithm),
            content: Some(data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))),
            ..under.body("import-key")
        };
        propose(&reach, &deliberate, body, Some(file)).await
    }
}

impl Under {
    fn body(self, deed: &str) -> PlanBody {
        PlanBody {
            deed: deed.to_owned(),
            kek: Some(self.kek),
            kek_version: Some(self.kek_version),
            form: Some(self.form),
            ..PlanBody::default()
        }
    }
}

async fn propose(reach: &Reach, deliberate: &Deliberate, mut body: PlanBody, content: Option<PathBuf>) -> anyhow::Result<()> {
    body.dry_run = !deliberate.execute;
    reach.announce(if body.dry_run { "A dry run" } else { "Proposing a plan" })?;
    let answer = reach.api()?.post("/v1/plans", &serde_json::to_value(&body)?).await?;
    if reach.json {
        output::json(&answer);
        return Ok(());
    }
    plan::show(reach, &answer);
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("?");
    println!();
    if body.dry_run {
        println!("Nothing was proposed. The same command with --execute proposes it.");
        return Ok(());
    }
    let quorum = answer.get("quorum").and_then(Value::as_u64).unwrap_or(0);
    println!("Proposed. {quorum} other officers approve it, each with a key of their own:");
    println!("  tillward approval sign {} --hash {} --key FILE", text("id"), text("hash"));
    println!("then it is executed:");
    let content = content.map(|file| format!(" --content {}", file.display())).unwrap_or_default();
    println!("  tillward plan execute {}{content} --execute", text("id"));
    Ok(())
}
