//! What time does: the same service in this process, over the same token, database and TLS, with a clock that the test moves.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tillward::cli::phone::sound_findings;
use tillward::clock::Clock;
use tillward::config::Config;
use tillward::http::Listeners;
use tillward::service::Service as Running;
use tillward_device::code::ActivationCode;
use tillward_device::enrolment::{Enrolment, PendingEnrolment};
use tillward_device::message::{AttestationRequest, ChallengeAnswer, Purpose};
use tillward_device::phone::Phone;
use tillward_device::trust::Trust;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::scene::{Scene, denied, reason, refused};
use crate::service::{PROGRAM, Service};

/// The service on a clock that stands.
pub(super) struct Standing {
    pub(super) scene: Scene,
    pub(super) clock: Clock,
    pub(super) app: Arc<Running>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Standing {
    pub(super) async fn start() -> Self {
        let mut service = Service::start();
        assert!(service.stop().success());
        service.forget_addresses();
        let config = Config::read(&service.workplace.config()).expect("a configuration");
        let clock = Clock::fixed(Clock::system().now());
        let listeners = Listeners::bind(&config).await.expect("binds");
        let addresses = listeners.addresses().expect("addresses");
        let url = format!("https://{}", addresses.device);
        let app = Arc::new(Running::open(&config, PathBuf::from(PROGRAM), url, clock.clone()).await.expect("opens"));
        app.bind_when_ready().await.expect("fits its token");
        let settled = [addresses.device, addresses.backend, addresses.local].map(|address| address.to_string());
        service.workplace.settle(&settled[0], &settled[1], &settled[2]).expect("settles");
        let (stop, stopped) = watch::channel(false);
        // Its future stays on one thread.
        let serving = tokio::task::spawn_blocking({
            let app = app.clone();
            move || Handle::current().block_on(listeners.serve(app, &config, stopped))
        });
        Self { scene: Scene::of(service).await, clock, app, stop, serving }
    }

    fn now(&self) -> i64 {
        self.clock.now().0
    }

    async fn trust(&self) -> Trust {
        Trust::verify(&self.scene.line.transport.trust().await.expect("a bundle"), &self.scene.line.pin, self.now()).expect("verifies")
    }

    async fn prepare(&self, code: &str) -> PendingEnrolment {
        let enrolment = Enrolment::new(ActivationCode::parse(code).expect("a code"));
        let transport = &self.scene.line.transport;
        let parameters = transport.parameters().await.expect("parameters");
        let challenge = transport.enrolment_challenge(&enrolment.challenge_request()).await.expect("a challenge");
        enrolment.respond(&self.trust().await, &parameters, &challenge, &sound_findings(), self.now()).expect("an answer")
    }

    async fn phone(&self, terminal: &str, level: &str) -> Phone {
        let pending = self.prepare(&self.scene.service.code(terminal, level).await).await;
        let answer = self.scene.line.transport.enrol(&pending).await.expect("enrols");
        pending.complete(&self.trust().await, &answer, self.now()).expect("a phone")
    }

    async fn challenge(&self, phone: &Phone, purpose: Purpose) -> ChallengeAnswer {
        self.scene.line.transport.device_challenge(phone.device(), purpose).await.expect("a challenge")
    }

    async fn answer(&self, phone: &Phone, challenge: &ChallengeAnswer) -> AttestationRequest {
        phone.attest(&self.trust().await, challenge, &sound_findings(), self.now()).expect("an answer").request
    }

    async fn attest(&self, phone: &Phone) {
        let request = self.answer(phone, &self.challenge(phone, Purpose::Attest).await).await;
        self.scene.line.transport.attest(phone.device(), &request).await.expect("a result");
    }

    pub(super) async fn end(self) {
        self.stop.send_replace(true);
        self.serving.await.expect("ends");
        self.app.store.close().await;
        self.app.hsm.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_is_good_until_its_threshold_and_then_stale_for_clearance_and_renewal() {
    let standing = Standing::start().await;
    let phone = standing.phone("t-1", "standard").await;
    standing.attest(&phone).await;
    let clearance = standing.scene.clear(&phone).await.expect("cleared");
    standing.clock.advance(599);
    let later = standing.scene.clear(&phone).await.expect("still cleared");
    assert_eq!((later["attested"].as_str(), later["expires"].as_str()), (clearance["attested"].as_str(), clearance["expires"].as_str()));
    standing.clock.advance(1);
    let refusal = denied(standing.scene.clear(&phone).await);
    assert_eq!((refusal.status, refusal.reason.as_str()), (409, "attestation-stale"));
    let renewal = standing.challenge(&phone, Purpose::Renew).await;
    let request = phone.renew(&standing.trust().await, &renewal, standing.now()).expect("a request");
    assert_eq!(refused(standing.scene.line.transport.renew(phone.device(), &request).await), "attestation-stale");

    let challenge = serde_json::from_value(json!({"challenge": refusal.document["challenge"]})).expect("a challenge");
    let request = standing.answer(&phone, &challenge).await;
    standing.scene.line.transport.attest(phone.device(), &request).await.expect("a result");
    standing.scene.clear(&phone).await.expect("cleared again");
    standing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_ends_and_a_lost_package_can_be_had_again_even_then() {
    let standing = Standing::start().await;
    let code = standing.scene.service.code("t-1", "standard").await;
    let too_late = standing.scene.service.code("t-2", "standard").await;
    let pending = standing.prepare(&code).await;
    let slow = standing.prepare(&too_late).await;
    let transport = &standing.scene.line.transport;
    let package = transport.post_raw("enrolment", pending.body().to_vec()).await.expect("a package");
    standing.clock.advance(299);
    let last_moment = standing.prepare(&too_late).await;
    standing.clock.advance(1);
    assert_eq!(refused(transport.enrol(&slow).await), "challenge-expired");
    for hours in [0, 1, 23, 24 * 30] {
        standing.clock.advance(hours * 3600);
        let again = transport.post_raw("enrolment", pending.body().to_vec()).await.expect("a package");
        assert_eq!(again, package, "{hours} hours later");
    }
    assert_eq!(refused(transport.enrol(&last_moment).await), "activation-expired", "the code has ended too");
    standing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_the_end_of_its_challenge_is_refused() {
    let standing = Standing::start().await;
    let phone = standing.phone("t-1", "standard").await;
    let (in_time, late) = (standing.challenge(&phone, Purpose::Attest).await, standing.challenge(&phone, Purpose::Attest).await);
    let (in_time, late) = (standing.answer(&phone, &in_time).await, standing.answer(&phone, &late).await);
    let renewal = standing.challenge(&phone, Purpose::Renew).await;
    let renewal = phone.renew(&standing.trust().await, &renewal, standing.now()).expect("a request");
    standing.clock.advance(299);
    let transport = &standing.scene.line.transport;
    transport.attest(phone.device(), &in_time).await.expect("a result");
    standing.clock.advance(1);
    assert_eq!(refused(transport.attest(phone.device(), &late).await), "challenge-expired");
    assert_eq!(refused(transport.renew(phone.device(), &renewal).await), "challenge-expired");
    standing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_ends_after_a_day() {
    let standing = Standing::start().await;
    let (first, second) = (standing.scene.service.code("t-1", "basic").await, standing.scene.service.code("t-2", "basic").await);
    standing.clock.advance(24 * 3600 - 1);
    let (in_time, late) = (standing.prepare(&first).await, standing.prepare(&second).await);
    let transport = &standing.scene.line.transport;
    transport.enrol(&in_time).await.expect("enrols in the last second");
    standing.clock.advance(1);
    assert_eq!(refused(transport.enrol(&late).await), "activation-expired");
    let enrolment = Enrolment::new(ActivationCode::parse(&second).expect("a code"));
    assert_eq!(refused(transport.enrolment_challenge(&enrolment.challenge_request()).await), "activation-expired");
    let id = crate::scene::activation(&second);
    let state = standing.scene.backend.get(&format!("/v1/activations/{id}")).await.expect("an activation");
    assert_eq!((state["state"].as_str(), state["expired"].as_bool()), (Some("open"), Some(true)));
    standing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revocation_list_is_signed_anew_before_it_ends_and_keeps_what_it_held() {
    let standing = Standing::start().await;
    let phone = standing.phone("t-1", "basic").await;
    standing.scene.operate(&phone, "retire", "lost").await.expect("retired");
    let leaf = &phone.certificate_chain()[0].0;
    let mut earlier = Vec::new();
    for hours in [0, 11, 13, 24] {
        standing.clock.advance(hours * 3600);
        let bundle = standing.scene.line.transport.trust().await.expect("a bundle");
        let trust = Trust::verify(&bundle, &standing.scene.line.pin, standing.now()).expect("current at every time");
        let certificate = trust.merchant(leaf, standing.now()).expect("a certificate");
        trust.check_revocation(&certificate, standing.now()).expect_err("revoked");
        if hours == 11 {
            assert_eq!(bundle, earlier, "the list of the first half serves");
        } else {
            assert_ne!(bundle, earlier, "a new list");
        }
        earlier = bundle;
    }
    assert_eq!(reason(standing.scene.clear(&phone).await), "device-retired");
    standing.end().await;
}
