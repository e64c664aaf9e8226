//! A service with everybody who may call it, and for every endpoint a request that succeeds.

use serde_json::{Value, json};
use tillward::cli::phone::{Line, now, sound_findings};
use tillward_device::message::Purpose;
use tillward_device::phone::Phone;
use tillward_device::trust::{RootPin, Trust};

use super::raw::{Listener, Request};
use crate::service::{ACQUIRER, Service};

/// One endpoint with a request that it answers with a success.
pub(super) struct Endpoint {
    pub(super) listener: Listener,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) status: u16,
}

impl Endpoint {
    pub(super) fn request(&self) -> Request {
        Request::new(self.method, &self.path, self.body.as_ref().map(|body| serde_json::to_vec(body).unwrap()))
    }
}

/// A service with a phone, and the listeners as everybody who may call them.
pub(super) struct Stage {
    pub(super) service: Service,
    line: Line,
    trust: Trust,
    pub(super) phone: Phone,
    /// An open code for `t2`.
    pub(super) code: String,
    /// An open code for `t6`, to be taken back.
    unwanted: String,
}

impl Stage {
    pub(super) async fn set() -> Self {
        let mut service = Service::start();
        assert!(service.stop().success());
        service.restart_with(&["--log", "debug"]);
        let line = Line::open(&service.device_url(), &service.workplace.ca(), RootPin(service.root_pin())).unwrap();
        let trust = line.trust().await.unwrap();
        let mut phone = line.enrol(&trust, &service.code("t1", "standard").await, &sound_findings()).await.unwrap();
        line.attest(&trust, &mut phone, &sound_findings()).await.unwrap();
        let code = service.code("t2", "standard").await;
        service.code("t3", "standard").await;
        let unwanted = service.code("t6", "standard").await;
        Self { service, line, trust, phone, code, unwanted }
    }

    pub(super) fn phones(&self) -> Listener {
        Listener::new(self.service.address("device"), &self.service.workplace.ca(), None)
    }

    pub(super) fn backend(&self, role: &str) -> Listener {
        backend(&self.service, role)
    }

    pub(super) async fn attestation(&self) -> Value {
        let challenge = self.line.transport.device_challenge(self.phone.device(), Purpose::Attest).await.unwrap();
        let answer = self.phone.attest(&self.trust, &challenge, &sound_findings(), now()).unwrap();
        serde_json::to_value(&answer.request).unwrap()
    }

    pub(super) async fn renewal(&self) -> Value {
        let challenge = self.line.transport.device_challenge(self.phone.device(), Purpose::Renew).await.unwrap();
        serde_json::to_value(self.phone.renew(&self.trust, &challenge, now()).unwrap()).unwrap()
    }

