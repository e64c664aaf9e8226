//! `tillward policy`

mod explain;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::output::{self, Paint};
use super::{Reach, failure};
use crate::authz::{Action, BUILT_IN_CASES, CASES_FILE, Case, Policies, PolicyFiles, PolicyRefusal, matrix};
use crate::policies;

/// Policies: who may do what.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Check a folder of policies as the service would: syntax, schema, ids, quorums
    Check {
        /// The folder; without it, the policies that come with Tillward
        dir: Option<PathBuf>,
        /// JSON for machines instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Run the cases beside the policies (cases.toml)
    Test {
        /// The folder; without it, the policies that come with Tillward
        dir: Option<PathBuf>,
        /// Another file of cases
        #[arg(long, value_name = "FILE")]
        cases: Option<PathBuf>,
        /// JSON for machines instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Explain an answer: which policies decide, and which would if something were otherwise
    Explain(explain::Explain),
    /// Print who may do what, role by action by resource
    Matrix {
        /// The folder; without it, the policies that come with Tillward
        dir: Option<PathBuf>,
    },
    /// Show the policies that a service has in force
    Show {
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) async fn run(command: Policy) -> anyhow::Result<()> {
    match command {
        Policy::Check { dir, json } => check(dir.as_deref(), json),
        Policy::Test { dir, cases, json } => test(dir.as_deref(), cases.as_deref(), json),
        Policy::Explain(args) => explain::run(&args),
        Policy::Matrix { dir } => {
            print!("{}", matrix(&open(dir.as_deref())?));
            Ok(())
        }
        Policy::Show { reach } => show(&reach).await,
    }
}

/// The policies of a folder, or those that come with Tillward.
fn open(dir: Option<&Path>) -> anyhow::Result<Policies> {
    Ok(dir.map_or_else(|| Ok(Policies::built_in()), policies::open)?)
}

fn check(dir: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let files = dir.map_or_else(|| Ok(PolicyFiles::built_in()), policies::read)?;
    let checked = Policies::check(&files);
    let digest = data_encoding::HEXLOWER.encode(&files.digest());
    let problems = checked.as_ref().map_or_else(|PolicyRefusal(problems)| problems.clone(), |_| Vec::new());
    if json {
        let told = problems
            .iter()
            .map(|problem| serde_json::json!({"file": problem.file, "line": problem.line, "what": problem.what, "remedy": problem.remedy}));
        output::json(&serde_json::json!({"digest": digest, "accepted": problems.is_empty(), "problems": told.collect::<Vec<_>>()}));
    } else {
        for problem in &problems {
            println!("{} {problem}\n       {}", Paint::stdout().bad("wrong"), problem.remedy);
        }
        if let Ok(policies) = &checked {
            let quorums = Action::ALL.into_iter().filter_map(|action| Some(format!("{action} {}", policies.quorum(action)?)));
            println!("{} policies {}", Paint::stdout().good("good"), policies.texts().len());
            println!("     quorums {}", quorums.collect::<Vec<_>>().join(", "));
            println!("     digest {digest}");
        }
    }
    match problems.len() {
        0 => Ok(()),
        1 => Err(failure::BadPolicies("1 problem: the policies are refused as a whole".to_owned()).into()),
        more => Err(failure::BadPolicies(format!("{more} problems: the policies are refused as a whole")).into()),
    }
}

fn test(dir: Option<&Path>, cases: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let policies = open(dir)?;
    let file = cases.map(Path::to_owned).or_else(|| dir.map(|dir| dir.join(CASES_FILE)));
    let text = match &file {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read the cases {}", file.display()))?,
        None => BUILT_IN_CASES.to_owned(),
    };
    let cases = Case::parse(&text)?;
    let outcomes: Vec<_> = cases.iter().map(|case| (case, case.run(&policies))).collect();
    let failed = outcomes.iter().filter(|(_, outcome)| !outcome.good).count();
    if json {
        let told = outcomes.iter().map(|(case, outcome)| {
            serde_json::json!({"name": case.name, "good": outcome.good, "expected": outcome.expected, "answered": outcome.answered})
        });
        output::json(&serde_json::json!({"failed": failed, "cases": told.collect::<Vec<_>>()}));
    } else {
        let paint = Paint::stdout();
        for (case, outcome) in &outcomes {
            let word = if outcome.good { paint.good("good ") } else { paint.bad("wrong") };
            println!("{word} {}", case.name);
            if outcome.good {
                println!("      {}", paint.faint(&outcome.answered));
            } else {
                println!("      expected {}\n      answered {}", outcome.expected, outcome.answered);
            }
        }
        println!("{} cases, {failed} failed", outcomes.len());
    }
    if failed > 0 {
        bail!("{failed} of {} cases failed", outcomes.len());
    }
    Ok(())
}

async fn show(reach: &Reach) -> anyhow::Result<()> {
    let answer = reach.api()?.get("/v1/policy").await?;
    if reach.json {
        output::json(&answer);
        return Ok(());
    }
    let word = |value: &serde_json::Value, name: &str| match value.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        None | Some(serde_json::Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    println!("digest   {}\nsource   {}\nsince    {}", word(&answer, "digest"), word(&answer, "source"), word(&answer, "since"));
    if answer.get("not_in_force").is_some() {
        println!("{} {}", Paint::stdout().bad("not in force:"), word(&answer, "not_in_force"));
    }
    let lines = answer.get("policies").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> =
        lines.iter().map(|line| ["id", "effect", "quorum", "file"].map(|name| word(line, name)).to_vec()).collect();
    output::table(&["id", "effect", "quorum", "file"], &rows);
    Ok(())
}
