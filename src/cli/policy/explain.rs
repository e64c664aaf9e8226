//! `tillward policy explain`

use std::fmt::Write as _;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::output::{self, Paint};
use super::open;
use crate::authz::{Explanation, PolicyText, PrincipalUri, Question, explain};

/// Arguments of `tillward policy explain`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// The folder; without it, the policies that come with Tillward
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Who: ROLE[:ACQUIRER,..], activation:ID, device:ID or system
    #[arg(long = "as", value_name = "WHO")]
    who: String,
    /// The principal's URI, where it matters: nobody approves its own request
    #[arg(long)]
    uri: Option<PrincipalUri>,
    /// What: an operation's name, as in policies/matrix.txt
    #[arg(long)]
    action: String,
    /// To what: KIND:ID[:ACQUIRER,..]; without an acquirer it is the service's
    #[arg(long)]
    resource: String,
    /// What else the resource is: purpose=sign, requester=URI, deed=export-key
    #[arg(long = "trait", value_name = "NAME=VALUE", value_parser = pair)]
    traits: Vec<(String, String)>,
    /// Approvals of the plan that is executed
    #[arg(long, default_value_t = 0)]
    approvals: u32,
    /// When, RFC 3339; without it, a Wednesday at 12:00 UTC
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// JSON for machines instead of a text
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or("NAME=VALUE")
}

pub(super) fn run(args: &Explain) -> anyhow::Result<()> {
    let policies = open(args.policies.as_deref())?;
    let mut question = Question::new(&args.who, args.uri.as_ref(), &args.action, &args.resource)?.approved(args.approvals);
    for (name, value) in &args.traits {
        question = question.with(name, value)?;
    }
    if let Some(time) = &args.at {
        question = question.at(time)?;
    }
    let explanation = explain(&policies, &question);
    if args.json {
        output::json(&machine(&explanation));
    } else {
        print!("{}", text(&explanation, question.applies()));
    }
    Ok(())
}

fn machine(explanation: &Explanation) -> serde_json::Value {
    let policy = |text: &PolicyText| json!({"id": text.id, "file": text.file, "line": text.line, "comment": text.comment});
    let near = explanation.near.iter().map(|miss| json!({"policy": policy(&miss.policy), "unmet": miss.unmet}));
    json!({
        "allowed": explanation.answer.allowed,
        "policies": explanation.by.iter().map(policy).collect::<Vec<_>>(),
        "errors": explanation.answer.errors,
        "near": near.collect::<Vec<_>>(),
    })
}

fn text(explanation: &Explanation, applies: bool) -> String {
    let paint = Paint::stdout();
    let policy = |text: &PolicyText| format!("  {} ({}:{})\n    {}\n", paint.strong(&text.id), text.file, text.line, text.comment);
    let mut lines = match (explanation.answer.allowed, explanation.by.is_empty()) {
        (true, _) => format!("{} by\n", paint.good("allowed")),
        (false, false) => format!("{}: forbidden by\n", paint.bad("denied")),
        (false, true) if !applies => format!("{}: this action is not done to that kind of resource\n", paint.bad("denied")),
        (false, true) => format!("{}: no policy allows it\n", paint.bad("denied")),
    };
    explanation.by.iter().for_each(|text| lines += &policy(text));
    for error in &explanation.answer.errors {
        let _ = writeln!(lines, "  a policy could not be evaluated, which denies: {error}");
    }
    if !explanation.near.is_empty() {
        lines += "would allow it, if\n";
    }
    for miss in &explanation.near {
        lines += &policy(&miss.policy);
        for unmet in &miss.unmet {
            let _ = writeln!(lines, "    {} {unmet}", paint.warn("if"));
        }
        if miss.unmet.is_empty() {
            lines += "    nothing forbade it\n";
        }
    }
    lines
}
