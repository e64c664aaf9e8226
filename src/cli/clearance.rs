//! `tillward clearance`

use clap::Subcommand;
use serde_json::json;

use super::Reach;
use crate::id::DeviceId;

/// Clearances.
#[derive(Debug, Subcommand)]
pub(super) enum Clearance {
    /// Ask whether a phone may take a payment now; refused if its last attestation is too old
    Ask {
        /// The device
        device: DeviceId,
        /// What for: payment or pin
        #[arg(long, default_value = "payment", value_parser = ["payment", "pin"])]
        purpose: String,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) async fn run(command: Clearance) -> anyhow::Result<()> {
    let Clearance::Ask { device, purpose, reach } = command;
    reach.print(&reach.api()?.post("/v1/clearances", &json!({"device": device, "purpose": purpose})).await?);
    Ok(())
}
