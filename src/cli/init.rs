//! `tillward init`: the keys of the design on the token, and the service's certificates in the database. Runs again without harm:
//! what is there stays, nothing is overwritten.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::failure::Advice;
use super::output::{self, Paint};
use super::{key, progress, this_program};
use crate::clock::Clock;
use crate::config::Config;
use crate::ops::init::{self, Initialised};

/// Arguments of `tillward init`.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Configuration file
    #[arg(long, default_value = "tillward.toml")]
    config: PathBuf,
    /// File with the security officer's PIN: only needed when the token itself has to be made; the HSM host reads it
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PathBuf>,
    /// The database was restored from a backup: revoke every open code and suspend every phone that the backup could revive
    #[arg(long)]
    accept_restored_database: bool,
    /// JSON for machines instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Init) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let remedy = "name the file that holds the security officer's PIN; it is only needed while the token is empty.";
    let found = |path: PathBuf| path.canonicalize().with_context(|| Advice::new(format!("cannot find {}", path.display()), remedy));
    let so_pin = args.so_pin_file.map(found).transpose()?;
    let (program, clock) = (this_program()?, Clock::system());
    let work = init::init(&config, program, so_pin.as_deref(), args.accept_restored_database, &clock);
    let done = progress::during(args.json, "making keys and certificates", work).await?;
    if args.json {
        output::json(&report(&done));
    } else {
        print(&done);
    }
    Ok(())
}

/// The outcome for machines.
pub(super) fn report(done: &Initialised) -> Value {
    json!({
        "token_made": done.token_made,
        "root_pin": data_encoding::HEXLOWER.encode(&done.root_pin),
        "certificates_made": done.certificates_made,
        "keys": done.keys,
        "restored": done.restored.as_ref().map(|r| json!({"activations_revoked": r.activations_revoked, "devices_suspended": r.devices_suspended, "keys_suspended": r.keys_suspended})),
    })
}

fn print(done: &Initialised) {
    let paint = Paint::stdout();
    if done.token_made {
        println!("The token was empty: it has been initialised.");
    }
    let made = done.keys.iter().filter(|key| key.created).count();
    println!("{} {made} made, {} were there.\n", paint.strong("Keys:"), done.keys.len() - made);
    let keys: Vec<Value> = done.keys.iter().filter_map(|key| serde_json::to_value(key).ok()).collect();
    key::print_inventory(&keys);
    println!("\n{} {}", paint.strong("Root pin (SHA-256 of the root certificate):"), data_encoding::HEXLOWER.encode(&done.root_pin));
    println!(
        "{}",
        if done.certificates_made { "Certificates of root, issuing CA and signing keys: made." } else { "Certificates: were there." }
    );
    if let Some(restored) = &done.restored {
        println!(
            "Restored database accepted: {} open codes revoked, {} phones suspended, {} versions of keys suspended.",
            restored.activations_revoked, restored.devices_suspended, restored.keys_suspended
        );
    }
}
