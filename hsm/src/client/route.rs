//! The way of a call: which host it is sent to, whether it waits for one, whether it is sent again.
//!
//! Sent again is what has no effect on the token, or what was certainly not done; at most once after its host was lost, because it may be the
//! call that ends hosts. Everything happens within the call's deadline. It waits for a host only while the outage is young: what is known to
//! be away is answered at once, so that nothing piles up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Hsm;
use super::link::{Failed, Link};
use super::seat::{Phase, Seat, Up};
use crate::error::{Fault, HsmError, Outage, Refusal};
use crate::op::{Answer, Operation};

/// A waiting call looks again after this, if no news wakes it before.
const TICK: Duration = Duration::from_millis(50);

/// A call waits for a host this long at least, within its deadline, where there is hope: starting one takes its time.
const PATIENCE: Duration = Duration::from_secs(2);

/// A place in the queue.
pub(super) struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    pub(super) fn take(places: &'a AtomicUsize, most: usize) -> Option<Self> {
        places.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| (taken < most).then_some(taken + 1)).ok().map(|_| Self(places))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

enum Choice {
    Ask(Arc<Seat>, Arc<Link>),
    /// There may be one in a moment.
    Wait(Outage),
    Nobody(Outage),
}

/// One call on its way.
struct Way {
    until: Instant,
    /// Until when it waits for a host, once it has to.
    patience: Option<Instant>,
    /// Hosts that could not just now.
    passed: Vec<Arc<Seat>>,
    lost: u32,
    last: Option<HsmError>,
}

impl Way {
    fn has_passed(&self, seat: &Arc<Seat>) -> bool {
        self.passed.iter().any(|passed| Arc::ptr_eq(passed, seat))
    }

    fn fails(&mut self, outage: Outage) -> HsmError {
        self.last.take().unwrap_or(HsmError::Unavailable(outage))
    }
}

impl Hsm {
    pub(super) async fn route(&self, operation: &Operation, deadline: Duration) -> Result<Answer, HsmError> {
        let config = self.config();
        let mut way = Way { until: Instant::now() + deadline, patience: None, passed: Vec::new(), lost: 0, last: None };
        let mut news = self.inner.shared.news.subscribe();
        loop {
            news.borrow_and_update();
            let left = way.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(way.last.take().unwrap_or(HsmError::Deadline));
            }
            match self.choose(operation, &way) {
                Choice::Ask(seat, link) => {
                    if way.last.is_some() {
                        self.inner.shared.counts.repeated();
                    }
                    let result = link.call(operation, left).await;
                    if matches!(result, Err(Failed::NotSent)) {
                        // It came back without a pause; the task that notices why needs its turn.
                        tokio::task::yield_now().await;
                    }
                    if let Some(ended) = judge(operation, config.ceremony, &seat, result, &mut way) {
                        return ended;
                    }
                }
                Choice::Wait(outage) => {
                    let patience = *way.patience.get_or_insert_with(|| Instant::now() + config.stuck.max(PATIENCE));
                    if Instant::now() >= patience.min(way.until) {
                        return Err(way.fails(outage));
                    }
                    // An error means that the client is gone; the next look tells so.
                    drop(tokio::time::timeout(TICK, news.changed()).await);
                    way.passed.clear();
                }
                Choice::Nobody(outage) => return Err(way.fails(outage)),
            }
        }
    }

    /// The least loaded host that serves; else one that is not ready, which says itself what it can do.
    fn choose(&self, operation: &Operation, way: &Way) -> Choice {
        let seats = self.seats();
        let ceremony = self.config().ceremony;
        let asks_only = matches!(operation, Operation::Status);
        let mut serving: Option<(Arc<Seat>, Up)> = None;
        let mut able: Option<(Arc<Seat>, Up)> = None;
        for seat in seats.iter().filter(|seat| !way.has_passed(seat)) {
            let Some((up, admitted)) = seat.up() else { continue };
            let place = match (up.serves(), admitted || ceremony) {
                (true, true) => &mut serving,
                (false, true) if up.fit.misfit.is_none() || asks_only => &mut able,
                (_, false) if asks_only => &mut able,
                _ => continue,
            };
            if place.as_ref().is_none_or(|(_, other)| up.link.in_flight() < other.link.in_flight()) {
                *place = Some((seat.clone(), up));
            }
        }
        if let Some((seat, up)) = serving {
            return Choice::Ask(seat, up.link);
        }
        // Who was asked already waits longer: it has nowhere else to go.
        let young = seats.iter().any(|seat| if way.lost > 0 { !seat.is_hopeless() } else { !seat.is_lastingly_away() });
        if let Some((seat, up)) = able {
            return Choice::Ask(seat, up.link);
        }
        let outage = self.outage(&seats);
        if young { Choice::Wait(outage) } else { Choice::Nobody(outage) }
    }

    /// Why there is no host to ask.
    fn outage(&self, seats: &[Arc<Seat>]) -> Outage {
        if self.inner.closed.load(Ordering::SeqCst) {
            return Outage::ShuttingDown;
        }
        let reasons = seats.iter().filter_map(|seat| match seat.phase() {
            Phase::Down(outage) => Some(outage),
            Phase::Up(up) if !up.serves() => Some(Outage::NotReady(up.problems())),
            Phase::Up(_) if !seat.is_breaker_closed() => Some(Outage::Breaker),
            Phase::Starting | Phase::Up(_) => None,
        });
        reasons.reduce(|first, second| if matches!(first, Outage::NotReady(_)) { first } else { second }).unwrap_or(Outage::Ended)
    }
}

/// What follows from an answer: the call's end, or another try.
fn judge(
    operation: &Operation,
    ceremony: bool,
    seat: &Arc<Seat>,
    result: Result<Answer, Failed>,
    way: &mut Way,
) -> Option<Result<Answer, HsmError>> {
    match result {
        Ok(answer) => {
            if operation.needs_a_key() {
                seat.succeeded();
            }
            Some(Ok(answer))
        }
        // Its seat hears of the end when this task lets it: to ask again at once would keep every thread busy until the deadline.
        Err(Failed::NotSent) => {
            way.passed.push(seat.clone());
            None
        }
        Err(Failed::Lost) => {
            let error = HsmError::Unavailable(Outage::Ended);
            way.lost += 1;
            if ceremony || way.lost > 1 || !operation.is_repeatable() {
                return Some(Err(error));
            }
            way.last = Some(error);
            None
        }
        Err(Failed::Deadline) => {
            if !ceremony {
                seat.failed();
            }
            Some(Err(HsmError::Deadline))
        }
        Err(Failed::Refused(refusal)) => {
            let undone = matches!(refusal, Refusal::NotReady { .. } | Refusal::Busy);
            let error = HsmError::Refused(refusal);
            let fault = error.fault();
            if ceremony || fault == Fault::Caller || (fault == Fault::Load && !undone) {
                return Some(Err(error));
            }
            if fault == Fault::Hsm {
                seat.failed();
                seat.look.notify_one();
            }
            if !undone && !operation.is_repeatable() {
                return Some(Err(error));
            }
            way.passed.push(seat.clone());
            if !undone {
                // Another host may; this one has done what it can. It is not waited for.
                way.patience = Some(Instant::now());
            }
            way.last = Some(error);
            None
        }
    }
}
