//! The load: phones that attest and pay, and terminals that enrol, at a steady rate. Every answer is verified by who asked for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tillward::cli::api::{Api, Refused};
use tillward::cli::phone::{Line, now, sound_findings, status};
use tillward_device::http::HttpError;
use tillward_device::phone::Phone;
use tillward_device::trust::Trust;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Interval;

use crate::scene::{Scene, payment};
use crate::service::ACQUIRER;

/// Phones that pay, each so often; and phones that attest.
const PAYERS: usize = 3;
const PAY_EVERY: Duration = Duration::from_millis(40);
const ATTESTERS: usize = 2;
const ATTEST_EVERY: Duration = Duration::from_millis(80);
const ENROL_EVERY: Duration = Duration::from_millis(400);
/// The longest time to an answer: `limits.request_ms` (15 s), and the way there and back on a busy machine.
const ANSWERED: Duration = Duration::from_secs(20);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Pay,
    Attest,
    Enrol,
}

/// A request and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) kind: Kind,
    pub(super) began: Instant,
    pub(super) took: Duration,
    /// Done, or how it was refused.
    pub(super) refused: Option<(u16, String)>,
}

#[derive(Default)]
struct Log {
    samples: Vec<Sample>,
}

/// The running load.
pub(super) struct Load {
    log: Arc<Mutex<Log>>,
    news: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<Vec<Phone>>>,
}

/// What the workers share.
#[derive(Clone)]
struct Desk {
    line: Line,
    trust: Arc<Trust>,
    backend: Api,
    log: Arc<Mutex<Log>>,
    news: Arc<watch::Sender<usize>>,
    stop: watch::Receiver<bool>,
}

impl Desk {
    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Writes down how a request fared. What is neither done nor refused with a reason fails the test.
    fn note<T>(&self, kind: Kind, began: Instant, outcome: anyhow::Result<T>) -> Option<T> {
        let took = began.elapsed();
        let (refused, value) = match outcome {
            Ok(value) => (None, Some(value)),
            Err(error) => (Some(refusal(&error).unwrap_or_else(|| panic!("{kind:?}: a wrong answer, or none: {error:#}"))), None),
        };
        assert!(took < ANSWERED, "{kind:?} took {took:?}");
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.samples.push(Sample { kind, began, took, refused });
        self.news.send_replace(log.samples.len());
        value
    }
}

/// Status and reason of a problem document, from either listener.
fn refusal(error: &anyhow::Error) -> Option<(u16, String)> {
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return Some((refused.status, refused.reason.clone()));
    }
    let refusal = error.downcast_ref::<HttpError>()?.refusal()?;
    assert!(refusal.status != 503 || refusal.retry_after.is_some(), "a 503 says when to ask again: {refusal:?}");
    Some((refusal.status, refusal.reason.clone()))
}

impl Load {
    pub(super) async fn start(scene: &Scene) -> Self {
        scene.backend.put("/v1/merchants/m1", &json!({"acquirer": ACQUIRER, "name": "Merchant"})).await.expect("a merchant");
        let log = Arc::<Mutex<Log>>::default();
        let (news, heard) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let (line, backend) = (scene.line.clone(), scene.backend.clone());
        let trust = Arc::new(crate::scene::fresh_trust(&line).await);
        let desk = Desk { line, trust, backend, log: log.clone(), news: Arc::new(news), stop: stopped };
        let mut workers = Vec::new();
        for place in 0..PAYERS {
            let phone = scene.attested(&format!("payer-{place}"), "standard").await;
            workers.push(tokio::spawn(pay(desk.clone(), phone)));
        }
        for place in 0..ATTESTERS {
            let phone = scene.attested(&format!("attester-{place}"), "standard").await;
            workers.push(tokio::spawn(attest(desk.clone(), phone)));
        }
        workers.push(tokio::spawn(enrol(desk)));
        Self { log, news: heard, stop, workers }
    }

