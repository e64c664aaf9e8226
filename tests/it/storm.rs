//! The service and its HSM host are killed in the middle of enrolments, again and again: nothing that was answered is lost, nothing is
//! given twice, nothing stays behind on the token.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tillward::cli::phone::{Line, now, sound_findings};
use tillward_device::enrolment::PendingEnrolment;
use tillward_device::http::HttpError;
use tillward_device::message::PackageAnswer;
use tillward_device::phone::Phone;
use tokio::task::JoinSet;

use crate::scene::{Scene, activation, refused};
use crate::service::{ACQUIRER, Service};

/// Enrolments under way at once.
const ABREAST: usize = 8;

/// The kill comes within this time after the first request is sent: longer than a round of enrolments takes.
const WINDOW: u64 = 80_000;

/// `SplitMix64` (Steele, Lea, Flood 2014): a seed that is printed gives the same moments again.
pub(crate) struct Moments(u64);

impl Moments {
    pub(crate) fn seeded() -> Self {
        let seed = number("TILLWARD_STORM_SEED").unwrap_or_else(|| {
            let mut random = [0; 8];
            getrandom::fill(&mut random).expect("random bytes");
            u64::from_le_bytes(random)
        });
        println!("TILLWARD_STORM_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is configured by its environment")]
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Every object file on the token.
fn objects(service: &Service) -> usize {
    let tokens = std::fs::read_dir(service.workplace.dir.join("tokens")).expect("a token folder");
    let files = tokens.flat_map(|token| std::fs::read_dir(token.expect("a token").path()).expect("files"));
    files.filter(|file| file.as_ref().expect("a file").path().extension().is_some_and(|extension| extension == "object")).count()
}

/// Terminals, their codes, and a phone for each that is ready to send.
async fn ready(scene: &Scene, round: usize) -> Vec<(String, PendingEnrolment)> {
    let mut tasks = JoinSet::new();
    for place in 0..ABREAST {
        let (backend, line, trust) = (scene.backend.clone(), scene.line.clone(), crate::scene::fresh_trust(&scene.line).await);
        tasks.spawn(async move {
            let terminal = format!("t-{round}-{place}");
            backend.put(&format!("/v1/terminals/{terminal}"), &json!({"merchant": "m1", "level": "standard"})).await.expect("a terminal");
            let answer = backend.post("/v1/activations", &json!({"terminal": terminal})).await.expect("an activation");
            let code = answer["code"].as_str().expect("a code").to_owned();
            let pending = line.prepare(&trust, &code, &sound_findings()).await.expect("prepares");
            (code, pending)
        });
    }
    tasks.join_all().await
}

/// What became of the requests, over the whole storm.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    enrolled_unanswered: usize,
    lost: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_in_a_storm_of_enrolments_loses_no_phone_and_gives_nothing_twice() {
    let rounds = usize::try_from(number("TILLWARD_STORM_ROUNDS").unwrap_or(50)).expect("a number of rounds");
    let mut moments = Moments::seeded();
    let mut scene = Scene::set().await;
    scene.backend.put("/v1/merchants/m1", &json!({"acquirer": ACQUIRER, "name": "Merchant"})).await.expect("a merchant");
    // The first activation makes the derivation mark on the token.
    scene.service.code("t-first", "standard").await;
    let keys = scene.auditor.get("/v1/hsm/keys").await.expect("an inventory");
    let before = objects(&scene.service);
    let mut ikids = BTreeSet::new();
    let mut devices = BTreeSet::new();
    let mut tally = Tally::default();

    for round in 0..rounds {
        let ready = ready(&scene, round).await;
        let mut storm = JoinSet::new();
        for (code, pending) in ready {
            let transport = scene.line.transport.clone();
            storm.spawn(async move {
                let outcome = transport.enrol(&pending).await;
                (code, pending, outcome)
            });
        }
        tokio::time::sleep(Duration::from_micros(moments.below(WINDOW))).await;
        scene.service.kill();
        let outcomes = storm.join_all().await;
        scene.service.restart();
        scene = scene.again().await;

        let mut checks = JoinSet::new();
        for (code, pending, outcome) in outcomes {
            let (line, backend) = (scene.line.clone(), scene.backend.clone());
            checks.spawn(async move { after_the_kill(&line, &backend, &code, pending, outcome).await });
        }
        for (kind, mut phone) in checks.join_all().await {
            match kind {
                Kind::Answered => tally.answered += 1,
                Kind::EnrolledUnanswered => tally.enrolled_unanswered += 1,
                Kind::Lost => tally.lost += 1,
            }
            assert!(ikids.insert(phone.data_ikid().to_string()), "{} was given twice", phone.data_ikid());
            assert!(ikids.insert(phone.pin_ikid().to_string()), "{} was given twice", phone.pin_ikid());
            assert!(devices.insert(phone.device().to_string()), "{} was given twice", phone.device());
            scene.attest(&mut phone).await;
            scene.pay(&mut phone, b"4111111111111111=3012").await;
        }
    }
    println!("{rounds} kills, {} phones: {tally:?}", devices.len());
    assert_eq!(devices.len(), rounds * ABREAST);
    if rounds >= 20 {
        assert!(tally.answered > 0 && tally.lost > 0, "the kills did not meet the enrolments: {tally:?}");
    }
    everything_adds_up(&scene, &devices).await;
    assert_eq!(scene.auditor.get("/v1/hsm/keys").await.expect("an inventory"), keys, "the keys on the token are what they were");
    assert!(scene.service.stop().success());
    assert_eq!(objects(&scene.service), before, "an orphan on the token");
}

/// How a request fared.
enum Kind {
    /// Its answer came.
    Answered,
    /// The service had enrolled the phone and could not say so any more.
    EnrolledUnanswered,
    /// The service had not got so far.
    Lost,
}

/// With or without an answer, the phone becomes what it was about to become, and its code is good for no other.
async fn after_the_kill(
    line: &Line,
    backend: &tillward::cli::api::Api,
    code: &str,
    pending: PendingEnrolment,
    outcome: Result<PackageAnswer, HttpError>,
) -> (Kind, Phone) {
    let trust = crate::scene::fresh_trust(line).await;
    let state = backend.get(&format!("/v1/activations/{}", activation(code))).await.expect("an activation");
    let used = state["state"] == "used";
    let (pending, again) = if used {
        let again = line.transport.enrol(&pending).await.expect("the kept request gets its package");
        (pending, again)
    } else {
        // Its derivation id is of the process that was killed: a new challenge with a new one, the same code.
        assert_eq!(refused(line.transport.enrol(&pending).await), "challenge-invalid");
        let pending = line.prepare(&trust, code, &sound_findings()).await.expect("prepares");
        let again = line.transport.enrol(&pending).await.expect("the code is still good");
        (pending, again)
    };
    let kind = match outcome {
        Ok(answer) => {
            assert!(used, "an answer that was given is in the database: {state}");
            assert_eq!(answer, again, "the same package, byte for byte");
            Kind::Answered
        }
        Err(HttpError::Transport(_)) if used => Kind::EnrolledUnanswered,
        Err(HttpError::Transport(_)) => {
            assert_eq!(state["state"], "open", "{state}");
            Kind::Lost
        }
        Err(other) => panic!("neither an answer nor a broken connection: {other:?}"),
    };
    let stranger = line.prepare(&trust, code, &sound_findings()).await.expect("prepares");
    assert_eq!(refused(line.transport.enrol(&stranger).await), "activation-used");
    let phone = pending.complete(&trust, &again, now()).unwrap_or_else(|(_, error)| panic!("{error}"));
    (kind, phone)
}

/// The database knows exactly these phones, and the audit log one enrolment of each.
pub(crate) async fn everything_adds_up(scene: &Scene, devices: &BTreeSet<String>) {
    let mut known = BTreeSet::new();
    let mut after = String::new();
    loop {
        let page = scene.backend.get(&format!("/v1/devices?limit=500{after}")).await.expect("devices");
        for device in page["devices"].as_array().expect("devices") {
            assert_eq!(device["state"], "active");
            assert!(known.insert(device["device"].as_str().expect("text").to_owned()));
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(&known, devices);
    let mut enrolled = BTreeSet::new();
    let mut trail = scene.whole_trail();
    for entry in trail.entries().await {
        if entry["action"] == "enrol" && entry["reason"] == Value::Null {
            assert!(enrolled.insert(entry["detail"]["device"].as_str().expect("text").to_owned()), "enrolled twice: {entry}");
        }
    }
    assert_eq!(&enrolled, devices);
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill").success());
}

/// What a phone does with a 503: it asks again.
async fn until_it_works<T, F: Future<Output = Result<T, HttpError>>>(mut ask: impl FnMut() -> F) -> (T, usize) {
    tokio::time::timeout(Duration::from_mins(1), async {
        let mut refusals = 0;
        loop {
            match ask().await {
                Ok(answer) => return (answer, refusals),
                Err(error) => {
                    let refusal = error.refusal().unwrap_or_else(|| panic!("neither done nor refused: {error:?}"));
                    assert_eq!((refusal.status, refusal.reason.as_str()), (503, "hsm-unavailable"));
                    assert!(refusal.retry_after.is_some_and(|seconds| seconds > 0), "a 503 says when to ask again");
                    refusals += 1;
                }
            }
        }
    })
    .await
    .expect("the service gets a new HSM host in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hsm_host_that_is_killed_in_a_storm_costs_503s_and_nothing_else() {
    let mut moments = Moments::seeded();
    let scene = Scene::set().await;
    scene.backend.put("/v1/merchants/m1", &json!({"acquirer": ACQUIRER, "name": "Merchant"})).await.expect("a merchant");
    let service = scene.service.pid();
    let mut devices = BTreeSet::new();
    let mut refusals = 0;
    for round in 0..4 {
        let ready = ready(&scene, round).await;
        let hosts = scene.service.hosts();
        let mut storm = JoinSet::new();
        for (_, pending) in ready {
            let transport = scene.line.transport.clone();
            storm.spawn(async move {
                let (answer, refusals) = until_it_works(|| transport.enrol(&pending)).await;
                (pending, answer, refusals)
            });
        }
        tokio::time::sleep(Duration::from_micros(moments.below(WINDOW / 2))).await;
        for host in &hosts {
            kill(*host);
        }
        for (pending, answer, refused) in storm.join_all().await {
            refusals += refused;
            let mut phone = pending.complete(&scene.trust, &answer, now()).unwrap_or_else(|(_, error)| panic!("{error}"));
            assert!(devices.insert(phone.device().to_string()), "{} was given twice", phone.device());
            // The host may be away still, if every enrolment was through when it was killed.
            until_it_works(|| scene.line.transport.parameters()).await;
            until_it_works(|| scene.line.transport.device_challenge(phone.device(), tillward_device::message::Purpose::Attest)).await;
            scene.attest(&mut phone).await;
            scene.pay(&mut phone, b"4111").await;
        }
        for host in hosts {
            assert!(!Path::new(&format!("/proc/{host}")).exists(), "the killed host {host} was not waited for");
        }
        assert_eq!(scene.service.hosts().len(), 1, "one host took the place of the other");
    }
    println!("4 kills of the HSM host: {refusals} requests were told to come again");
    assert_eq!(scene.service.pid(), service);
    everything_adds_up(&scene, &devices).await;
}
