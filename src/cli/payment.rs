//! `tillward payment`: what the back end does with a message from a phone.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::Value;

use super::failure::Advice;
use super::{Reach, output};

/// Payments.
#[derive(Debug, Subcommand)]
pub(super) enum Payment {
    /// Verify and decrypt a payment message that `tillward device pay` wrote
    Decrypt {
        /// The message, JSON
        message: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
}

const MESSAGE: &str = "name the file that `tillward device pay --out FILE` wrote.";

pub(super) async fn run(command: Payment) -> anyhow::Result<()> {
    let Payment::Decrypt { message, reach } = command;
    let text = std::fs::read_to_string(&message).with_context(|| Advice::new(format!("cannot read {}", message.display()), MESSAGE))?;
    let body: Value = serde_json::from_str(&text).with_context(|| Advice::new("the message is not JSON", MESSAGE))?;
    let answer = reach.api()?.post("/v1/dukpt/decrypt", &body).await?;
    if reach.json {
        output::json(&answer);
        return Ok(());
    }
    output::object(&answer);
    let plain = answer.get("plaintext").and_then(Value::as_str).unwrap_or_default();
    if let Some(text) = data_encoding::BASE64URL_NOPAD.decode(plain.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
        println!("as text    {text}");
    }
    Ok(())
}
