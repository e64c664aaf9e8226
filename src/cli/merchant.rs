//! `tillward merchant`

use clap::Subcommand;
use serde_json::json;

use super::Reach;
use crate::id::{AcquirerId, MerchantId};

/// Merchants.
#[derive(Debug, Subcommand)]
pub(super) enum Merchant {
    /// Register a merchant; the same content again changes nothing
    Add {
        /// The merchant's id
        merchant: MerchantId,
        /// Its acquirer
        #[arg(long)]
        acquirer: AcquirerId,
        /// Its name, for people
        #[arg(long)]
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show a merchant
    Show {
        /// The merchant's id
        merchant: MerchantId,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) async fn run(command: Merchant) -> anyhow::Result<()> {
    match command {
        Merchant::Add { merchant, acquirer, name, reach } => {
            let body = json!({"acquirer": acquirer, "name": name});
            reach.print(&reach.api()?.put(&format!("/v1/merchants/{merchant}"), &body).await?);
        }
        Merchant::Show { merchant, reach } => reach.print(&reach.api()?.get(&format!("/v1/merchants/{merchant}")).await?),
    }
    Ok(())
}
