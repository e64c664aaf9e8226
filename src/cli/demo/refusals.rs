//! What is refused: each by the real service, with its reason code; a refusal that does not come ends the demo with an error.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tillward_device::code::ActivationCode;
use tillward_device::consumer::{self, Acceptance};
use tillward_device::merchant_key::MerchantKey;
use tillward_device::message::Purpose;
use tillward_device::phone::Phone;

use super::Teller;
use super::stage::Stage;
use super::story::{Story, reason};
use crate::cli::phone::{now, refusal, sound_findings, status};

struct Refusals {
    teller: Teller,
    seen: Vec<Value>,
}

impl Refusals {
    fn note(&mut self, what: &str, got: &str, expected: &str) -> anyhow::Result<()> {
        ensure!(got == expected, "{what}: refused with {got}, expected {expected}");
        self.teller.refused(what, got);
        self.seen.push(json!({"what": what, "reason": got}));
        Ok(())
    }
}

pub(super) async fn run(stage: &Stage, story: &mut Story, teller: Teller) -> anyhow::Result<Vec<Value>> {
    teller.chapter("What is refused");
    let mut refusals = Refusals { teller, seen: Vec::new() };
    codes(stage, story, &mut refusals).await?;
    attestations(stage, story, &mut refusals).await?;
    payments(stage, story, &mut refusals).await?;
    retirement(stage, story, &mut refusals).await?;
    Ok(refusals.seen)
}

/// The first secret: wrong, and used.
async fn codes(stage: &Stage, story: &Story, refusals: &mut Refusals) -> anyhow::Result<()> {
    stage.backend.put("/v1/terminals/T-SPARE", &json!({"merchant": "M-1", "level": "standard"})).await?;
    let answer = stage.backend.post("/v1/activations", &json!({"terminal": "T-SPARE"})).await?;
    let code = answer.get("code").and_then(Value::as_str).context("a code")?;
    let right = ActivationCode::parse(code)?;
    // Another secret behind the same public id, with its own check symbol: what a guesser would send.
    let body: String = right.expose_symbols().chars().take(7).chain("ABCDEFGHJKMNPQRS".chars()).collect();
    let guess = ActivationCode::with_check_symbol(&body)?;
    let pending = stage.line.prepare(&story.trust, guess.expose_symbols(), &sound_findings()).await?;
    refusals.note("a wrong activation code", &refusal(stage.line.transport.enrol(&pending).await)?, "activation-code-wrong")?;

    let pending = stage.line.prepare(&story.trust, &story.used_code, &sound_findings()).await?;
    refusals.note("a used activation code", &refusal(stage.line.transport.enrol(&pending).await)?, "activation-used")?;

    let mut findings = sound_findings();
    findings.root = true;
    let pending = stage.line.prepare(&story.trust, code, &findings).await?;
    refusals.note(
        "a rooted phone that wants to enrol",
        &refusal(stage.line.transport.enrol(&pending).await)?,
        "evidence-contraindicated",
    )?;

    let pending = stage.line.prepare(&story.trust, code, &sound_findings()).await?;
    let mut request = pending.request().clone();
    request.mac = [0; 16].into();
    refusals.note(
        "an enrolment whose second secret is not proven",
        &refusal(stage.line.transport.enrol_with(&request).await)?,
        "evidence-mac-mismatch",
    )?;
    // None of that has burnt the code.
    let phone = stage.line.enrol(&story.trust, code, &sound_findings()).await?;
    refusals.teller.good("the honest phone still enrols with that code", &phone.device().to_string());
    Ok(())
}

/// Evidence: replayed, tampered with, from a phone that only has the copied second secret.
async fn attestations(stage: &Stage, story: &mut Story, refusals: &mut Refusals) -> anyhow::Result<()> {
    let transport = &stage.line.transport;
    let phone = story.phones.first_mut().context("a phone")?;
    let challenge = transport.device_challenge(phone.device(), Purpose::Attest).await?;
    let attestation = phone.attest(&story.trust, &challenge, &sound_findings(), now())?;
    let answer = transport.attest(phone.device(), &attestation.request).await?;
    phone.take_result(&story.trust, &attestation, &answer, now())?;
    refusals.note(
        "the same answer again",
        &refusal(transport.attest(phone.device(), &attestation.request).await)?,
        "challenge-replayed",
    )?;

    let challenge = transport.device_challenge(phone.device(), Purpose::Attest).await?;
    let mut findings = sound_findings();
    findings.debugger = true;
    let mut tampered = phone.attest(&story.trust, &challenge, &findings, now())?.request;
    tampered.evidence.claims.insert("debugger".to_owned(), json!(false));
    refusals.note(
        "evidence changed after the phone made its MAC",
        &refusal(transport.attest(phone.device(), &tampered).await)?,
        "evidence-mac-mismatch",
    )?;

    let thief = copied(stage, phone)?;
    let challenge = transport.device_challenge(thief.device(), Purpose::Attest).await?;
    let attestation = thief.attest(&story.trust, &challenge, &sound_findings(), now())?;
    let got = refusal(transport.attest(thief.device(), &attestation.request).await)?;
    refusals.note("a copied second secret on another phone", &got, "evidence-signature-mismatch")
}

