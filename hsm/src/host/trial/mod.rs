//! The process of a trial (see [`crate::trial`]): one thread of commands, one token, nothing but scratch objects.

mod load;
mod scratch;
mod sign;

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

pub(super) use scratch::{PREFIX, Scratch, Stage};

use super::{conformance, harden, module};
use crate::frame;
use crate::model::Finding;
use crate::trial::Device;
use crate::trial::wire::{Command, Event};
use crate::uri::Pkcs11Uri;

/// The way to who started the trial.
pub(super) struct Out(UnixStream);

impl Out {
    /// A parent that is gone ends the trial: the next one cleans up.
    pub(super) fn tell(&mut self, event: &Event) -> std::io::Result<()> {
        let frame = frame::encode(event).map_err(std::io::Error::other)?;
        self.0.write_all(&frame)
    }
}

/// Serves the commands that come over standard input, until its end.
pub fn run(uri: &Pkcs11Uri) -> ExitCode {
    harden();
    match serve(uri) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(super::EXIT_SOCKET),
    }
}

fn serve(uri: &Pkcs11Uri) -> std::io::Result<()> {
    let mut input = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut out = Out(input.try_clone()?);
    while let Some(body) = frame::read(&mut input)? {
        let command: Command = frame::decode(&body).map_err(std::io::Error::other)?;
        match command {
            Command::Examine { from, before, wanted } => conformance::examine(uri, from, before, wanted, &mut out)?,
            Command::Sweep => {
                let swept = open(uri).and_then(|stage| {
                    let swept = stage.sweep().map_err(|fault| Finding::failed("token", None, fault.into_refusal().to_string()));
                    stage.close();
                    swept
                });
                out.tell(&swept.map_or_else(|finding| Event::Failed(finding.to_string()), Event::Swept))?;
            }
            Command::SignPlan { object, hash } => {
                let signed = sign::sign_plan(uri, &object, &hash);
                out.tell(&signed.map_or_else(|finding| Event::Failed(finding.to_string()), Event::SignedPlan))?;
            }
            Command::Equip => return load::serve(uri, &mut input, &mut out),
            Command::Warm { .. } | Command::Run { .. } | Command::End => return Err(std::io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(())
}

/// Loads, initialises, finds, logs in.
pub(super) fn open(uri: &Pkcs11Uri) -> Result<Stage, Finding> {
    let module = module::load(uri)?;
    module::initialise(&module)?;
    let (slot, _) = module::find_token(&module, uri)?;
    Stage::open(uri.clone(), module, slot)
}

pub(super) fn describe(uri: &Pkcs11Uri, module: &cryptoki::context::Pkcs11, token: Option<crate::model::TokenRecord>) -> Device {
    let library = module::library(module).unwrap_or_default();
    Device { module: uri.module_path().display().to_string(), library, token }
}
