//! Bad input on every endpoint: a 4xx problem document, never a 5xx, never a log line with the input in it, and nothing is lost.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod mutate;
mod raw;

use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};
use tillward::cli::phone::{Line, sound_findings};
use tillward_device::message::Purpose;
use tillward_device::phone::Phone;
use tillward_device::trust::{RootPin, Trust};

use crate::service::{ACQUIRER, Service};
use mutate::MARKER;
use raw::{Answer, Listener, Request};

/// One endpoint with a request that it answers with a success.
struct Endpoint {
    listener: Listener,
    method: &'static str,
    path: String,
    body: Option<Value>,
    status: u16,
}

impl Endpoint {
    fn request(&self) -> Request {
        Request::new(self.method, &self.path, self.body.as_ref().map(|body| serde_json::to_vec(body).unwrap()))
    }
}

/// A service with a phone, and the listeners as everybody who may call them.
struct Stage {
    service: Service,
    line: Line,
    trust: Trust,
    phone: Phone,
    code: String,
}

impl Stage {
    async fn set() -> Self {
        let mut service = Service::start();
        assert!(service.stop().success());
        service.restart_with(&["--log", "debug"]);
        let line = Line::open(&service.device_url(), &service.workplace.ca(), RootPin(service.root_pin())).unwrap();
        let trust = line.trust().await.unwrap();
        let mut phone = line.enrol(&trust, &service.code("t1", "standard").await, &sound_findings()).await.unwrap();
        line.attest(&trust, &mut phone, &sound_findings()).await.unwrap();
        let code = service.code("t2", "standard").await;
        service.code("t3", "standard").await;
        Self { service, line, trust, phone, code }
    }

    fn phones(&self) -> Listener {
        Listener::new(self.service.address("device"), &self.service.workplace.ca(), None)
    }

    fn backend(&self, role: &str) -> Listener {
        backend(&self.service, role)
    }

    async fn attestation(&self) -> Value {
        let challenge = self.line.transport.device_challenge(self.phone.device(), Purpose::Attest).await.unwrap();
        let answer = self.phone.attest(&self.trust, &challenge, &sound_findings(), tillward::cli::phone::now()).unwrap();
        serde_json::to_value(&answer.request).unwrap()
    }

    async fn renewal(&self) -> Value {
        let challenge = self.line.transport.device_challenge(self.phone.device(), Purpose::Renew).await.unwrap();
        serde_json::to_value(self.phone.renew(&self.trust, &challenge, tillward::cli::phone::now()).unwrap()).unwrap()
    }

    /// Every endpoint, in an order in which all of them succeed.
    async fn endpoints(&mut self) -> Vec<Endpoint> {
        let device = self.phone.device().to_string();
        let pending = self.line.prepare(&self.trust, &self.code, &sound_findings()).await.unwrap();
        let payment = serde_json::to_value(self.phone.pay(b"4111111111111111=3012", b"EUR 12.50").unwrap()).unwrap();
        let activation = self.code.replace('-', "")[..7].to_owned();
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
        let terminal = json!({"merchant": "m1", "level": "standard", "configuration": {"currency": "EUR", "lines": {"copies": 2, "print": true}}});
        self.service.api("backend").put("/v1/terminals/t5", &terminal).await.unwrap();
        let of_device = |verb: &str| format!("/v1/devices/{device}/{verb}");
        let reason = |reason: &str| Some(json!({"reason": reason}));
        let clearance = json!({"device": device, "purpose": "payment"});
        vec![
            at(&phones, "GET", "/device/v1/trust", None, 200),
            at(&phones, "GET", "/device/v1/crl", None, 200),
            at(&phones, "GET", "/device/v1/enrolment/parameters", None, 200),
            at(&phones, "POST", "/device/v1/enrolment/challenge", Some(json!({"activation": activation})), 200),
            at(&phones, "POST", &format!("/device/v1/devices/{device}/challenge"), Some(json!({"purpose": "attest"})), 200),
            at(&phones, "POST", &format!("/device/v1/devices/{device}/attestation"), Some(attestation), 200),
            at(&phones, "POST", &format!("/device/v1/devices/{device}/certificate"), Some(renewal), 200),
            at(&backend, "PUT", "/v1/merchants/m1", Some(json!({"acquirer": ACQUIRER, "name": "Merchant"})), 200),
            at(&backend, "GET", "/v1/merchants/m1", None, 200),
            at(&backend, "PUT", "/v1/terminals/t5", Some(terminal), 200),
            at(&backend, "GET", "/v1/terminals/t1", None, 200),
            at(&backend, "GET", &format!("/v1/activations/{activation}"), None, 200),
            at(&phones, "POST", "/device/v1/enrolment", Some(serde_json::to_value(pending.request()).unwrap()), 200),
            at(&backend, "POST", "/v1/activations", Some(json!({"terminal": "t3"})), 201),
            at(&backend, "GET", "/v1/devices", None, 200),
            at(&backend, "GET", &format!("/v1/devices/{device}"), None, 200),
            at(&backend, "POST", "/v1/clearances", Some(clearance), 201),
            at(&backend, "POST", "/v1/dukpt/verify-mac", Some(mac_of(&payment)), 200),
            at(&backend, "POST", "/v1/dukpt/decrypt", Some(payment), 200),
            at(&auditor, "GET", "/v1/audit", None, 200),
            at(&auditor, "GET", "/v1/keys", None, 200),
            at(&operator, "POST", &of_device("suspend"), reason("investigation"), 200),
            at(&operator, "POST", &of_device("resume"), reason("cleared"), 200),
            at(&operator, "POST", &of_device("retire"), reason("lost"), 200),
            at(&operator, "POST", "/v1/terminals/t2/replace", reason("stolen"), 201),
        ]
    }
}

