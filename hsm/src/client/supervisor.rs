//! Keeps one seat taken: starts or reaches the host, watches over it, replaces it when it ends, hangs, has grown too large or is to be run otherwise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::HsmConfig;
use super::process::{Running, START, launch};
use super::seat::Seat;
use super::watch::{Event, compare, watch_over};
use crate::error::Outage;

/// Pauses between tries grow from the first to the last: whatever ends a host, its end costs no more than the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A host that lived this long is replaced without a pause.
const STEADY: Duration = Duration::from_secs(1);

/// Between tries.
struct Pause(Duration);

impl Pause {
    /// Waits, longer each time; the first time not at all. Ends early if the configuration changes. False if it is time to stop.
    async fn wait(&mut self, stop: &mut watch::Receiver<bool>, configs: &mut watch::Receiver<Arc<HsmConfig>>) -> bool {
        let length = self.0;
        self.0 = length.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => false,
            () = tokio::time::sleep(length) => true,
            Ok(()) = configs.changed() => true,
        }
    }
}

/// A host that is to take the place of one that still runs.
pub(super) struct Successor {
    pub(super) task: JoinHandle<Result<Running, Outage>>,
    pub(super) why: &'static str,
    /// Held while a host is recycled: one at a time.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Successor {
    fn start(seat: &Arc<Seat>, config: Arc<HsmConfig>, why: &'static str, turn: Option<OwnedSemaphorePermit>) -> Self {
        let shared = seat.shared.clone();
        let task = tokio::spawn(async move {
            let mut running = launch(&shared, &config).await?;
            // One that takes over from a host that serves has to serve; the others are taken as they are, after this.
            let ready = async {
                while !running.status.is_ready() {
                    tokio::time::sleep(FIRST_PAUSE).await;
                    running.look_again().await;
                }
            };
            drop(tokio::time::timeout(START.min(config.stuck.saturating_mul(2)), ready).await);
            Ok(running)
        });
        Self { task, why, _turn: turn }
    }
}

/// Runs until the seat is given up.
pub(super) async fn supervise(seat: Arc<Seat>, mut configs: watch::Receiver<Arc<HsmConfig>>) {
    let mut stop = seat.stop.subscribe();
    let mut pause = Pause(Duration::ZERO);
    // What is on its way out; each within a bounded time.
    let mut endings = JoinSet::new();
    let mut next = None;
    let mut told = None;
    loop {
        while endings.try_join_next().is_some() {}
        let running = if let Some(running) = next.take() {
            running
        } else {
            seat.starting();
            let config = configs.borrow_and_update().clone();
            let launched = tokio::select! {
                launched = launch(&seat.shared, &config) => launched,
                Ok(()) = configs.changed() => continue,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match launched {
                Ok(running) => running,
                Err(outage) => {
                    // Once, not at every try.
                    if told.as_ref() != Some(&outage) {
                        tracing::error!(%outage, "there is no HSM host");
                        told = Some(outage.clone());
                    }
                    seat.down(outage, true);
                    if pause.wait(&mut stop, &mut configs).await {
                        continue;
                    }
                    break;
                }
            }
        };
        told = None;
        let mut compared = None;
        let fit = compare(&seat, &running.link, &running.status, &running.config, &mut compared).await;
        seat.seated(running.up(fit));
        let ended = attend(&seat, running, compared, &mut configs, &mut stop, &mut endings).await;
        match ended {
            Ended::Followed(successor) => next = Some(*successor),
            Ended::Gone { steady } => {
                if steady {
                    pause = Pause(Duration::ZERO);
                }
                if !pause.wait(&mut stop, &mut configs).await {
                    break;
                }
            }
            Ended::Stopped => break,
        }
    }
    seat.down(Outage::ShuttingDown, false);
    endings.join_all().await;
}

enum Ended {
    /// Another host has answered and takes the seat.
    Followed(Box<Running>),
    /// Nobody is there.
    Gone {
        steady: bool,
    },
    Stopped,
}

/// Attends to one host until it leaves the seat.
async fn attend(
    seat: &Arc<Seat>,
    running: Running,
    mut compared: super::watch::Compared,
    configs: &mut watch::Receiver<Arc<HsmConfig>>,
    stop: &mut watch::Receiver<bool>,
    endings: &mut JoinSet<()>,
) -> Ended {
    let mut successor: Option<Successor> = None;
    let mut renewed = None;
    let gone = |why: &'static str, outage: Outage| {
        seat.replaced(why);
        seat.down(outage, false);
    };
    loop {
        let steady = running.since.elapsed() >= STEADY || running.config.ceremony;
        let event = tokio::select! {
            event = watch_over(seat, &running, &mut compared, successor.as_mut(), renewed) => event,
            Ok(()) = configs.changed() => Event::Renew("reconfigured", None),
            _ = stop.wait_for(|stop| *stop) => Event::Stop,
        };
        match event {
            Event::Closed => {
                gone("ended", Outage::Ended);
                endings.spawn(running.end());
                return adopt(successor, steady).await;
            }
            Event::Silent => {
                tracing::error!(pid = running.status.pid, "the HSM host does not answer and is replaced");
                running.link.finish();
                gone("silent", Outage::Silent);
                running.link.give_up();
                endings.spawn(running.kill());
                return adopt(successor, steady).await;
            }
            Event::Renew(why, turn) => {
                tracing::info!(pid = running.status.pid, why, "the HSM host gets a successor");
                renewed = Some(Instant::now());
                let config = configs.borrow_and_update().clone();
                successor = Some(Successor::start(seat, config, why, turn));
            }
            Event::Successor(result) => {
                let why = successor.take().map_or("", |successor| successor.why);
                let serves = seat.up().is_some_and(|(up, admitted)| up.serves() && admitted);
                match result {
                    // The new one answers before the old one goes: a caller always finds a host.
                    Ok(fresh) if fresh.status.is_ready() || !serves => {
                        seat.replaced(why);
                        endings.spawn(running.end());
                        return Ended::Followed(Box::new(fresh));
                    }
                    Ok(fresh) => {
                        let problems = fresh.status.problems().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                        tracing::error!(why, problems, "the successor is not ready: the HSM host that serves stays");
                        endings.spawn(fresh.end());
                    }
                    Err(outage) if serves => {
                        tracing::error!(why, %outage, "there is no successor: the HSM host that serves stays");
                    }
                    Err(outage) => {
                        gone(why, outage);
                        endings.spawn(running.end());
                        return Ended::Gone { steady };
                    }
                }
            }
            Event::Stop => {
                seat.down(Outage::ShuttingDown, false);
                running.end().await;
                return Ended::Stopped;
            }
        }
    }
}

/// A successor that is on its way takes the seat of a host that is gone already.
async fn adopt(successor: Option<Successor>, steady: bool) -> Ended {
    let Some(mut successor) = successor else { return Ended::Gone { steady } };
    match (&mut successor.task).await {
        Ok(Ok(running)) => Ended::Followed(Box::new(running)),
        _ => Ended::Gone { steady },
    }
}
