//! The process of a trial: started, asked, listened to, killed when the module hangs.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command as Program};

use super::wire::{Command, Event};
use super::{Target, TrialError};
use crate::frame;

/// Killed when dropped.
pub(super) struct Process {
    child: Child,
    stream: UnixStream,
}

impl Process {
    pub(super) fn start(target: &Target) -> Result<Self, TrialError> {
        Self::spawn(target).map_err(TrialError::Start)
    }

    fn spawn(target: &Target) -> std::io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut program = Program::new(&target.executable);
        program.arg("hsm-trial").arg(target.uri.to_string());
        program.env_clear().envs(&target.environment);
        program.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
        program.process_group(0).kill_on_drop(true);
        Ok(Self { child: program.spawn()?, stream: UnixStream::from_std(ours)? })
    }

    pub(super) async fn ask(&mut self, command: &Command) -> Result<(), TrialError> {
        let frame = frame::encode(command).map_err(|_| TrialError::Protocol)?;
        match self.stream.write_all(&frame).await {
            Ok(()) => Ok(()),
            Err(_) => Err(TrialError::Ended(self.fate().await)),
        }
    }

    /// What it tells next.
    pub(super) async fn hear(&mut self, patience: Duration) -> Result<Event, TrialError> {
        match tokio::time::timeout(patience, read(&mut self.stream)).await {
            Ok(Ok(body)) => frame::decode(&body).map_err(|_| TrialError::Protocol),
            Ok(Err(_)) => Err(TrialError::Ended(self.fate().await)),
            Err(_) => {
                // A module that hangs cannot be asked to stop.
                drop(self.child.kill().await);
                Err(TrialError::Silent(patience.as_secs()))
            }
        }
    }

    /// Waits until it has ended in order.
    pub(super) async fn end(mut self) {
        drop(self.stream);
        drop(tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await);
    }

    /// How it ended, in words.
    async fn fate(&mut self) -> String {
        match tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await {
            Ok(Ok(status)) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("signal {signal}"),
                (None, Some(code)) => format!("exit code {code}"),
                (None, None) => "an unknown status".to_owned(),
            },
            _ => "its connection closed".to_owned(),
        }
    }
}

async fn read(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let length = frame::length(header).map_err(std::io::Error::other)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}
