//! What every command that asks a running service takes: which service, and for whom the answer is.

use anyhow::Context as _;
use clap::{Args, ValueHint};
use serde_json::{Value, json};

use super::api::Api;
use super::failure::Advice;
use super::{output, profile};

/// How to reach the service.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// Profile: its NAME, or its FILE (with a / or a .); the default one, if absent
    #[arg(long, env = "TILLWARD_PROFILE", hide_env_values = true, value_name = "NAME", value_hint = ValueHint::FilePath)]
    profile: Option<String>,
    /// JSON for machines instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// What cannot be taken back is done by a second word.
#[derive(Debug, Args)]
pub(super) struct Deliberate {
    /// Do it; without this nothing is done, and it is shown what would be
    #[arg(long)]
    pub(super) execute: bool,
}

impl Reach {
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        let api = Api::open(&profile::find(self.profile.as_deref())?.path)?;
        Ok(if self.json { api } else { api.watched() })
    }

    pub(super) fn print(&self, value: &Value) {
        if self.json { output::json(value) } else { output::object(value) }
    }

    /// Says at which service, and as whom, something is about to happen.
    pub(super) fn announce(&self, deed: &str) -> anyhow::Result<()> {
        if !self.json {
            let (service, principal) = self.whither()?;
            eprintln!("{deed} at {service} as {principal}");
        }
        Ok(())
    }

    /// The end of a dry run: what would be done to what, and where.
    pub(super) fn rehearsed(&self, deed: &str, what: &Value) -> anyhow::Result<()> {
        let (service, principal) = self.whither()?;
        if self.json {
            output::json(&json!({"dry_run": true, "would": deed, "service": service, "as": principal, "what": what}));
        } else {
            println!("Would {deed} at {service} as {principal}:\n");
            output::object(what);
            println!("\nNothing was done. The same command with --execute does it.");
        }
        Ok(())
    }

    /// URL, and the principal of the certificate.
    fn whither(&self) -> anyhow::Result<(String, String)> {
        let found = profile::find(self.profile.as_deref())?;
        let (profile, principal) = profile::service(&found)
            .with_context(|| Advice::new("the profile does not say who asks", "`tillward profile show` says what is wrong with it."))?;
        Ok((profile.url, principal.unwrap_or_else(|| "nobody: the certificate names no principal".to_owned())))
    }
}
