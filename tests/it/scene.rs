//! A running service with everybody who talks to it: back end, operator, auditor and phones; and the audit log as it grows.

use serde_json::{Value, json};
use tillward::cli::api::{Api, Refused};
use tillward::cli::phone::{Line, now, sound_findings, status};
use tillward_device::code::ActivationCode;
use tillward_device::http::HttpError;
use tillward_device::phone::Phone;
use tillward_device::trust::Trust;

use crate::service::Service;
use crate::token::Module;

/// The scene. What is in it belongs to one run of the service: after a restart, [`Scene::again`].
pub(crate) struct Scene {
    pub(crate) service: Service,
    pub(crate) line: Line,
    pub(crate) trust: Trust,
    pub(crate) backend: Api,
    pub(crate) operator: Api,
    pub(crate) auditor: Api,
}

impl Scene {
    /// A fresh service, nothing adjusted.
    pub(crate) async fn set() -> Self {
        Self::of(Service::start()).await
    }

    /// The same on a token of that module; `None` where the module is not there.
    pub(crate) async fn set_on(module: Module) -> Option<Self> {
        Some(Self::of(Service::start_on(module, |text| text)?).await)
    }

    /// Everybody around a running service.
    pub(crate) async fn of(service: Service) -> Self {
        let line = service.line();
        let trust = line.trust().await.expect("a trust bundle");
        let (backend, operator, auditor) = (service.api("backend"), service.api("operator"), service.api("auditor"));
        Self { service, line, trust, backend, operator, auditor }
    }

    /// The same after the service was started again.
    pub(crate) async fn again(self) -> Self {
        Self::of(self.service).await
    }

    /// A phone that has enrolled for a terminal of its own.
    pub(crate) async fn phone(&self, terminal: &str, level: &str) -> Phone {
        let code = self.service.code(terminal, level).await;
        self.line.enrol(&self.trust, &code, &sound_findings()).await.expect("enrols")
    }

    /// A phone that has enrolled and is affirmed.
    pub(crate) async fn attested(&self, terminal: &str, level: &str) -> Phone {
        let mut phone = self.phone(terminal, level).await;
        self.attest(&mut phone).await;
        phone
    }

    /// A sound phone's attestation.
    pub(crate) async fn attest(&self, phone: &mut Phone) {
        let result = self.line.attest(&self.trust, phone, &sound_findings()).await.expect("attests");
        assert_eq!(status(&result), "affirming");
    }

    /// The phone pays, and the back end gets the account data back.
    pub(crate) async fn pay(&self, phone: &mut Phone, account_data: &[u8]) {
        let message = payment(phone, account_data);
        let answer = self.backend.post("/v1/dukpt/decrypt", &message).await.expect("decrypts");
        let plaintext = data_encoding::BASE64URL_NOPAD.decode(answer["plaintext"].as_str().expect("text").as_bytes()).expect("base64url");
        assert_eq!((&plaintext[..], answer["device"].as_str()), (account_data, Some(phone.device().as_str())));
    }

    /// The back end asks for a clearance.
    pub(crate) async fn clear(&self, phone: &Phone) -> anyhow::Result<Value> {
        self.backend.post("/v1/clearances", &json!({"device": phone.device(), "purpose": "payment"})).await
    }

    /// A device as the back end reads it.
    pub(crate) async fn device(&self, phone: &Phone) -> Value {
        self.backend.get(&format!("/v1/devices/{}", phone.device())).await.expect("a device")
    }

    /// The operator moves a device.
    pub(crate) async fn operate(&self, phone: &Phone, verb: &str, reason: &str) -> anyhow::Result<Value> {
        self.operator.post(&format!("/v1/devices/{}/{verb}", phone.device()), &json!({"reason": reason})).await
    }

    /// The audit log from its beginning.
    pub(crate) fn whole_trail(&self) -> Trail {
        Trail { api: self.auditor.clone(), seen: 0 }
    }

    /// The audit log from here on.
    pub(crate) async fn trail(&self) -> Trail {
        let mut trail = self.whole_trail();
        trail.news().await;
        trail
    }
}

/// The audit log, read as it grows.
pub(crate) struct Trail {
    api: Api,
    seen: u64,
}

impl Trail {
    /// What was written since the last call, one line an entry: who, what, to what, and how it ended. The numbers have no gap. What the
    /// service does of itself and in its own time, moving the mark on the token, is left out.
    pub(crate) async fn news(&mut self) -> Vec<String> {
        let entries = self.entries().await;
        let text = |entry: &Value, name: &str| entry[name].as_str().expect("text").to_owned();
        let line = |entry: &Value| {
            let caller = text(entry, "caller").replace("urn:tillward:principal:", "");
            let ended = match (entry["outcome"].as_str(), entry["reason"].as_str()) {
                (Some("effect"), None) => "done",
                (Some("refused"), Some(reason)) => reason,
                other => panic!("neither done nor refused: {other:?}"),
            };
            format!("{caller} {} {}: {ended}", text(entry, "action"), text(entry, "resource"))
        };
        entries.iter().filter(|entry| entry["caller"] != "system:derivation-ids").map(line).collect()
    }

    /// The same as they are.
    pub(crate) async fn entries(&mut self) -> Vec<Value> {
        let mut entries = Vec::new();
        loop {
            let page = self.api.get(&format!("/v1/audit?after={}&limit=500", self.seen)).await.expect("the audit log");
            let page = page["entries"].as_array().expect("entries").clone();
            if page.is_empty() {
                return entries;
            }
            for entry in &page {
                self.seen += 1;
                assert_eq!(entry["seq"].as_u64(), Some(self.seen), "the audit log has a gap");
            }
            entries.extend(page);
        }
    }
}

/// The next payment of a phone, as the back end passes it on.
pub(crate) fn payment(phone: &mut Phone, account_data: &[u8]) -> Value {
    serde_json::to_value(phone.pay(account_data, b"order 7").expect("pays")).expect("JSON")
}

/// The reason with which the device listener refuses.
pub(crate) fn refused<T>(outcome: Result<T, HttpError>) -> String {
    match outcome {
        Ok(_) => panic!("this should have been refused"),
        Err(error) => error.refusal().unwrap_or_else(|| panic!("no refusal: {error:?}")).reason.clone(),
    }
}

/// The refusal by the back-end listener.
pub(crate) fn denied<T: std::fmt::Debug>(outcome: anyhow::Result<T>) -> Refused {
    outcome.expect_err("this should have been refused").downcast().expect("a problem document")
}

/// The reason with which the back-end listener refuses.
pub(crate) fn reason<T: std::fmt::Debug>(outcome: anyhow::Result<T>) -> String {
    denied(outcome).reason
}

/// The trust bundle as it is now.
pub(crate) async fn fresh_trust(line: &Line) -> Trust {
    Trust::verify(&line.transport.trust().await.expect("a bundle"), &line.pin, now()).expect("verifies")
}

/// The public part of a code.
pub(crate) fn activation(code: &str) -> String {
    ActivationCode::parse(code).expect("a code").id().as_str().to_owned()
}
