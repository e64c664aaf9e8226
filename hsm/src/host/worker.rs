//! A worker: one thread, one operation at a time, on a session that the pool lends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use cryptoki::error::Error;

use super::context::Context;
use super::fault::{self, Fault};
use super::keeper::Host;
use super::pool::Session;
use super::socket::{Peer, Peers};
use super::watchdog::Beat;
use super::{create, dukpt, managed, mark, phone, sign};
use crate::error::Refusal;
use crate::model::Finding;
use crate::op::{Answer, Operation, Request, Response};
use crate::rules::Action;

/// An operation is asked of the module this often at most.
const TRIES: u32 = 3;

/// A request, who asked it and when it came in.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) peer: Peer,
    pub(super) received: Instant,
}

/// Ends the intake where its thread panics: a process that is short of a worker, or of its keeper, is replaced.
pub(super) struct EndOnPanic<'a>(pub(super) &'a Host, pub(super) &'a Peers);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
            self.1.stop_intake();
        }
    }
}

/// Works until the queue is closed and empty.
pub(super) fn work(host: &Host, beat: &Arc<Beat>, peers: &Peers, jobs: &Receiver<Job>) {
    let _end_on_panic = EndOnPanic(host, peers);
    for Job { request, peer, received } in jobs {
        let Request { id, budget_ms, operation } = request;
        let name = operation.name();
        let until = received + Duration::from_millis(u64::from(budget_ms));
        let result = if Instant::now() > until {
            // Nobody waits any more; doing it now would only delay the others.
            Err(Refusal::Expired)
        } else if operation.is_ceremony() && !host.args.ceremony {
            Err(Refusal::NotPermitted)
        } else if let Some(result) = (Desk { host, beat, until }).perform(&operation) {
            result
        } else {
            // No answer: the connection ends, and the caller asks the next host if that is harmless.
            peers.stop_intake();
            continue;
        };
        match &result {
            Ok(_) => tracing::debug!(operation = name, micros = micros(received), "done"),
            Err(refusal @ (Refusal::Token { .. } | Refusal::NotReady { .. } | Refusal::Unproven { .. } | Refusal::ObjectBudget { .. })) => {
                tracing::warn!(operation = name, micros = micros(received), %refusal, "failed");
            }
            // What any phone can cause is not worth a line at the default level.
            Err(refusal) => tracing::debug!(operation = name, micros = micros(received), %refusal, "refused"),
        }
        peer.answer(&Response { id, result });
        if host.has_ended() {
            peers.stop_intake();
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// One operation on its way.
struct Desk<'w> {
    host: &'w Host,
    beat: &'w Arc<Beat>,
    until: Instant,
}

/// How an attempt failed.
enum Failure {
    /// Decided, by the host or for good.
    Refused(Refusal),
    /// The keeper is busy, or the token went away a moment ago; nothing was done.
    Away(Refusal),
    /// The module failed. `begun` is whether the operation itself was under way.
    Token { error: Error, begun: bool, well: Option<bool> },
}

impl Desk<'_> {
    /// Asks the module; where it fails, does what the failure rule says, and asks again where that is harmless. `None` where the process has to be
    /// replaced.
    fn perform(&self, operation: &Operation) -> Option<Result<Answer, Refusal>> {
        let mut tries = 0_u32;
        loop {
            let seen = self.host.serial();
            let (error, begun, well) = match self.attempt(operation) {
                Ok(answer) => return Some(Ok(answer)),
                Err(Failure::Refused(refusal)) => return Some(Err(refusal)),
                Err(Failure::Away(refusal)) if self.host.args.ceremony => return Some(Err(refusal)),
                Err(Failure::Away(refusal)) => {
                    if self.host.await_token(self.until) {
                        continue;
                    }
                    return Some(Err(refusal));
                }
                Err(Failure::Token { error, begun, well }) => (error, begun, well),
            };
            let rule = fault::rule(&error);
            // The canary sang: the token is well, and the input or an accident is to blame.
            let action = if well == Some(true) { Action::OtherSession } else { rule.action };
            tracing::debug!(operation = operation.name(), code = fault::code(&error), action = action.name(), "the module failed");
            tries = tries.saturating_add(1);
            let mended = match action {
                Action::Fail | Action::AskOperator => false,
                Action::PushBack => {
                    self.host.count(action);
                    return Some(Err(Refusal::Busy));
                }
                Action::OtherSession => {
                    self.host.count(action);
                    // An accident happens once.
                    well.is_none() || tries == 1
                }
                Action::Reopen | Action::FindAgain | Action::LogIn | Action::Reinitialise => self.host.recover(action, seen, self.until),
                Action::Restart => {
                    self.host.count(action);
                    self.host.end();
                    return None;
                }
            };
            let harmless = operation.is_repeatable() || !begun;
            if !(mended && harmless && tries < TRIES && Instant::now() < self.until) {
                return Some(Err(Fault::from(error).into_refusal()));
            }
        }
    }

    fn attempt(&self, operation: &Operation) -> Result<Answer, Failure> {
        let busy = || Finding::failed("token", None, "the token is being recovered");
        let away = |finding: Finding| Failure::Away(Refusal::NotReady { finding });
        let Some(inside) = self.host.enter(self.until) else { return Err(away(self.host.first_problem().unwrap_or_else(busy))) };
        if let Operation::InitToken { so_pin } = operation {
            let _watched = self.beat.watch();
            return create::init_token(self.host, &inside, so_pin).map_err(|fault| Failure::Refused(fault.into_refusal()));
        }
        let Some(context) = &inside.context else { return Err(away(self.host.first_problem().unwrap_or_else(busy))) };
        if let Some(problem) = self.host.first_problem()
            && !matches!(operation, Operation::Inventory { .. })
        {
            return Err(away(problem));
        }
        let session = context.pool.lend(self.until, self.beat).map_err(|fault| failure(fault, false, None))?;
        let result = dispatch(self.host, context, &session, operation);
        match result {
            Ok(answer) => {
                context.pool.give_back(session);
                Ok(answer)
            }
            Err(Fault::Refused(refusal)) => {
                // The operation stopped at a point of its own choosing, with nothing left active in the session.
                context.pool.give_back(session);
                Err(Failure::Refused(refusal))
            }
            Err(Fault::Token(error)) => {
                // An operation that stopped half-way poisons its session for ever, and cryptoki has no C_SessionCancel.
                context.pool.throw_away(session);
                let well = fault::rule(&error).canary.then(|| self.sings(context));
                Err(Failure::Token { error, begun: true, well })
            }
        }
    }

    /// The canary, on a session of its own; a token that fails now and then is not a token that is lost, so it has three songs.
    fn sings(&self, context: &Context) -> bool {
        (0..TRIES).any(|_| {
            let Ok(session) = context.pool.lend(self.until, self.beat) else { return false };
            let sung = context.canary(&session).is_ok();
            if sung {
                context.pool.give_back(session);
            } else {
                context.pool.throw_away(session);
            }
            sung
        })
    }
}

fn failure(fault: Fault, begun: bool, well: Option<bool>) -> Failure {
    match fault {
        Fault::Refused(refusal) => Failure::Refused(refusal),
        Fault::Token(error) => Failure::Token { error, begun, well },
    }
}

fn dispatch(host: &Host, context: &Context, session: &Session, operation: &Operation) -> Result<Answer, Fault> {
    match operation {
        Operation::Inventory { after } => create::inventory(context, session, after.as_deref()),
        Operation::Acquirers => Ok(Answer::Acquirers(context.ring.acquirers())),
        Operation::Canary => {
            context.ring.get(super::templates::ATTESTATION_SIGNING)?;
            context.canary(session)?;
            Ok(Answer::Done)
        }
        Operation::Random { length } => sign::random(session, *length),
        Operation::ActivationMac { message } => sign::activation_mac(context, session, message),
        Operation::Sign { key, digest } => sign::sign(context, session, *key, digest),
        Operation::PublicKey { key } => sign::public_key(context, *key),
        Operation::OpenEnrolment(enrolment) => phone::open_enrolment(context, session, enrolment),
        Operation::Personalize { secret, ikid, acquirer } => phone::personalize(context, session, secret, *ikid, acquirer),
        Operation::VerifyDeviceMac { secret, ikid, message, mac } => {
            phone::verify_device_mac(context, session, secret, *ikid, message, mac)
        }
        Operation::DukptVerifyMac { ksn, data, mac } => dukpt::verify(context, session, *ksn, data, mac),
        Operation::DukptDecrypt { ksn, iv, aad, ciphertext, mac } => dukpt::decrypt(context, session, *ksn, *iv, aad, ciphertext, mac),
        Operation::DerivationMark { acquirer } => mark::get(context, session, acquirer),
        Operation::ReserveDerivationIds { acquirer, expect, count } => mark::reserve(context, session, acquirer, *expect, *count),
        Operation::CreateKeys(spec) => create::create_keys(host, context, session, spec),
        Operation::SignRoot { digest } => sign::sign_root(context, session, digest),
        Operation::KnownAnswer(asked) => dukpt::known_answer(session, asked),
        Operation::Managed(operation) => managed::perform(host, context, session, operation),
        Operation::Exchange(operation) => managed::exchange(host, context, session, operation),
        Operation::Status | Operation::InitToken { .. } => Err(Fault::input("operation")),
    }
}