    /// Where the log stands.
    pub(super) fn mark(&self) -> usize {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).samples.len()
    }

    /// What was written since.
    pub(super) fn since(&self, mark: usize) -> Vec<Sample> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).samples[mark..].to_vec()
    }

    /// The load goes on for so long; a worker that failed fails the test now.
    pub(super) async fn busy(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.alive();
    }

    fn alive(&self) {
        assert!(self.workers.iter().all(|worker| !worker.is_finished()), "a worker has ended: see its panic");
    }

    /// Waits until a payment and an attestation that began after `lifted` are done.
    pub(super) async fn recovered(&self, lifted: Instant, limit: Duration) {
        let mut news = self.news.clone();
        let both = async {
            loop {
                let done = |kind| {
                    let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.samples.iter().rev().take(500).any(|s| s.kind == kind && s.began >= lifted && s.refused.is_none())
                };
                if done(Kind::Pay) && done(Kind::Attest) {
                    return;
                }
                self.alive();
                news.changed().await.expect("the load runs");
            }
        };
        tokio::time::timeout(limit, both).await.unwrap_or_else(|_| panic!("not recovered after {limit:?}"));
    }

    /// Ends the load. Every phone that enrolled works. Gives all devices.
    pub(super) async fn finish(self, scene: &Scene) -> BTreeSet<String> {
        self.stop.send_replace(true);
        let mut devices = BTreeSet::new();
        let mut ikids = BTreeSet::new();
        for worker in self.workers {
            for mut phone in worker.await.expect("a worker") {
                assert!(devices.insert(phone.device().to_string()), "{} was given twice", phone.device());
                assert!(
                    ikids.insert(phone.data_ikid().to_string()) && ikids.insert(phone.pin_ikid().to_string()),
                    "an IKID was given twice"
                );
                scene.attest(&mut phone).await;
                scene.pay(&mut phone, b"4111111111111111=3012").await;
            }
        }
        devices
    }
}

async fn pay(desk: Desk, mut phone: Phone) -> Vec<Phone> {
    let mut beat = tokio::time::interval(PAY_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !desk.stopped() {
        beat.tick().await;
        let text = format!("4111111111111111={}", phone.last_counter().map(|counter| format!("{counter:?}")).unwrap_or_default());
        let message = payment(&mut phone, text.as_bytes());
        let began = Instant::now();
        let outcome = desk.backend.post("/v1/dukpt/decrypt", &message).await;
        if let Some(answer) = desk.note(Kind::Pay, began, outcome) {
            let plaintext =
                data_encoding::BASE64URL_NOPAD.decode(answer["plaintext"].as_str().expect("text").as_bytes()).expect("base64url");
            assert_eq!(plaintext, text.as_bytes(), "a wrong plaintext");
        }
    }
    vec![phone]
}

async fn attest(desk: Desk, mut phone: Phone) -> Vec<Phone> {
    let mut beat = tokio::time::interval(ATTEST_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !desk.stopped() {
        beat.tick().await;
        let began = Instant::now();
        // The phone verifies challenge and result: a signature that does not verify is no refusal, and fails the test.
        let outcome = desk.line.attest(&desk.trust, &mut phone, &sound_findings()).await;
        if let Some(result) = desk.note(Kind::Attest, began, outcome) {
            assert_eq!(status(&result), "affirming");
        }
    }
    vec![phone]
}

/// One terminal after the other gets its phone, however often it has to ask.
async fn enrol(desk: Desk) -> Vec<Phone> {
    let mut beat = tokio::time::interval(ENROL_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut phones = Vec::new();
    while !desk.stopped() {
        let terminal = format!("terminal-{}", phones.len());
        let place = json!({"merchant": "m1", "level": "standard"});
        let registers = || {
            let (backend, path, place) = (desk.backend.clone(), format!("/v1/terminals/{terminal}"), place.clone());
            async move { backend.put(&path, &place).await }
        };
        until_done(&mut beat, &desk, registers).await;
        let activates = || {
            let (backend, wanted) = (desk.backend.clone(), json!({"terminal": terminal}));
            async move { backend.post("/v1/activations", &wanted).await }
        };
        let answer = until_done(&mut beat, &desk, activates).await;
        let code = answer["code"].as_str().expect("a code").to_owned();
        let prepares = || {
            let (line, trust, code) = (desk.line.clone(), desk.trust.clone(), code.clone());
            async move { line.prepare(&trust, &code, &sound_findings()).await }
        };
        let mut pending = until_done(&mut beat, &desk, prepares).await;
        let package = loop {
            beat.tick().await;
            let began = Instant::now();
            let outcome = desk.line.transport.enrol(&pending).await.map_err(anyhow::Error::from);
            let stale = outcome.as_ref().err().and_then(refusal).is_some_and(|(_, reason)| reason == "challenge-invalid");
            if let Some(package) = desk.note(Kind::Enrol, began, outcome) {
                break package;
            }
            if stale {
                pending = until_done(&mut beat, &desk, prepares).await;
            }
        };
        // The phone verifies the package, its certificate and its keys' check values.
        phones.push(pending.complete(&desk.trust, &package, now()).unwrap_or_else(|(_, error)| panic!("a wrong package: {error}")));
    }
    phones
}

/// Asks until it is done, one try a beat.
async fn until_done<T, F: Future<Output = anyhow::Result<T>>>(beat: &mut Interval, desk: &Desk, ask: impl Fn() -> F) -> T {
    loop {
        beat.tick().await;
        let began = Instant::now();
        if let Some(done) = desk.note(Kind::Enrol, began, ask().await) {
            return done;
        }
    }
}
