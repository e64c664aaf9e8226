//! `tillward activation`

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Reach, output};
use crate::id::{ActivationId, TerminalId};

/// Activations.
#[derive(Debug, Subcommand)]
pub(super) enum Activation {
    /// Make an activation code for a terminal; it is shown once
    Create {
        /// The terminal
        #[arg(long)]
        terminal: TerminalId,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show an activation: state, tries, times; never the code
    Show {
        /// The first seven symbols of the code
        activation: ActivationId,
        #[command(flatten)]
        reach: Reach,
    },
    /// Take a code back
    Revoke {
        /// The first seven symbols of the code
        activation: ActivationId,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) async fn run(command: Activation) -> anyhow::Result<()> {
    match command {
        Activation::Create { terminal, reach } => {
            let answer = reach.api()?.post("/v1/activations", &json!({"terminal": terminal})).await?;
            print_code(&reach, &answer);
        }
        Activation::Show { activation, reach } => reach.print(&reach.api()?.get(&format!("/v1/activations/{activation}")).await?),
        Activation::Revoke { activation, reach } => {
            reach.print(&reach.api()?.call(Method::DELETE, &format!("/v1/activations/{activation}"), None).await?);
        }
    }
    Ok(())
}

/// Prints a fresh activation: the code large enough to read out.
pub(super) fn print_code(reach: &Reach, answer: &Value) {
    if reach.json {
        return output::json(answer);
    }
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    println!("code       {}   (shown once)", output::Paint::stdout().strong(&text("code")));
    println!("qr         {}", text("qr"));
    println!("id         {}", text("id"));
    println!("expires    {}", text("expires"));
    if let Some(retired) = answer.get("retired").and_then(Value::as_str) {
        println!("retired    {retired}");
    }
}
