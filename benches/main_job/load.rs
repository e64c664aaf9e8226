//! Phones and a back end that keep a service busy.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tillward::cli::api::Api;
use tillward::cli::phone::{Line, now, sound_findings, status};
use tillward_device::enrolment::PendingEnrolment;
use tillward_device::message::Purpose;
use tillward_device::phone::Phone;
use tillward_device::trust::Trust;
use tokio::runtime::Runtime;

use crate::service::Service;

const LEVEL: &str = "standard";

/// Two threads, as many as the HSM host has workers.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// One operation on a state.
type Step<S> = for<'a> fn(&'a mut S) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// All states at once, each `rounds` times in a row; the time from the first to the last.
pub(crate) fn together<S: Send + 'static>(runtime: &Runtime, states: &mut Vec<S>, rounds: u64, step: Step<S>) -> Duration {
    let taken = std::mem::take(states);
    runtime.block_on(async {
        let started = Instant::now();
        let tasks: Vec<_> = taken
            .into_iter()
            .map(|mut state| {
                tokio::spawn(async move {
                    for _ in 0..rounds {
                        step(&mut state).await;
                    }
                    state
                })
            })
            .collect();
        for task in tasks {
            states.push(task.await.expect("every operation succeeds"));
        }
        started.elapsed()
    })
}

/// How everything reaches the service.
#[derive(Clone)]
struct Wires {
    line: Line,
    trust: Arc<Trust>,
    api: Api,
}

/// An enrolled phone, its back end, and the payment messages that wait.
pub(crate) struct Station {
    wires: Wires,
    phone: Phone,
    messages: Vec<Value>,
}

/// Phones that work at once.
pub(crate) type Phones = Vec<Station>;

/// An enrolment on its way: what is sent next is on top.
struct Counter {
    wires: Wires,
    pending: Vec<PendingEnrolment>,
}

/// The load on one service.
pub(crate) struct Load<'a> {
    runtime: Runtime,
    service: &'a Service,
    wires: Wires,
    terminals: u64,
}

impl<'a> Load<'a> {
    pub(crate) fn open(service: &'a Service) -> Self {
        let runtime = runtime();
        let line = service.line();
        let trust = runtime.block_on(line.trust()).expect("the trust bundle");
        let wires = Wires { line, trust: Arc::new(trust), api: service.api("backend") };
        Self { runtime, service, wires, terminals: 0 }
    }

    /// Everything up to the enrolment request, for a new terminal.
    fn pending(&mut self) -> PendingEnrolment {
        self.terminals += 1;
        let terminal = format!("t{}", self.terminals);
        self.runtime.block_on(async {
            let code = self.service.code(&terminal, LEVEL).await;
            self.wires.line.prepare(&self.wires.trust, &code, &sound_findings()).await.expect("an enrolment")
        })
    }

    /// Newly enrolled phones, attested once: a clearance needs that, whichever rows a filter leaves.
    pub(crate) fn phones(&mut self, count: usize) -> Phones {
        let pending: Vec<_> = (0..count).map(|_| self.pending()).collect();
        let enrol = |pending: PendingEnrolment| {
            let package = self.runtime.block_on(self.wires.line.transport.enrol(&pending)).expect("enrols");
            let mut phone = pending.complete(&self.wires.trust, &package, now()).expect("a phone");
            self.runtime.block_on(self.wires.line.attest(&self.wires.trust, &mut phone, &sound_findings())).expect("a result");
            Station { wires: self.wires.clone(), phone, messages: Vec::new() }
        };
        pending.into_iter().map(enrol).collect()
    }

    pub(crate) fn challenge(&self, phones: &mut Phones, rounds: u64) -> Duration {
        together(&self.runtime, phones, rounds, |station| {
            Box::pin(async move {
                let transport = &station.wires.line.transport;
                transport.device_challenge(station.phone.device(), Purpose::Attest).await.expect("a challenge");
            })
        })
    }

    pub(crate) fn attest(&self, phones: &mut Phones, rounds: u64) -> Duration {
        together(&self.runtime, phones, rounds, |station| {
            Box::pin(async move {
                let Wires { line, trust, .. } = &station.wires;
                let result = line.attest(trust, &mut station.phone, &sound_findings()).await.expect("a result");
                assert_eq!(status(&result), "affirming");
            })
        })
    }

    pub(crate) fn clear(&self, phones: &mut Phones, rounds: u64) -> Duration {
        together(&self.runtime, phones, rounds, |station| {
            Box::pin(async move {
                let body = json!({"device": station.phone.device(), "purpose": "payment"});
                station.wires.api.post("/v1/clearances", &body).await.expect("a clearance");
            })
        })
    }

    /// The phones make their messages first: that is their time, not the service's.
    pub(crate) fn decrypt(&self, phones: &mut Phones, rounds: u64) -> Duration {
        for Station { phone, messages, .. } in phones.iter_mut() {
            let message = |_| serde_json::to_value(phone.pay(b"4111111111111111=2912", b"order 7").expect("pays")).expect("JSON");
            *messages = (0..rounds).map(message).collect();
        }
        together(&self.runtime, phones, rounds, |station| {
            Box::pin(async move {
                let message = station.messages.pop().expect("made before");
                station.wires.api.post("/v1/dukpt/decrypt", &message).await.expect("decrypts");
            })
        })
    }

    /// New terminals, codes and the phones' own work first; what counts is the one request.
    pub(crate) fn enrol(&mut self, at_once: usize, rounds: u64) -> Duration {
        let mut counters: Vec<_> =
            (0..at_once).map(|_| Counter { wires: self.wires.clone(), pending: (0..rounds).map(|_| self.pending()).collect() }).collect();
        together(&self.runtime, &mut counters, rounds, |counter| {
            Box::pin(async move {
                let pending = counter.pending.pop().expect("made before");
                counter.wires.line.transport.enrol(&pending).await.expect("a package");
            })
        })
    }
}
