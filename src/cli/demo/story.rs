//! What goes well: registration, enrolment, attestation, clearance, payment, and the consumer's look at it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tillward_device::consumer::{self, Acceptance};
use tillward_device::phone::Phone;
use tillward_device::trust::Trust;

use super::Teller;
use super::stage::{ACQUIRER, Stage};
use crate::cli::phone::{now, sound_findings, status};

/// Enrolments under way at once.
const ABREAST: usize = 8;

/// Durations of one kind of step.
#[derive(Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    fn add(&mut self, since: Instant) {
        self.0.push(since.elapsed());
    }

    fn figures(&self) -> Value {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
            sorted.get(index).map_or(0.0, |duration| duration.as_secs_f64() * 1000.0)
        };
        json!({"count": sorted.len(), "p50_ms": at(50), "p99_ms": at(99)})
    }
}

/// The cast after the story, and what it took.
pub(super) struct Story {
    pub(super) trust: Trust,
    pub(super) phones: Vec<Phone>,
    pub(super) used_code: String,
    enrolment: Latencies,
    attestation: Latencies,
    payment: Latencies,
}

impl Story {
    pub(super) fn figures(&self) -> Value {
        json!({
            "phones": self.phones.len(),
            "enrolment": self.enrolment.figures(),
            "attestation": self.attestation.figures(),
            "payment_decrypted": self.payment.figures(),
        })
    }
}

pub(super) async fn run(stage: &Stage, phones: u32, teller: Teller) -> anyhow::Result<Story> {
    let codes = register(stage, phones, teller).await?;
    let first = codes.first().context("at least one phone")?.clone();

    teller.chapter("Each phone enrols with its code and a second secret that it made itself");
    let trust = stage.line.trust().await?;
    teller.good("trust bundle verified from the root pin that the application ships with", "");
    let mut story = Story {
        trust,
        phones: Vec::new(),
        used_code: first,
        enrolment: Latencies::default(),
        attestation: Latencies::default(),
        payment: Latencies::default(),
    };
    let bar = bar(phones, teller);
    for batch in codes.chunks(ABREAST) {
        let mut tasks = tokio::task::JoinSet::new();
        for code in batch {
            let (line, code) = (stage.line.clone(), code.clone());
            tasks.spawn(async move {
                let trust = line.trust().await?;
                let started = Instant::now();
                let phone = line.enrol(&trust, &code, &sound_findings()).await?;
                anyhow::Ok((phone, started))
            });
        }
        while let Some(done) = tasks.join_next().await {
            let (phone, started) = done??;
            story.enrolment.add(started);
            story.phones.push(phone);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    story.phones.sort_by_key(|phone| phone.identity().terminal.to_string());
    let phone = story.phones.first().context("a phone")?;
    teller.good(&format!("{} phones enrolled and personalised", story.phones.len()), &format!("first: {}", phone.device()));
    teller.say(&format!(
        "PIN key {} and data key {}: derived and wrapped on the token, opened by the phone alone",
        phone.pin_ikid(),
        phone.data_ikid()
    ));

    teller.chapter("Before a payment the back end asks for a clearance");
    let ask = json!({"device": phone.device().to_string(), "purpose": "payment"});
    let refused = stage.backend.post("/v1/clearances", &ask).await.expect_err("a phone that has not attested is not cleared");
    teller.refused("a phone that has not attested yet", &reason(&refused)?);

    teller.chapter("The phones attest, and are cleared");
    let bar = bar_for(story.phones.len(), teller);
    for phone in &mut story.phones {
        let started = Instant::now();
        let result = stage.line.attest(&story.trust, phone, &sound_findings()).await?;
        ensure!(status(&result) == "affirming", "a sound phone must be affirmed");
        story.attestation.add(started);
        bar.inc(1);
    }
    bar.finish_and_clear();
    teller.good(
        &format!("{} attestation results, signed in the HSM: affirming", story.phones.len()),
        "challenge, CMAC on the second secret, EAR",
    );
    let clearance = stage.backend.post("/v1/clearances", &ask).await?;
    let text = |name: &str| clearance.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    teller.good("cleared", &format!("{} until {}", text("clearance"), text("expires")));

    teller.chapter("The phones take payments");
    let bar = bar_for(story.phones.len(), teller);
    for phone in &mut story.phones {
        let account = format!("4111111111111111=3012 {}", phone.device());
        let message = phone.pay(account.as_bytes(), b"EUR 12.50")?;
        let started = Instant::now();
        let answer = stage.backend.post("/v1/dukpt/decrypt", &serde_json::to_value(&message)?).await?;
        story.payment.add(started);
        let plain = answer.get("plaintext").and_then(Value::as_str).context("a plaintext")?;
        ensure!(
            data_encoding::BASE64URL_NOPAD.decode(plain.as_bytes())? == account.as_bytes(),
            "the back end must get what the phone encrypted"
        );
        bar.inc(1);
    }
    bar.finish_and_clear();
    teller.good(&format!("{} messages verified and decrypted on the token", story.phones.len()), "AES DUKPT, a key of its own for each");

    look_at_a_request(&story, teller)?;
    Ok(story)
}

/// One merchant, its terminals, a code for each.
async fn register(stage: &Stage, phones: u32, teller: Teller) -> anyhow::Result<Vec<String>> {
    teller.chapter("The back end registers a merchant and its terminals");
    stage.backend.put("/v1/merchants/M-1", &json!({"acquirer": ACQUIRER, "name": "Corner Bakery"})).await?;
    let mut codes = Vec::new();
    for number in 1..=phones {
        let configuration = json!({"currency": "EUR", "mcc": "5462", "name": "Corner Bakery"});
        let terminal = json!({"merchant": "M-1", "level": "standard", "configuration": configuration});
        stage.backend.put(&format!("/v1/terminals/T-{number}"), &terminal).await?;
        let answer = stage.backend.post("/v1/activations", &json!({"terminal": format!("T-{number}")})).await?;
        codes.push(answer.get("code").and_then(Value::as_str).context("a code")?.to_owned());
    }
    let first = codes.first().context("at least one phone")?;
    teller.good(&format!("merchant M-1, {phones} terminals, {phones} activation codes (first secrets)"), &format!("such as {first}"));
    Ok(codes)
}

fn look_at_a_request(story: &Story, teller: Teller) -> anyhow::Result<()> {
    teller.chapter("The consumer's device looks at the payment request, offline");
    let phone = story.phones.first().context("a phone")?;
    let request = phone.payment_request(1250.try_into()?, "EUR".parse()?, now())?;
    let verified = consumer::verify(&request, &story.trust, &Acceptance::default(), now())?;
    teller.good(
        &format!(
            "{} {} to {} at terminal {}",
            u64::from(verified.amount),
            verified.currency,
            verified.identity.merchant,
            verified.identity.terminal
        ),
        "chain, revocation list, signature, attestation result",
    );
    Ok(())
}

fn bar(count: u32, teller: Teller) -> ProgressBar {
    bar_for(usize::try_from(count).unwrap_or(usize::MAX), teller)
}

/// A progress bar where there is something to wait for and somebody to look at it.
fn bar_for(count: usize, teller: Teller) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX));
    if teller.quiet || count < 10 {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("  {bar:40} {pos}/{len}  {per_sec}") {
        bar.set_style(style);
    }
    bar
}

/// The reason code of a refused call.
pub(super) fn reason(error: &anyhow::Error) -> anyhow::Result<String> {
    let refused = error.downcast_ref::<crate::cli::api::Refused>().with_context(|| format!("not a refusal: {error:#}"))?;
    Ok(refused.reason.clone())
}