fn backend(service: &Service, role: &str) -> Listener {
    let tls = service.workplace.dir.join("tls");
    let (certificate, key) = (tls.join(format!("{role}.pem")), tls.join(format!("{role}-key.pem")));
    Listener::new(service.address("backend"), &service.workplace.ca(), Some((&certificate, &key)))
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

/// A 4xx problem document that is whole, and in which nothing of the request stands.
fn check(name: &str, answer: &Answer) {
    let shown = String::from_utf8_lossy(&answer.raw);
    assert!((400..500).contains(&answer.status), "{name}: {shown}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}: {shown}");
    let document = answer.json();
    let reason = document["reason"].as_str().unwrap_or_else(|| panic!("{name}: {shown}"));
    assert_eq!(document["type"], format!("urn:tillward:problem:{reason}"), "{name}");
    assert_eq!(document["status"], answer.status, "{name}");
    assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{name}");
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{name}: {shown}");
    assert_eq!(document["request_id"].as_str(), answer.header("x-request-id"), "{name}");
    let known = ["type", "title", "status", "reason", "detail", "request_id", "challenge"];
    assert!(document.as_object().unwrap().keys().all(|member| known.contains(&member.as_str())), "{name}: {shown}");
    assert!(!holds(&answer.raw), "{name}: the answer repeats the input: {shown}");
}

/// Whether the marker stands in it, in any case.
fn holds(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).to_ascii_lowercase().contains(MARKER)
}

