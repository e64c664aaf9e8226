//! `tillward approval`

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tillward_hsm::{Plan, Roster};

use super::failure::{Advice, advise};
use super::{Reach, output, plan, signer};
use crate::ops::bundle::{Bundle, BundledApproval, verify_entry};
use crate::ops::officers::OfficersFile;
use crate::store::PlanId;

const READABLE: &str = "name a file that you may read.";

/// Approvals of plans, and their proof.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one is made, once")]
pub(super) enum Approval {
    /// Approve a plan: read it, say which hash is meant, sign the hash here, send the signature
    Sign(Sign),
    /// Approve a plan with a signature that was made elsewhere, over the hash that `plan show` prints
    Add {
        /// The plan's id
        id: PlanId,
        /// The signature: DER (openssl) or 64 bytes
        #[arg(long, value_name = "FILE")]
        signature: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Verify a bundle, or the audit log as `audit list --json` prints it, without the service
    Verify {
        /// The file
        file: PathBuf,
        /// The officers' file, from where it can be trusted; without it a bundle is verified with the keys that it brings, which are printed
        #[arg(long)]
        officers: Option<PathBuf>,
        /// Refuse a plan that has expired by now
        #[arg(long)]
        now: bool,
        /// JSON for machines
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `tillward approval sign`.
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The plan's id
    #[arg(required_unless_present = "plan", conflicts_with = "plan")]
    id: Option<PlanId>,
    /// A plan in a file (`tillward ceremony plan`), without the service: the signature is added to --bundle
    #[arg(long, value_name = "FILE", requires = "officer", requires = "bundle")]
    plan: Option<PathBuf>,
    /// Who signs, as in the officers' file, with --plan
    #[arg(long = "as", value_name = "URI", id = "officer", requires = "plan")]
    officer: Option<String>,
    /// The bundle of plan and approvals, which is made where there is none, with --plan
    #[arg(long, value_name = "FILE", requires = "plan")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    with: signer::With,
    /// The hash that the requester told: another is not signed. Without it, the first eight digits are asked for on the terminal
    #[arg(long)]
    hash: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(command: Approval) -> anyhow::Result<()> {
    match command {
        Approval::Sign(Sign { plan: Some(plan), officer: Some(officer), bundle: Some(bundle), with, hash, reach, .. }) => {
            let bytes = std::fs::read(&plan).with_context(|| Advice::new(format!("cannot read {}", plan.display()), READABLE))?;
            let plan = Plan::parse(&bytes)?;
            let mut whole = opened(&bundle, &plan, &officer)?;
            let own = read_and_agree(&plan, hash.as_deref(), reach.json)?;
            let signature = data_encoding::BASE64URL_NOPAD.encode(&with.sign(&own).await?);
            let at = crate::clock::Clock::system().now().rfc3339();
            whole.approvals.push(BundledApproval { officer, signature, at, public_key: None });
            let beside = bundle.with_extension("new");
            std::fs::write(&beside, format!("{:#}\n", serde_json::to_value(&whole)?))?;
            std::fs::rename(&beside, &bundle)?;
            if !reach.json {
                println!("{} of {} approvals are in {}.", whole.approvals.len(), plan.quorum, bundle.display());
            }
            Ok(())
        }
        Approval::Sign(Sign { id, with, hash, reach, .. }) => {
            let id = id.context("no plan was named")?;
            let shown = reach.api()?.get(&format!("/v1/plans/{id}")).await?;
            let text = |name: &str| shown.get(name).and_then(Value::as_str).unwrap_or_default();
            let plan = signer::plan_of(text("plan"), id, text("hash"))?;
            let own = read_and_agree(&plan, hash.as_deref(), reach.json)?;
            let signature = with.sign(&own).await?;
            send(&reach, id, &signature).await
        }
        Approval::Add { id, signature, reach } => {
            let bytes = std::fs::read(&signature).with_context(|| Advice::new(format!("cannot read {}", signature.display()), READABLE))?;
            send(&reach, id, &signer::signature_of(&bytes)?).await
        }
        Approval::Verify { file, officers, now, json } => verify(&file, officers.as_deref(), now, json),
    }
}

/// The bundle of this plan as it is, or a new one.
fn opened(path: &Path, plan: &Plan, officer: &str) -> anyhow::Result<Bundle> {
    let text = String::from_utf8(plan.to_bytes())?;
    let other = "name a bundle of this plan, or a file that is not there yet; each officer signs once, and not the requester.";
    if officer == plan.requester {
        return Err(advise("the requester cannot approve: nothing was signed", other));
    }
    if !path.exists() {
        let hash = data_encoding::HEXLOWER.encode(&plan.hash());
        return Ok(Bundle { kind: Bundle::KIND.to_owned(), plan: text, hash, state: "open".to_owned(), approvals: Vec::new() });
    }
    let bundle = Bundle::parse(&std::fs::read(path)?)?;
    if bundle.plan != text || bundle.approvals.iter().any(|approval| approval.officer == officer) {
        return Err(advise("the bundle is of another plan, or this officer has signed it: nothing was signed", other));
    }
    Ok(bundle)
}

/// Shows the plan as it was understood, and goes on only with the word of a person, or with a hash that did not come from the service.
fn read_and_agree(plan: &Plan, hash: Option<&str>, json: bool) -> anyhow::Result<[u8; 32]> {
    let own = plan.hash();
    let printed = data_encoding::HEXLOWER.encode(&own);
    if !json {
        println!("{}", String::from_utf8_lossy(&plan.to_bytes()));
    }
    if let Some(agreed) = hash {
        if agreed != printed {
            let what = format!("the plan's hash is {printed}, which is not the one that was agreed on: nothing was signed");
            return Err(advise(
                what,
                "read both hashes to the requester by voice; if they differ there too, somebody changed the plan: cancel it.",
            ));
        }
        if !json {
            println!("hash       {printed}");
        }
        return Ok(own);
    }
    if json || !std::io::stdin().is_terminal() {
        let what = "nobody has said which plan is meant: nothing was signed";
        return Err(advise(what, "give --hash with the 64 digits that the requester told you, or sign on a terminal, without --json."));
    }
    println!("hash       {printed}");
    eprint!("Read the plan. To sign it, type the first 8 digits of the hash that the requester told you: ");
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed)?;
    let typed = typed.trim();
    if typed.len() == 8 && printed.starts_with(typed) {
        Ok(own)
    } else {
        Err(advise(
            "those are not the first 8 digits of the plan's hash: nothing was signed",
            "ask the requester for the hash of the plan.",
        ))
    }
}

async fn send(reach: &Reach, id: PlanId, signature: &[u8; 64]) -> anyhow::Result<()> {
    let body = json!({"signature": data_encoding::BASE64URL_NOPAD.encode(signature)});
    plan::show(reach, &reach.api()?.post(&format!("/v1/plans/{id}/approvals"), &body).await?);
    Ok(())
}

fn verify(path: &Path, officers: Option<&Path>, now: bool, json: bool) -> anyhow::Result<()> {
    let bytes = std::fs::read(path).with_context(|| Advice::new(format!("cannot read {}", path.display()), READABLE))?;
    let roster = officers.map(OfficersFile::read).transpose()?.map(|file| file.roster);
    let value: Value = serde_json::from_slice(&bytes).context("the file is not JSON")?;
    if let Some(entries) = value.get("entries").and_then(Value::as_array) {
        let roster = roster.context("for the audit log name the officers' file with --officers: the log holds no keys")?;
        return verify_log(entries, &roster, json);
    }
    let bundle = Bundle::parse(&bytes)?;
    let now = now.then(|| crate::clock::Clock::system().now().0);
    let plan = bundle.verify(roster.as_ref(), now)?;
    let approved: Vec<&str> = bundle.approvals.iter().map(|approval| approval.officer.as_str()).collect();
    if json {
        output::json(
            &json!({"verified": true, "hash": bundle.hash, "deed": plan.deed.name(), "officers": approved, "own_keys": roster.is_none()}),
        );
        return Ok(());
    }
    print!("{}", bundle.plan);
    println!();
    println!("hash       {}", bundle.hash);
    let keys = match roster {
        Some(roster) => roster,
        None => bundle.roster()?,
    };
    for officer in approved {
        let spki = keys.spki(officer).unwrap_or_default();
        println!("approved   {officer}, key {}", data_encoding::HEXLOWER.encode(&crate::ops::sha256(&spki)));
    }
    println!("verified   {} of {} approvals", bundle.approvals.len(), plan.quorum);
    if officers.is_none() {
        println!("The keys come from the bundle itself: compare them with the officers', or name the officers' file with --officers.");
    }
    Ok(())
}

fn verify_log(entries: &[Value], roster: &Roster, json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for entry in entries.iter().filter(|entry| entry.get("outcome").and_then(Value::as_str) == Some("effect")) {
        let detail: BTreeMap<String, String> =
            serde_json::from_value(entry.get("detail").cloned().unwrap_or_default()).context("an entry without detail")?;
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let seq = entry.get("seq").map(ToString::to_string).unwrap_or_default();
        let verified = verify_entry(text("action"), text("resource"), &detail, roster);
        if let Some(Plan { id, deed, .. }) = verified.with_context(|| format!("entry {seq} of the log"))? {
            rows.push(vec![seq, deed.name().to_owned(), data_encoding::HEXLOWER.encode(&id)]);
        }
    }
    if json {
        output::json(&json!({"verified": true, "plans": rows}));
    } else {
        output::table(&["entry", "deed", "plan"], &rows);
        println!("{} executed plans, every signature verified", rows.len());
    }
    Ok(())
}
