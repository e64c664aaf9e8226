//! Watches over one host: does it say something when it is asked, what does it say of itself, does it sign, has it grown too large.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::HsmConfig;
use super::identity::Identity;
use super::link::{Failed, Link};
use super::process::{Running, START};
use super::seat::{Fit, Seat, comparing};
use super::supervisor::Successor;
use crate::error::Outage;
use crate::model::HostStatus;
use crate::op::{Answer, Operation};

/// How often a host that serves is asked how it is, and one that does not.
const EVERY: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(200);
/// From one look to the next at least, whatever calls for one.
const BREATH: Duration = Duration::from_millis(20);
/// A socket behind which nobody says anything for so long is connected to anew.
const RECONNECT: Duration = Duration::from_secs(30);
/// A host that says that it is ready, and cannot sign for so long, is replaced.
const STUBBORN: Duration = Duration::from_secs(10);
/// After a successor was asked for.
const RETRY: Duration = Duration::from_secs(10);

/// What a host's keys were last compared with, in which generation of its sessions, and what came of it.
pub(super) type Compared = Option<(u64, Fit)>;

pub(super) enum Event {
    Closed,
    Silent,
    /// Another one is to take over.
    Renew(&'static str, Option<OwnedSemaphorePermit>),
    Successor(Result<Running, Outage>),
    Stop,
}

/// Until something happens to the host.
pub(super) async fn watch_over(
    seat: &Arc<Seat>,
    running: &Running,
    compared: &mut Compared,
    successor: Option<&mut Successor>,
    renewed: Option<Instant>,
) -> Event {
    let renewing = successor.is_some() || renewed.is_some_and(|renewed| renewed.elapsed() < RETRY);
    let followed = async {
        match successor {
            Some(successor) => (&mut successor.task).await.unwrap_or(Err(Outage::NotStarted)),
            None => std::future::pending().await,
        }
    };
    if running.config.ceremony {
        // It is busy for as long as making keys takes, and it is about to change what it says.
        return tokio::select! {
            () = running.link.closed() => Event::Closed,
            result = followed => Event::Successor(result),
        };
    }
    tokio::select! {
        () = running.link.closed() => Event::Closed,
        result = followed => Event::Successor(result),
        event = silence(seat, running) => event,
        event = looks(seat, running, compared, renewing) => event,
        event = probes(seat, running, renewing) => event,
    }
}

/// A child that says nothing is replaced; somebody else's host is not asked any more until it does.
async fn silence(seat: &Seat, running: &Running) -> Event {
    let (link, stuck) = (&running.link, running.config.stuck);
    loop {
        link.falls_silent(stuck).await;
        if running.is_child() {
            return Event::Silent;
        }
        tracing::error!("the HSM host behind the socket does not answer");
        seat.breaker(|breaker| breaker.fell_silent(seat.shared.now()));
        link.give_up();
        let since = Instant::now();
        while link.is_silent(stuck) {
            if since.elapsed() >= RECONNECT {
                return Event::Silent;
            }
            tokio::time::sleep(BREATH).await;
        }
        seat.doubt.notify_one();
    }
}

/// Asks the host how it is, publishes what it says, and returns when it is to be recycled.
async fn looks(seat: &Arc<Seat>, running: &Running, compared: &mut Compared, renewing: bool) -> Event {
    let (link, config) = (&running.link, &running.config);
    let mut identity = seat.shared.identity.subscribe();
    let mut status = running.status.clone();
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = seat.look.notified() => tokio::time::sleep(BREATH).await,
            _ = identity.changed() => {}
        }
        match link.call(&Operation::Status, START).await {
            Ok(Answer::Status(heard)) => {
                tell(&status, &heard);
                status = Arc::new(*heard);
            }
            // The other eyes see it.
            Err(Failed::Lost | Failed::NotSent) => std::future::pending().await,
            _ => continue,
        }
        // Who launches a host meanwhile hears it from that one.
        if running.is_child()
            && let Ok(mut login) = seat.shared.login.try_lock()
        {
            login.hear(config, &status);
        }
        let fit = compare(seat, link, &status, config, compared).await;
        let serves = status.is_ready() && fit.misfit.is_none();
        seat.says(link, status.clone(), fit);
        if serves
            && !renewing
            && running.is_child()
            && running.since.elapsed() >= EVERY
            && let Some(why) = bloated(config, &status)
            && let Ok(turn) = seat.shared.recycling.clone().try_acquire_owned()
        {
            return Event::Renew(why, Some(turn));
        }
        wait = if serves { EVERY } else { AGAIN };
    }
}

