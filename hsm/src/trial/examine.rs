//! The conformance check, as seen from outside: drives the process, survives it, and cleans up behind it.

use std::time::Duration;

use super::process::Process;
use super::wire::{Command, Event};
use super::{Device, Outcome, Row, Target, TrialError, Wanted};

/// Making RSA-3072 on a slow token takes its time; no check is longer.
const PATIENCE: Duration = Duration::from_mins(2);
/// A module that takes the process down this often is not asked any further.
const MOST_STARTS: usize = 6;

/// What came out.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Module and token, as far as they were found.
    pub device: Option<Device>,
    /// Every check.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether Tillward can work on it.
    pub fn is_fit(&self) -> bool {
        !self.rows.is_empty() && self.count(Outcome::Fail) == 0
    }

    /// How many checks came out like that.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.rows.iter().filter(|row| row.outcome == outcome).count()
    }

    fn fail(&mut self, group: &str, name: &str, code: Option<String>, hint: impl Into<String>) {
        let (group, name) = (group.to_owned(), name.to_owned());
        self.rows.push(Row { group, name, outcome: Outcome::Fail, code, hint: hint.into() });
    }
}

/// Where a process stood when it ended.
struct Stand {
    unit: u16,
    group: String,
    name: String,
}

/// Tries everything that Tillward needs on scratch objects. `begins` is told of every check as it begins.
///
/// # Errors
/// Only where the process cannot be started or does not speak: what the module does is in the report.
pub async fn examine(target: &Target, wanted: Wanted, begins: &mut (dyn FnMut(&str) + Send)) -> Result<Report, TrialError> {
    let mut report = Report::default();
    let mut before = None;
    let mut from = 0;
    for _ in 0..MOST_STARTS {
        let mut process = Process::start(target)?;
        process.ask(&Command::Examine { from, before, wanted }).await?;
        let mut stand = Stand { unit: 0, group: "module".to_owned(), name: "load".to_owned() };
        let end = loop {
            match process.hear(PATIENCE).await {
                Ok(Event::Device(device)) => report.device = Some(device),
                Ok(Event::Counted(count)) => before = before.or(Some(count)),
                Ok(Event::Begin { unit, group, name }) => {
                    begins(&format!("{group}: {name}"));
                    stand = Stand { unit, group, name };
                }
                Ok(Event::Row(row)) => report.rows.push(row),
                Ok(Event::Done) => break None,
                Ok(_) => return Err(TrialError::Protocol),
                Err(error @ (TrialError::Ended(_) | TrialError::Silent(_))) => break Some(error),
                Err(error) => return Err(error),
            }
        };
        let Some(error) = end else {
            process.end().await;
            return Ok(report);
        };
        report.fail(&stand.group, &stand.name, None, format!("{error} in this check: ask the vendor"));
        // Before the first unit there is nothing to go on behind.
        if stand.unit == 0 {
            return Ok(report);
        }
        from = stand.unit.saturating_add(1);
    }
    sweep(target, &mut report).await?;
    report.fail("module", "stamina", None, format!("it took its process down {MOST_STARTS} times: the rest was not tried"));
    Ok(report)
}

/// What a process that ended could not clean up itself.
async fn sweep(target: &Target, report: &mut Report) -> Result<(), TrialError> {
    let mut process = Process::start(target)?;
    process.ask(&Command::Sweep).await?;
    match process.hear(PATIENCE).await {
        Ok(Event::Swept(_)) => process.end().await,
        _ => report.fail("objects", "scratch objects", None, "some are left: destroy what is labelled tillward-doctor-scratch-…"),
    }
    Ok(())
}
