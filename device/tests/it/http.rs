//! The transport against a server that says one thing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use tillward_device::http::{HttpError, Transport};
use tillward_device::json::JsonError;
use tillward_device::message::Purpose;

use crate::service::DEVICE;

/// A server that answers one request with `answer`; gives the request's bytes.
fn server(answer: Vec<u8>) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).expect("readable");
            request.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let expected = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                if body.len() >= expected.map_or(0, |length| length.parse().expect("number")) {
                    // A client that has read enough may close before everything is written.
                    let _ = stream.write_all(&answer);
                    return text;
                }
            }
        }
    });
    (url, thread)
}

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

fn transport(url: &str) -> Transport {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Transport::new(reqwest::Client::builder().no_proxy().build().expect("client"), url).expect("transport")
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_goes_to_its_path_with_its_body() {
    let (url, thread) = server(answer("200 OK\r\ncontent-type: application/json", r#"{"challenge":"x"}"#));
    let challenge = transport(&url).device_challenge(&DEVICE.parse().expect("id"), Purpose::Attest).await.expect("answered");
    assert_eq!(challenge.challenge, "x");
    let request = thread.join().expect("served");
    assert!(request.starts_with(&format!("POST /device/v1/devices/{DEVICE}/challenge HTTP/1.1\r\n")), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with(r#"{"purpose":"attest"}"#), "{request}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_problem_document_becomes_a_refusal() {
    let body = r#"{"type":"urn:tillward:problem:attestation-stale","title":"t","status":409,"reason":"attestation-stale","detail":"d","request_id":"r","challenge":"c","more":1}"#;
    let (url, thread) = server(answer("409 Conflict\r\ncontent-type: application/problem+json\r\nretry-after: 3", body));
    let error = transport(&url).parameters().await.expect_err("refused");
    let refusal = error.refusal().expect("a refusal");
    assert_eq!((refusal.status, refusal.reason.as_str(), refusal.retry_after), (409, "attestation-stale", Some(3)));
    assert_eq!((refusal.detail.as_deref(), refusal.request_id.as_deref(), refusal.challenge.as_deref()), (Some("d"), Some("r"), Some("c")));
    thread.join().expect("served");
}

#[tokio::test(flavor = "current_thread")]
async fn any_other_error_page_is_not_taken_for_a_refusal() {
    for page in [
        answer("502 Bad Gateway\r\ncontent-type: text/html", "<html>"),
        answer("403 Forbidden\r\ncontent-type: application/json", r#"{"status":403,"reason":"device-retired"}"#),
        answer("403 Forbidden\r\ncontent-type: application/problem+json", r#"{"status":404,"reason":"device-retired"}"#),
    ] {
        let (url, thread) = server(page);
        assert!(matches!(transport(&url).trust().await, Err(HttpError::Unrecognised { .. })));
        thread.join().expect("served");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn answers_have_a_limit_and_a_shape() {
    let long = format!(r#"{{"parameters":"{}"}}"#, "x".repeat(64 * 1024));
    let (url, thread) = server(answer("200 OK", &long));
    assert!(matches!(transport(&url).parameters().await, Err(HttpError::Answer(JsonError::TooLong { .. }))));
    thread.join().expect("served");
    let (url, thread) = server(answer("200 OK", r#"{"parameters":"x","more":1}"#));
    assert!(matches!(transport(&url).parameters().await, Err(HttpError::Answer(JsonError::Malformed { .. }))));
    thread.join().expect("served");
}

#[test]
fn only_http_urls_are_taken() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for bad in ["", "tillward.example", "ftp://tillward.example", "file:///etc/passwd"] {
        assert!(matches!(Transport::new(reqwest::Client::new(), bad), Err(HttpError::Url)), "{bad:?}");
    }
}
