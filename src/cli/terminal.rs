//! `tillward terminal`

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::Reach;
use super::activation;
use super::failure::Advice;
use super::reach::Deliberate;
use crate::id::{MerchantId, TerminalId};

/// Terminals.
#[derive(Debug, Subcommand)]
pub(super) enum Terminal {
    /// Register a terminal; the same content again changes nothing
    Add {
        /// The terminal's id
        terminal: TerminalId,
        /// Its merchant
        #[arg(long)]
        merchant: MerchantId,
        /// Security level, as the appraisal policy names it
        #[arg(long, default_value = "standard")]
        level: String,
        /// Terminal configuration, a JSON object that goes to the phone as it is
        #[arg(long, default_value = "{}")]
        configuration: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show a terminal
    Show {
        /// The terminal's id
        terminal: TerminalId,
        #[command(flatten)]
        reach: Reach,
    },
    /// Retire the terminal's phone for ever and give a code for a new one; a dry run without --execute
    Replace {
        /// The terminal's id
        terminal: TerminalId,
        /// Why; kept in the audit log
        #[arg(long, value_parser = super::device::REASONS)]
        reason: String,
        #[command(flatten)]
        deliberate: Deliberate,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) async fn run(command: Terminal) -> anyhow::Result<()> {
    match command {
        Terminal::Add { terminal, merchant, level, configuration, reach } => {
            let configuration: Value = serde_json::from_str(&configuration)
                .with_context(|| Advice::new("--configuration is not JSON", "give a JSON object, in quotes: '{\"currency\": \"EUR\"}'."))?;
            let body = json!({"merchant": merchant, "level": level, "configuration": configuration});
            reach.print(&reach.api()?.put(&format!("/v1/terminals/{terminal}"), &body).await?);
        }
        Terminal::Show { terminal, reach } => reach.print(&reach.api()?.get(&format!("/v1/terminals/{terminal}")).await?),
        Terminal::Replace { terminal, reason, deliberate, reach } => {
            if !deliberate.execute {
                let api = reach.api()?;
                api.post(&format!("/v1/terminals/{terminal}/replace?dry_run=true"), &json!({"reason": reason})).await?;
                let devices = api.get(&format!("/v1/devices?terminal={terminal}")).await?;
                let live = |device: &&Value| device.get("state").and_then(Value::as_str) != Some("retired");
                let device = devices.get("devices").and_then(Value::as_array).and_then(|all| all.iter().find(live));
                let what = json!({"terminal": terminal, "reason": reason, "device": device.and_then(|device| device.get("device")).unwrap_or(&json!("none: there would be a new code only"))});
                return reach.rehearsed("retire the phone of a terminal for ever", &what);
            }
            reach.announce("Retiring the phone of a terminal")?;
            let answer = reach.api()?.post(&format!("/v1/terminals/{terminal}/replace"), &json!({"reason": reason})).await?;
            activation::print_code(&reach, &answer);
        }
    }
    Ok(())
}