fn tell(before: &HostStatus, now: &HostStatus) {
    if now.problems().ne(before.problems()) {
        for problem in now.problems() {
            tracing::error!(pid = now.pid, %problem, "the HSM host is not ready");
        }
        if now.is_ready() {
            tracing::info!(pid = now.pid, "the HSM host is ready");
        }
    }
}

fn bloated(config: &HsmConfig, status: &HostStatus) -> Option<&'static str> {
    let many = config.recycle_objects > 0 && status.made_objects >= config.recycle_objects;
    let large = config.recycle_kib > 0 && status.memory_kib > config.recycle_kib;
    (many || large).then_some("recycled")
}

/// Whether the host's token is the one that it has to be: asked once for every generation of its sessions.
pub(super) async fn compare(seat: &Seat, link: &Arc<Link>, status: &Arc<HostStatus>, config: &HsmConfig, compared: &mut Compared) -> Fit {
    loop {
        let with = seat.shared.identity.borrow().clone();
        if !status.is_ready() || *with == Identity::default() {
            return Fit { with, misfit: None };
        }
        if let Some((generation, fit)) = compared
            && Arc::ptr_eq(&fit.with, &with)
            && *generation == status.generation
            && fit.misfit.is_none()
        {
            return fit.clone();
        }
        // Nobody is served meanwhile.
        let known = compared.as_ref().and_then(|(_, fit)| fit.misfit.clone());
        seat.says(link, status.clone(), Fit { with: with.clone(), misfit: Some(known.clone().unwrap_or_else(comparing)) });
        let misfit = with.differs(link, status, config.stuck).await;
        if let Some(misfit) = &misfit
            && known.as_ref() != Some(misfit)
        {
            tracing::error!(pid = status.pid, %misfit, "the HSM host is not used");
        }
        let fit = Fit { with, misfit };
        *compared = Some((status.generation, fit.clone()));
        // Another one may have been told meanwhile.
        if Arc::ptr_eq(&fit.with, &seat.shared.identity.borrow()) {
            return fit;
        }
    }
}

/// A probe that is cut off has failed.
struct Probe<'a>(&'a Seat, bool);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let now = self.0.shared.now();
        self.0.breaker(|breaker| breaker.probed(self.1, now));
    }
}

/// Signs when the breaker wants to know; returns when the host has failed for so long that another process is worth a try.
async fn probes(seat: &Seat, running: &Running, renewing: bool) -> Event {
    let mut failing = None;
    loop {
        let Some(due) = seat.breaker(|breaker| breaker.due()) else {
            seat.doubt.notified().await;
            continue;
        };
        // Who says nothing is not asked more: what is on its way is asked already.
        if running.link.is_silent(running.config.stuck) {
            tokio::time::sleep(BREATH).await;
            continue;
        }
        tokio::time::sleep(due.saturating_sub(seat.shared.now())).await;
        let now = seat.shared.now();
        if !seat.breaker(|breaker| breaker.begin(now)) {
            continue;
        }
        let mut probe = Probe(seat, false);
        let answer = running.link.call(&Operation::Canary, running.config.stuck.min(EVERY)).await;
        probe.1 = matches!(answer, Ok(Answer::Done));
        let good = probe.1;
        drop(probe);
        if good {
            failing = None;
            continue;
        }
        seat.look.notify_one();
        let since = *failing.get_or_insert_with(Instant::now);
        let says_ready = seat.up().is_some_and(|(up, _)| up.serves());
        if running.is_child() && !renewing && says_ready && since.elapsed() >= STUBBORN {
            return Event::Renew("failing", None);
        }
    }
}
