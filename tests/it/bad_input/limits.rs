//! A service that is full, slow, half asked, or asked by nobody it knows.

use std::io::{ErrorKind, Read as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::check;
use super::raw::{self, Answer, Listener, Request};
use super::stage::{backend, id_of};
use crate::service::Service;

/// A request for a challenge: one signature in the HSM.
fn challenge_request(code: &str) -> Request {
    let activation = id_of(code);
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
    // Nothing hangs long enough to be replaced: the first request waits for its deadline.
    let service = Service::start_with(|text| limits("requests = 1")(text).replace("[hsm]\n", "[hsm]\nstuck_ms = 60000\n"));
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
        assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "no handshake, no connection");
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

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_does_not_read_is_not_waited_for() {
    let service = Service::start_with(limits("handshake_ms = 1500"));
    let phones = Listener::new(service.address("device"), &service.workplace.ca(), None);
    tokio::task::block_in_place(|| {
        let request = b"GET /device/v1/trust HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut greedy = phones.connect();
        greedy.sock.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut asked = 0;
        while greedy.write_all(request).and_then(|()| greedy.flush()).is_ok() {
            asked += 1;
        }
        // Full as it is, the connection takes no byte more until the service has closed it; then the write says so.
        while let Err(error) = greedy.sock.write(&[0]) {
            if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                break;
            }
        }
        let answers = String::from_utf8_lossy(&raw::read(&mut greedy)).matches("HTTP/1.1 200").count();
        assert!(answers < asked, "{answers} answers to {asked} requests: the connection was held");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn without_file_descriptors_the_service_waits_and_does_not_fill_its_log() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let service = Service::start();
    let code = service.code("t1", "standard").await;
    let phones = Listener::new(service.address("device"), &service.workplace.ca(), None);
    let pid = i32::try_from(service.pid()).ok().and_then(Pid::from_raw);
    let few = Rlimit { current: Some(64), maximum: Some(64) };
    let before = prlimit(pid, Resource::Nofile, few).unwrap();
    assert_eq!(before.current, before.maximum, "all that the system gives");
    tokio::task::block_in_place(|| {
        let started = Instant::now();
        let crowd: Vec<_> = (0..100).map(|_| phones.plain()).collect();
        while service.log_text().matches("accept failed").count() < 4 {
            assert!(started.elapsed() < Duration::from_mins(1), "the service does not run out of descriptors");
            std::thread::yield_now();
        }
        assert!(started.elapsed() > Duration::from_millis(500), "four failures and no pause between them");
        drop(crowd);
        assert_eq!(phones.ask(&challenge_request(&code)).status, 200);
    });
}