/// Another phone with this one's second secret, keys and papers: all but the merchant key, which is bound to the hardware.
fn copied(stage: &Stage, phone: &mut Phone) -> anyhow::Result<Phone> {
    let (victim, thief) = (stage.workplace.dir.join("phones/victim"), stage.workplace.dir.join("phones/thief"));
    phone.save(&victim)?;
    std::fs::create_dir_all(&thief)?;
    for file in std::fs::read_dir(&victim)? {
        let file = file?;
        std::fs::copy(file.path(), thief.join(file.file_name()))?;
    }
    let own = data_encoding::BASE64URL_NOPAD.encode(&MerchantKey::generate()?.expose_bytes());
    std::fs::write(thief.join("merchant-key"), own)?;
    Ok(Phone::load(&thief)?)
}

/// A phone that is found with a debugger, and what becomes of its payments.
async fn payments(stage: &Stage, story: &mut Story, refusals: &mut Refusals) -> anyhow::Result<()> {
    let phone = story.phones.last_mut().context("a phone")?;
    let device = phone.device().to_string();
    let ask = json!({"device": device, "purpose": "payment"});
    let mut findings = sound_findings();
    findings.debugger = true;
    let result = stage.line.attest(&story.trust, phone, &findings).await?;
    ensure!(status(&result) == "contraindicated", "a debugger must be contraindicated");
    refusals.teller.say("A phone attests with a debugger attached: contraindicated, and suspended in the same transaction.");
    let refused = stage.backend.post("/v1/clearances", &ask).await.expect_err("it is suspended");
    refusals.note("its next clearance", &reason(&refused)?, "device-suspended")?;
    let message = serde_json::to_value(phone.pay(b"4111111111111111=3012", b"")?)?;
    let refused = stage.backend.post("/v1/dukpt/decrypt", &message).await.expect_err("it is suspended");
    refusals.note("its next payment", &reason(&refused)?, "device-suspended")?;
    stage.operator.post(&format!("/v1/devices/{device}/resume"), &json!({"reason": "cleared"})).await?;
    let refused = stage.backend.post("/v1/clearances", &ask).await.expect_err("its attestation does not count any more");
    refusals.note("resumed by an operator, not attested since: stale", &reason(&refused)?, "attestation-stale")?;

    let mut message = serde_json::to_value(phone.pay(b"4111111111111111=3012", b"")?)?;
    let cut = message.get("ciphertext").and_then(Value::as_str).context("a ciphertext")?.len() / 2;
    if let Some(Value::String(text)) = message.get_mut("ciphertext") {
        let other = if text.get(cut..=cut) == Some("A") { "B" } else { "A" };
        text.replace_range(cut..=cut, other);
    }
    let refused = stage.backend.post("/v1/dukpt/decrypt", &message).await.expect_err("one symbol is another");
    refusals.note("a payment message changed on its way", &reason(&refused)?, "mac-mismatch")
}

/// A retired phone: for the service, and for the consumer's device with the new revocation list.
async fn retirement(stage: &Stage, story: &mut Story, refusals: &mut Refusals) -> anyhow::Result<()> {
    let phone = story.phones.first_mut().context("a phone")?;
    let request = phone.payment_request(1250.try_into()?, "EUR".parse()?, now())?;
    let device = phone.device().to_string();
    stage.operator.post(&format!("/v1/devices/{device}/retire"), &json!({"reason": "lost"})).await?;
    refusals.teller.say("A phone is lost, and retired.");
    let got = refusal(stage.line.transport.device_challenge(phone.device(), Purpose::Attest).await)?;
    refusals.note("its next challenge", &got, "device-retired")?;
    let message = serde_json::to_value(phone.pay(b"4111111111111111=3012", b"")?)?;
    let refused = stage.backend.post("/v1/dukpt/decrypt", &message).await.expect_err("it is retired");
    refusals.note("its next payment", &reason(&refused)?, "device-retired")?;
    let trust = stage.line.trust().await?;
    let refused = consumer::verify(&request, &trust, &Acceptance::default(), now());
    ensure!(matches!(refused, Err(consumer::NotAccepted::Revoked)), "the consumer's device must see the revocation: {refused:?}");
    refusals.note("the consumer's device, with the new revocation list", "revoked", "revoked")?;
    let log = stage.auditor.get("/v1/audit?limit=500").await?;
    let entries = log.get("entries").and_then(Value::as_array).map_or(0, Vec::len);
    refusals.teller.good(
        &format!("every effect and every refusal is in the audit log: {entries} entries so far"),
        "append-only, in the transaction of the effect",
    );
    Ok(())
}
