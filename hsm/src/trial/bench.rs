//! The benchmark, as seen from outside: one process a host, one common time window, the sum over all of them.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::process::Process;
use super::wire::{Command, Event};
use super::{Device, Histogram, Target, TrialError, Work};

/// Making the scratch keys, RSA-3072 among them, on a slow token.
const PATIENCE: Duration = Duration::from_mins(3);
/// Between the order and the start: threads start, and the last host has read its order.
const LEAD: Duration = Duration::from_millis(30);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The mechanisms.
    pub works: Vec<Work>,
    /// Numbers of host processes.
    pub hosts: Vec<u16>,
    /// Numbers of sessions in each host.
    pub sessions: Vec<u16>,
    /// How long each cell is measured.
    pub window: Duration,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Module and token.
    pub device: Option<Device>,
    /// In the order of the plan: mechanism, hosts, sessions.
    pub cells: Vec<Cell>,
}

/// One mechanism with so many hosts and sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The mechanism.
    pub work: Work,
    /// Host processes.
    pub hosts: u16,
    /// Sessions asked of each host.
    pub sessions: u16,
    /// Sessions that all hosts got together: a token may give fewer.
    pub got: u32,
    /// Operations that ended in the window, over all sessions of all hosts.
    pub operations: u64,
    /// The same a second.
    pub per_second: u64,
    /// Median time of one operation, nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100 took no longer, nanoseconds.
    pub p99_ns: u64,
}

/// Measures the plan. `begins` is told of every cell as it begins.
///
/// # Errors
/// The process, the login or an operation failed. Scratch keys are destroyed in any case.
pub async fn bench(target: &Target, plan: &Plan, begins: &mut (dyn FnMut(&str) + Send)) -> Result<Figures, TrialError> {
    let mut hosts = Vec::new();
    let measured = measure(target, plan, &mut hosts, begins).await;
    for mut host in hosts {
        drop(host.ask(&Command::End).await);
        host.end().await;
    }
    if measured.is_err() {
        // The process that failed may have left its keys.
        let mut process = Process::start(target)?;
        process.ask(&Command::Sweep).await?;
        drop(process.hear(PATIENCE).await);
        process.end().await;
    }
    measured
}

async fn measure(
    target: &Target,
    plan: &Plan,
    hosts: &mut Vec<Process>,
    begins: &mut (dyn FnMut(&str) + Send),
) -> Result<Figures, TrialError> {
    let mut device = None;
    // One after the other: SoftHSM loses keys that are made while another process searches.
    for number in 1..=plan.hosts.iter().copied().max().unwrap_or(1) {
        begins(&format!("host {number}: scratch keys"));
        let mut host = Process::start(target)?;
        host.ask(&Command::Equip).await?;
        hosts.push(host);
        let Some(host) = hosts.last_mut() else { return Err(TrialError::Protocol) };
        loop {
            match answer(host).await? {
                Event::Device(found) => device = Some(found),
                Event::Done => break,
                _ => return Err(TrialError::Protocol),
            }
        }
    }
    let mut cells = Vec::new();
    for work in &plan.works {
        for count in &plan.hosts {
            for sessions in &plan.sessions {
                begins(&format!("{}: {count} hosts, {sessions} sessions", work.name()));
                let hosts = hosts.get_mut(..usize::from(*count)).unwrap_or_default();
                cells.push(cell(hosts, *work, *count, *sessions, plan.window).await?);
            }
        }
    }
    Ok(Figures { device, cells })
}

async fn cell(hosts: &mut [Process], work: Work, count: u16, sessions: u16, window: Duration) -> Result<Cell, TrialError> {
    let mut got = 0_u32;
    for host in &mut *hosts {
        host.ask(&Command::Warm { work, sessions }).await?;
    }
    for host in &mut *hosts {
        let Event::Warm { sessions } = answer(host).await? else { return Err(TrialError::Protocol) };
        got = got.saturating_add(u32::from(sessions));
    }
    let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let start_ns = now_ns().saturating_add(u64::try_from(LEAD.as_nanos()).unwrap_or(0));
    for host in &mut *hosts {
        host.ask(&Command::Run { start_ns, window_ns }).await?;
    }
    let mut all = Histogram::default();
    for host in &mut *hosts {
        let Event::Measured(histogram) = answer(host).await? else { return Err(TrialError::Protocol) };
        all.merge(&histogram);
    }
    let operations = all.total();
    let per_second = u128::from(operations) * 1_000_000_000 / u128::from(window_ns.max(1));
    Ok(Cell {
        work,
        hosts: count,
        sessions,
        got,
        operations,
        per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
        p50_ns: all.permille(500),
        p99_ns: all.permille(990),
    })
}

async fn answer(host: &mut Process) -> Result<Event, TrialError> {
    match host.hear(PATIENCE).await? {
        Event::Failed(why) => Err(TrialError::Failed(why)),
        event => Ok(event),
    }
}

/// One clock for all processes of the machine.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default())
}