/// Sends what is wrong with an endpoint's body, and with how it is sent.
fn bodies(endpoint: &Endpoint, good: &Value, count: &mut usize) {
    let (method, path) = (endpoint.method, endpoint.path.as_str());
    let mut ask = |what: &str, request: &Request| {
        *count += 1;
        let answer = endpoint.listener.ask(request);
        check(&format!("{method} {path}: {what}"), &answer);
        answer.reason()
    };
    for bad in mutate::malformed(good) {
        let reason = ask(&bad.name, &Request::new(method, path, Some(bad.body)));
        assert_eq!(reason, "malformed", "{method} {path}: {}", bad.name);
    }
    let text = serde_json::to_vec(good).unwrap();
    let long = [&text[..], &vec![b' '; 64 * 1024 + 1 - text.len()]].concat();
    assert_eq!(ask("too long", &Request::new(method, path, Some(long))), "too-large");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json5", "application/jsonhunter2marker", "", "*/*"] {
        let mut request = Request::new(method, path, Some(text.clone()));
        request.headers[0].1 = kind.into();
        assert_eq!(ask(kind, &request), "unsupported-media-type", "{kind}");
    }
    let mut request = Request::new(method, path, Some(text.clone()));
    request.headers[0].1 = b"application/\xFF\xFEhunter2marker".to_vec();
    assert_eq!(ask("a media type in bytes", &request), "unsupported-media-type");
    request.headers.clear();
    assert_eq!(ask("no media type", &request), "unsupported-media-type");
    assert_eq!(ask("no body", &Request { headers: Vec::new(), ..Request::new(method, path, None) }), "unsupported-media-type");
}

/// Wrong methods, paths and queries.
fn heads(endpoint: &Endpoint, count: &mut usize) {
    let body = endpoint.body.as_ref().map(|body| serde_json::to_vec(body).unwrap());
    let mut ask = |method: &'static str, path: &str, body: Option<Vec<u8>>| {
        *count += 1;
        let answer = endpoint.listener.ask(&Request::new(method, path, body));
        check(&format!("{method} {}", path.get(..80).unwrap_or(path)), &answer);
        answer
    };
    for method in ["PATCH", "OPTIONS", "TRACE", "HUNTER2MARKER"] {
        let answer = ask(method, &endpoint.path, None);
        assert_eq!((answer.status, answer.reason().as_str()), (405, "method-not-allowed"), "{method}");
        assert!(answer.header("allow").is_some_and(|allow| allow.contains(endpoint.method)), "{method}");
    }
    for (at, segment) in endpoint.path.match_indices('/').map(|(at, _)| (at + 1, &endpoint.path[at + 1..])) {
        let end = segment.find('/').map_or(endpoint.path.len(), |length| at + length);
        for wrong in [
            MARKER,
            "%00",
            "%2e%2e%2f%2e%2e%2fhunter2marker",
            "..",
            ".",
            "%ff%fehunter2marker",
            "%F0%9F%92%B3",
            "hunter2marker%0d%0aX-Injected:%201",
            "'%20OR%20'1'='1",
            "%zz",
            "{device}",
            "",
            "dev_hunter2markerhunter2marker1",
        ] {
            // A back end chooses the ids of merchants and terminals: there, these are none.
            if endpoint.method == "PUT" && wrong.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && end == endpoint.path.len() {
                continue;
            }
            let path = format!("{}{wrong}{}", &endpoint.path[..at], &endpoint.path[end..]);
            ask(endpoint.method, &path, body.clone());
        }
        let long = format!("{}{}{}", &endpoint.path[..at], MARKER.repeat(1_000), &endpoint.path[end..]);
        ask(endpoint.method, &long, body.clone());
    }
    for path in [format!("{}/", endpoint.path), format!("{}/{MARKER}", endpoint.path), format!("/{}", endpoint.path)] {
        assert!(matches!(ask(endpoint.method, &path, body.clone()).status, 404 | 405), "{path}");
    }
    if ["/v1/devices", "/v1/audit"].contains(&endpoint.path.as_str()) {
        for query in [
            "limit=0", "limit=-1", "limit=501", "limit=4294967296", "limit=1e2", "limit=", "limit=hunter2marker", "limit=1&limit=1",
            "hunter2marker=1", "after=hunter2marker", "after=-1", "after=99999999999999999999", "limit=%ff", "limit=1%00", "=", "limit",
        ] {
            assert_eq!(ask("GET", &format!("{}?{query}", endpoint.path), None).reason(), "malformed", "{query}");
        }
    }
}

/// What is no request, or not yet one: answered in whatever way, or not at all, and without an echo.
fn noise(listener: &Listener, count: &mut usize) {
    let head = |rest: &str| format!("POST /device/v1/enrolment/challenge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{rest}");
    let json = "Content-Type: application/json\r\n";
    let many = "X-Hunter2marker: hunter2marker\r\n".repeat(2_000);
    let long = format!("X-Long: {}\r\n\r\n", MARKER.repeat(20_000));
    for bytes in [
        MARKER.to_owned(),
        "\0\0\0hunter2marker\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nhunter2marker".to_owned(),
        "GET /hunter2marker HTTP/9.9\r\n\r\n".to_owned(),
        "GET /hunter2marker\r\n\r\n".to_owned(),
        "CONNECT hunter2marker:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: hunter2marker\r\nConnection: close\r\n\r\n".to_owned(),
        "GET http://hunter2marker/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhunter2marker\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nX y: hunter2marker\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", MARKER.repeat(20_000)),
        head(&format!("{many}\r\n")),
        head(&long),
        head(&format!("{json}Content-Length: hunter2marker\r\n\r\n")),
        head(&format!("{json}Content-Length: -1\r\n\r\n")),
        head(&format!("{json}Content-Length: 2\r\nContent-Length: 13\r\n\r\nhunter2marker")),
        head(&format!("{json}Content-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\nhunter2marker")),
        head(&format!("{json}Transfer-Encoding: chunked\r\n\r\nhunter2marker\r\n\r\n")),
        head(&format!("{json}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nhunter2marker\r\n0\r\n\r\n")),
        head(&format!("{json}Transfer-Encoding: chunked\r\n\r\nD\r\nhunter2marker\r\n0\r\n\r\n")),
        head(&format!("{json}Transfer-Encoding: hunter2marker\r\n\r\nhunter2marker")),
        head(&format!("{json}Content-Encoding: gzip\r\nContent-Length: 13\r\n\r\nhunter2marker")),
        head(&format!("{json}Upgrade: hunter2marker\r\nContent-Length: 13\r\n\r\nhunter2marker")),
        head(&format!("{json}Expect: hunter2marker\r\nContent-Length: 13\r\n\r\nhunter2marker")),
    ] {
        *count += 1;
        let raw = listener.send(bytes.as_bytes());
        let shown = bytes.get(..100).unwrap_or(&bytes);
        assert!(!holds(&raw), "{shown}: {}", String::from_utf8_lossy(&raw));
        // Closed, or a 4xx: a whole problem document, or the parser's bare one. (505 is the parser's word for another HTTP.)
        let Some(answer) = Answer::parse(&raw) else {
            assert!(raw.is_empty(), "{shown}: {}", String::from_utf8_lossy(&raw));
            continue;
        };
        if answer.body.is_empty() {
            assert!(matches!(answer.status, 400 | 414 | 431), "{shown}: {}", String::from_utf8_lossy(&raw));
        } else {
            check(shown, &answer);
        }
    }
    // Half a request, then away.
    for bytes in ["POST /hunter2mar", &head(&format!("{json}Content-Length: 100\r\n\r\n{{\"hunter2marker\":"))] {
        let mut stream = listener.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.flush().unwrap();
    }
    // HTTP without TLS, a server name that is not ours, no handshake at all.
    let mut plain = listener.plain();
    plain.write_all(b"GET /hunter2marker HTTP/1.1\r\nHost: hunter2marker\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(!holds(&answer) && !answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    assert!(listener.connect_as("hunter2marker.example").is_err());
    drop(listener.plain());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_in_one_form_and_never_repeated_and_nothing_is_lost() {
    let mut stage = Stage::set().await;
    let pid = stage.service.pid();
    let endpoints = stage.endpoints().await;
    let again = (stage.attestation().await, stage.renewal().await);
    let mut count = 0;
    tokio::task::block_in_place(|| {
        for endpoint in &endpoints {
            heads(endpoint, &mut count);
            if let Some(good) = &endpoint.body {
                bodies(endpoint, good, &mut count);
                // What is well-formed and wrong uses a challenge up: these have one of their own.
                let victim = match endpoint.path.rsplit('/').next() {
                    Some("attestation") => &again.0,
                    Some("certificate") => &again.1,
                    // A wrong value may be the name of another merchant or terminal: those that exist are not touched.
                    _ => good,
                };
                for bad in mutate::garbled(victim) {
                    count += 1;
                    let answer = endpoint.listener.ask(&Request::new(endpoint.method, &endpoint.path, Some(bad.body)));
                    check(&format!("{} {}: {}", endpoint.method, endpoint.path, bad.name), &answer);
                }
            }
        }
        for listener in [stage.phones(), stage.backend("backend")] {
            noise(&listener, &mut count);
        }
    });
    assert!(count > 2_000, "only {count} bad requests were sent");

    // Nothing is lost: no try was counted, and everything still does what it does.
    let activation = stage.code.replace('-', "")[..7].to_owned();
    let shown = stage.service.api("backend").get(&format!("/v1/activations/{activation}")).await.unwrap();
    assert_eq!((&shown["wrong_tries"], &shown["state"]), (&json!(0), &json!("open")));
    let device = stage.service.api("backend").get(&format!("/v1/devices/{}", stage.phone.device())).await.unwrap();
    assert_eq!(device["state"], "active");
    tokio::task::block_in_place(|| {
        for endpoint in &endpoints {
            let answer = endpoint.listener.ask(&endpoint.request());
            let shown = String::from_utf8_lossy(&answer.raw);
            assert_eq!(answer.status, endpoint.status, "{} {}: {shown}", endpoint.method, endpoint.path);
        }
    });
    assert_eq!(stage.service.pid(), pid);
    assert!(Command::new("kill").args(["-0", &pid.to_string()]).status().unwrap().success(), "the service has ended");
    let metrics = reqwest::get(format!("http://{}/metrics", stage.service.address("local"))).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("status=\"400\"") && !metrics.contains("status=\"5"), "{metrics}");
    assert!(!holds(metrics.as_bytes()), "{metrics}");
    read_to_the_end(&stage.service).await;

    assert!(stage.service.stop().success());
    let log = stage.service.log_text();
    assert!(log.contains("\"DEBUG\""), "the log is at debug level");
    for line in log.lines() {
        assert!(!holds(line.as_bytes()), "the log repeats the input: {line}");
        assert!(!line.contains("panic") && !line.contains("\"ERROR\""), "{line}");
        assert!(!line.contains("\"status\":5"), "{line}");
    }
}

/// The audit log, page by page: without a gap, and without a text that is not an id.
async fn read_to_the_end(service: &Service) {
    let api = service.api("auditor");
    let mut last = 0;
    loop {
        let page = api.get(&format!("/v1/audit?after={last}&limit=500")).await.unwrap();
        let entries = page["entries"].as_array().unwrap();
        for entry in entries {
            last += 1;
            assert_eq!(entry["seq"], last, "{entry}");
        }
        if entries.len() < 500 {
            break;
        }
    }
    assert!(last > 50, "only {last} entries");
}

#[test]
fn the_check_sees_an_echo_a_5xx_and_an_answer_that_is_no_problem_document() {
    let answer = |status: u16, kind: &str, detail: &str| {
        let body = json!({
            "type": "urn:tillward:problem:malformed", "title": "t", "status": status, "reason": "malformed", "request_id": "r", "detail": detail,
        });
        let text = format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nX-Request-Id: r\r\n\r\n{body}");
        Answer::parse(text.as_bytes()).expect("an answer")
    };
    let passes = |answer: &Answer| std::panic::catch_unwind(|| check("made up", answer)).is_ok();
    assert!(passes(&answer(400, "application/problem+json", "name: 1 to 100 printable characters")));
    assert!(!passes(&answer(400, "application/problem+json", "name: Hunter2Marker is not one")));
    assert!(!passes(&answer(500, "application/problem+json", "")));
    assert!(!passes(&answer(200, "application/problem+json", "")));
    assert!(!passes(&answer(400, "application/json", "")));
    let mut other_id = answer(400, "application/problem+json", "");
    other_id.headers.retain(|(name, _)| name != "x-request-id");
    assert!(!passes(&other_id));
}

/// A request for a challenge: one signature in the HSM.
fn challenge_request(code: &str) -> Request {
    let activation = &code.replace('-', "")[..7];
    let body = serde_json::to_vec(&json!({"activation": activation})).unwrap();
    Request::new("POST", "/device/v1/enrolment/challenge", Some(body))
}

/// The HSM host stops answering. It is a child of the service.
fn freeze_host(service: &Service) {
    let children = std::fs::read_dir(format!("/proc/{}/task", service.pid())).unwrap();
    let hosts: Vec<String> = children
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok())
        .flat_map(|ids| ids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(hosts.len(), 1, "one HSM host");
    assert!(Command::new("kill").args(["-STOP", &hosts[0]]).status().unwrap().success());
}

fn limits(text: &str) -> impl FnOnce(String) -> String + '_ {
    move |config| config.replace("[attestation]", &format!("[limits]\n{text}\n\n[attestation]"))
}

/// Sends both, then reads both; the answers by reason.
fn at_once(listener: &Listener, request: &Request) -> Vec<Answer> {
    let mut streams = [listener.connect(), listener.connect()];
    for stream in &mut streams {
        stream.write_all(&request.bytes()).unwrap();
        stream.flush().unwrap();
    }
    let mut answers: Vec<Answer> = streams.iter_mut().map(|stream| Answer::parse(&raw::read(stream)).expect("an answer")).collect();
    answers.sort_by_key(Answer::reason);
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_no_place_left_says_so_at_once_and_when_to_ask_again() {
    let service = Service::start_with(limits("requests = 1"));
    let code = service.code("t1", "standard").await;
    let phones = Listener::new(service.address("device"), &service.workplace.ca(), None);
    freeze_host(&service);
    let answers = tokio::task::block_in_place(|| at_once(&phones, &challenge_request(&code)));
    let reasons: Vec<String> = answers.iter().map(Answer::reason).collect();
    assert_eq!(reasons, ["busy", "hsm-unavailable"]);
    for answer in &answers {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["request_id"].as_str(), answer.header("x-request-id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_takes_too_long_is_a_503_and_not_the_callers_fault() {
    let service = Service::start_with(limits("request_ms = 300"));
    let code = service.code("t1", "standard").await;
    let phones = Listener::new(service.address("device"), &service.workplace.ca(), None);
    freeze_host(&service);
    let answer = tokio::task::block_in_place(|| phones.ask(&challenge_request(&code)));
    assert_eq!((answer.status, answer.reason().as_str(), answer.header("retry-after")), (503, "timed-out", Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_takes_no_place_and_ends_in_time() {
    let service = Service::start_with(limits("requests = 1\nhandshake_ms = 1500"));
    let code = service.code("t1", "standard").await;
    let phones = Listener::new(service.address("device"), &service.workplace.ca(), None);
    tokio::task::block_in_place(|| {
        let whole = challenge_request(&code).bytes();
        let mut slow_body = phones.connect();
        slow_body.write_all(&whole[..whole.len() - 5]).unwrap();
        let mut slow_head = phones.connect();
        slow_head.write_all(&whole[..20]).unwrap();
        let mut silent = phones.plain();
        assert_eq!(phones.ask(&challenge_request(&code)).status, 200, "somebody else is served meanwhile");
        let answer = Answer::parse(&raw::read(&mut slow_body)).expect("an answer");
        check("half a body", &answer);
        assert_eq!((answer.status, answer.reason().as_str()), (408, "request-timeout"));
        assert!(raw::read(&mut slow_head).is_empty(), "half a head is no request");
        assert_eq!(std::io::Read::read(&mut silent, &mut [0; 1]).unwrap(), 0, "no handshake, no connection");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_names_nobody_here_learns_nothing() {
    let nobody = "\n[[principal]]\nuri = \"urn:tillward:principal:officer\"\nrole = \"officer\"\nacquirers = [\"example-bank\"]\n";
    let service = Service::start_with(|text| {
        assert!(text.contains(nobody));
        text.replace(nobody, "")
    });
    service.code("t1", "standard").await;
    let officer = backend(&service, "officer");
    tokio::task::block_in_place(|| {
        for (method, path) in [
            ("GET", "/v1/merchants/m1"),
            ("GET", "/v1/merchants/m2"),
            ("GET", "/v1/hunter2marker"),
            ("GET", "/v1/activations"),
            ("POST", "/v1/dukpt/decrypt"),
        ] {
            let answer = officer.ask(&Request::new(method, path, None));
            check(path, &answer);
            assert_eq!((answer.status, answer.reason().as_str()), (403, "not-permitted"), "{method} {path}");
        }
        let nobody = Listener::new(service.address("backend"), &service.workplace.ca(), None);
        let mut stream = nobody.connect();
        let _ = stream.write_all(b"GET /v1/merchants/m1 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(raw::read(&mut stream).is_empty(), "without a client certificate there is no HTTP");
    });
}
