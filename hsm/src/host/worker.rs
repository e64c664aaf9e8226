//! A worker: one thread, one PKCS#11 session at a time, one operation at a time.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use cryptoki::session::Session;

use super::context::{Context, Host};
use super::fault::Fault;
use super::socket::{Peer, Peers};
use super::{create, dukpt, mark, phone, sign};
use crate::error::Refusal;
use crate::model::Finding;
use crate::op::{Answer, Operation, Request, Response};

/// A request, who asked it and when it came in.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) peer: Peer,
    pub(super) received: Instant,
}

/// Ends the intake where a worker panics: a process that is short of a worker is replaced.
struct EndOnPanic<'a>(&'a Host, &'a Peers);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
            self.1.stop_intake();
        }
    }
}

/// Works until the queue is closed and empty.
pub(super) fn work(host: &Host, peers: &Peers, jobs: &Receiver<Job>) {
    let _end_on_panic = EndOnPanic(host, peers);
    let mut session = None;
    for Job { request, peer, received } in jobs {
        let Request { id, budget_ms, operation } = request;
        let name = operation.name();
        let result = if received.elapsed() > Duration::from_millis(u64::from(budget_ms)) {
            // Nobody waits any more; doing it now would only delay the others.
            Err(Refusal::Expired)
        } else {
            perform(host, &mut session, operation)
        };
        match &result {
            Ok(_) => tracing::debug!(operation = name, micros = micros(received), "done"),
            Err(refusal @ (Refusal::Token { .. } | Refusal::NotReady { .. } | Refusal::Unproven { .. })) => {
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

fn perform(host: &Host, session: &mut Option<Session>, operation: Operation) -> Result<Answer, Refusal> {
    if operation.is_ceremony() && !host.ceremony {
        return Err(Refusal::NotPermitted);
    }
    let outcome = match operation {
        Operation::Status => return Ok(Answer::Status(Box::new(host.status()))),
        Operation::InitToken { so_pin } => {
            let made = create::init_token(host, &so_pin);
            if matches!(made, Ok(Answer::Created(true))) {
                host.end();
            }
            made
        }
        operation => with_session(host, session, operation),
    };
    outcome.map_err(|fault| {
        if let Fault::Token(error) = &fault {
            // An operation that stopped half-way poisons its session for ever, and cryptoki has no C_SessionCancel.
            *session = None;
            host.judge(error);
        }
        fault.into_refusal()
    })
}

fn with_session(host: &Host, session: &mut Option<Session>, operation: Operation) -> Result<Answer, Fault> {
    let not_ready = |finding: &Finding| Fault::from(Refusal::NotReady { finding: finding.clone() });
    let Some(context) = &host.context else {
        let unknown = Finding::failed("token", None, "the token is not open");
        return Err(not_ready(host.first_problem().unwrap_or(&unknown)));
    };
    if let Some(problem) = host.first_problem()
        && !matches!(operation, Operation::Inventory)
    {
        return Err(not_ready(problem));
    }
    if session.is_none() {
        *session = Some(context.open()?);
    }
    let Some(session) = session else { return Err(Fault::input("session")) };
    dispatch(host, context, session, operation)
}

fn dispatch(host: &Host, context: &Context, session: &Session, operation: Operation) -> Result<Answer, Fault> {
    match operation {
        Operation::Inventory => create::inventory(context, session),
        Operation::Acquirers => Ok(Answer::Acquirers(context.ring.acquirers())),
        Operation::Canary => {
            context.ring.get(super::templates::ATTESTATION_SIGNING)?;
            if context.canary(session) { Ok(Answer::Done) } else { Err(cryptoki::error::Error::InvalidValue.into()) }
        }
        Operation::Random { length } => sign::random(session, length),
        Operation::ActivationMac { message } => sign::activation_mac(context, session, &message),
        Operation::Sign { key, digest } => sign::sign(context, session, key, &digest),
        Operation::PublicKey { key } => sign::public_key(context, key),
        Operation::OpenEnrolment(enrolment) => phone::open_enrolment(context, session, &enrolment),
        Operation::Personalize { secret, ikid, acquirer } => phone::personalize(context, session, &secret, ikid, &acquirer),
        Operation::VerifyDeviceMac { secret, ikid, message, mac } => {
            phone::verify_device_mac(context, session, &secret, ikid, &message, &mac)
        }
        Operation::DukptVerifyMac { ksn, data, mac } => dukpt::verify(context, session, ksn, &data, &mac),
        Operation::DukptDecrypt { ksn, iv, aad, ciphertext, mac } => dukpt::decrypt(context, session, ksn, iv, &aad, &ciphertext, &mac),
        Operation::DerivationMark { acquirer } => mark::get(context, session, &acquirer),
        Operation::ReserveDerivationIds { acquirer, expect, count } => mark::reserve(context, session, &acquirer, expect, count),
        Operation::CreateKeys(spec) => create::create_keys(host, context, session, &spec),
        Operation::SignRoot { digest } => sign::sign_root(context, session, &digest),
        Operation::KnownAnswer(asked) => dukpt::known_answer(session, &asked),
        Operation::Status | Operation::InitToken { .. } => Err(Fault::input("operation")),
    }
}
