//! Which HSM a command is about: that of a configuration, or one that has none yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use tillward_hsm::Pkcs11Uri;
use tillward_hsm::trial::{Device, Target};

use super::output::Paint;
use super::this_program;
use crate::config::Config;

/// Arguments that name an HSM.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Configuration file whose HSM it is
    #[arg(long, default_value = "tillward.toml", conflicts_with = "uri")]
    config: PathBuf,
    /// An HSM without a configuration: pkcs11:token=LABEL?module-path=/lib.so&pin-source=file:/pin
    #[arg(long)]
    uri: Option<Pkcs11Uri>,
    /// What the module needs in its environment, with --uri; may stand several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, requires = "uri")]
    environment: Vec<(String, String)>,
}

pub(super) fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is not NAME=VALUE"),
    }
}

impl Which {
    /// The HSM.
    pub(super) fn target(self) -> anyhow::Result<Target> {
        let executable = this_program()?;
        if let Some(uri) = self.uri {
            return Ok(Target { executable, uri, environment: self.environment.into_iter().collect::<BTreeMap<_, _>>() });
        }
        let hsm = Config::read(&self.config)?.hsm_config(executable, false)?;
        Ok(Target { executable: hsm.executable, uri: hsm.uri, environment: hsm.environment })
    }
}

/// What is on trial, in two lines.
pub(super) fn print_device(device: Option<&Device>) {
    let Some(device) = device else { return };
    let paint = Paint::stdout();
    println!("{} {} ({})", paint.strong("module"), device.module, device.library);
    if let Some(token) = &device.token {
        let (label, serial) = (&token.label, &token.serial);
        println!(
            "{}  {label}: {} {}, serial {serial}, firmware {}",
            paint.strong("token"),
            token.manufacturer,
            token.model,
            token.firmware
        );
    }
    println!();
}