    /// Every endpoint, in an order in which all of them succeed.
    pub(super) async fn endpoints(&mut self) -> Vec<Endpoint> {
        let device = self.phone.device().to_string();
        let pending = self.line.prepare(&self.trust, &self.code, &sound_findings()).await.unwrap();
        let payment = serde_json::to_value(self.phone.pay(b"4111111111111111=3012", b"EUR 12.50").unwrap()).unwrap();
        let (activation, unwanted) = (id_of(&self.code), id_of(&self.unwanted));
        let (attestation, renewal) = (self.attestation().await, self.renewal().await);
        let (phones, operator, backend) = (self.phones(), self.backend("operator"), self.backend("backend"));
        let auditor = self.backend("auditor");
        let at = |listener: &Listener, method, path: &str, body: Option<Value>, status| Endpoint {
            listener: listener.clone(),
            method,
            path: path.to_owned(),
            body,
            status,
        };
        // Registered now: with any other content it is refused from here on.
        let terminal =
            json!({"merchant": "m1", "level": "standard", "configuration": {"currency": "EUR", "lines": {"copies": 2, "print": true}}});
        self.service.api("backend").put("/v1/terminals/t5", &terminal).await.unwrap();
        let of_device = |verb: &str| format!("/v1/devices/{device}/{verb}");
        let reason = |reason: &str| Some(json!({"reason": reason}));
        let clearance = json!({"device": device, "purpose": "payment"});
        vec![
            at(&phones, "GET", "/device/v1/trust", None, 200),
            at(&phones, "GET", "/device/v1/crl", None, 200),
            at(&phones, "GET", "/device/v1/enrolment/parameters", None, 200),
            at(&phones, "GET", "/device/v2/enrolment/parameters", None, 200),
            at(&phones, "POST", "/device/v1/enrolment/challenge", Some(json!({"activation": activation})), 200),
            at(&phones, "POST", &format!("/device/v1/devices/{device}/challenge"), Some(json!({"purpose": "attest"})), 200),
            at(&phones, "POST", &format!("/device/v1/devices/{device}/attestation"), Some(attestation), 200),
            at(&phones, "POST", &format!("/device/v1/devices/{device}/certificate"), Some(renewal), 200),
            at(&backend, "PUT", "/v1/merchants/m1", Some(json!({"acquirer": ACQUIRER, "name": "Merchant"})), 200),
            at(&backend, "GET", "/v1/merchants/m1", None, 200),
            at(&backend, "PUT", "/v1/terminals/t5", Some(terminal), 200),
            at(&backend, "GET", "/v1/terminals/t1", None, 200),
            at(&backend, "GET", &format!("/v1/activations/{activation}"), None, 200),
            at(&backend, "DELETE", &format!("/v1/activations/{unwanted}"), None, 200),
            at(&phones, "POST", "/device/v1/enrolment", Some(serde_json::to_value(pending.request()).unwrap()), 200),
            at(&backend, "POST", "/v1/activations", Some(json!({"terminal": "t3"})), 201),
            at(&backend, "GET", "/v1/devices", None, 200),
            at(&backend, "GET", &format!("/v1/devices/{device}"), None, 200),
            at(&backend, "POST", "/v1/clearances", Some(clearance), 201),
            at(&backend, "POST", "/v1/dukpt/verify-mac", Some(mac_of(&payment)), 200),
            at(&backend, "POST", "/v1/dukpt/decrypt", Some(payment), 200),
            at(&auditor, "GET", "/v1/audit", None, 200),
            at(&auditor, "GET", "/v1/hsm/keys", None, 200),
            at(&auditor, "GET", "/v1/keys", None, 200),
            at(&auditor, "GET", "/v1/keys/issuing-ca", None, 200),
            at(&auditor, "GET", "/v1/hsm", None, 200),
            at(&auditor, "GET", "/v1/openapi.json", None, 200),
            at(&operator, "POST", &of_device("suspend"), reason("investigation"), 200),
            at(&operator, "POST", &of_device("resume"), reason("cleared"), 200),
            at(&operator, "POST", &of_device("retire"), reason("lost"), 200),
            at(&operator, "POST", "/v1/terminals/t2/replace", reason("stolen"), 201),
        ]
    }
}

pub(super) fn backend(service: &Service, role: &str) -> Listener {
    let tls = service.workplace.dir.join("tls");
    let (certificate, key) = (tls.join(format!("{role}.pem")), tls.join(format!("{role}-key.pem")));
    Listener::new(service.address("backend"), &service.workplace.ca(), Some((&certificate, &key)))
}

/// The public part of a code.
pub(super) fn id_of(code: &str) -> String {
    code.replace('-', "")[..7].to_owned()
}

/// The MAC of a payment message (docs/protocol.md §7), as a MAC over data.
fn mac_of(payment: &Value) -> Value {
    let base64 = data_encoding::BASE64URL_NOPAD;
    let bytes = |name: &str| base64.decode(payment[name].as_str().unwrap().as_bytes()).unwrap();
    let ksn = data_encoding::HEXUPPER.decode(payment["ksn"].as_str().unwrap().as_bytes()).unwrap();
    let length = u32::try_from(bytes("aad").len()).unwrap().to_be_bytes();
    let data = [ksn, bytes("iv"), length.to_vec(), bytes("aad"), bytes("ciphertext")].concat();
    json!({"ksn": payment["ksn"], "data": base64.encode(&data), "mac": payment["mac"]})
}
