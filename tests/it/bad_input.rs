//! Bad input on every endpoint: a 4xx problem document, never a 5xx, never a log line with the input in it, and nothing is lost.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod limits;
mod mutate;
mod raw;
mod stage;

use std::io::{Read as _, Write as _};
use std::process::Command;

use serde_json::{Value, json};

use crate::service::Service;
use mutate::MARKER;
use raw::{Answer, Listener, Request};
use stage::{Endpoint, Stage, id_of};

/// Every method of every route of a router's source, as `METHOD /path`.
fn routes(source: &str) -> Vec<String> {
    let lines = source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")?.split_once("\", "));
    lines
        .flat_map(|(path, handlers)| {
            let methods = ["get", "post", "put", "delete"].into_iter().filter(|method| handlers.contains(&format!("{method}(")));
            methods.map(|method| format!("{} {path}", method.to_ascii_uppercase())).collect::<Vec<_>>()
        })
        .collect()
}

/// Where a body that is well-formed is never wrong (any message can be signed), or fails item by item: schemathesis sends these what is bad.
const ELSEWHERE: [&str; 5] = ["kms", "keys", "key-sets", "plans", "policies"];

/// The same of the back-end listener: its routes are those of its document.
fn documented() -> Vec<String> {
    let document: Value = serde_json::from_str(&tillward::http::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().iter();
        let here = methods.filter(|(_, operation)| !ELSEWHERE.contains(&operation["tags"][0].as_str().unwrap()));
        here.map(|(method, _)| format!("{} {path}", method.to_ascii_uppercase())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

/// Whether a path is one of a route's.
fn is_of(path: &str, route: &str) -> bool {
    let (path, route): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), route.split('/').collect());
    path.len() == route.len() && path.iter().zip(route).all(|(segment, named)| named.starts_with('{') || *segment == named)
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
    if endpoint.path.starts_with("/v1/") {
        for query in ["hunter2marker=1", "dry-run=true", "dry_run%00=true", "=", "%ff"] {
            assert_eq!(ask(endpoint.method, &format!("{}?{query}", endpoint.path), body.clone()).reason(), "malformed", "{query}");
        }
    }
    if ["/v1/devices", "/v1/audit"].contains(&endpoint.path.as_str()) {
        for query in [
            "limit=0",
            "limit=-1",
            "limit=501",
            "limit=4294967296",
            "limit=1e2",
            "limit=",
            "limit=hunter2marker",
            "limit=1&limit=1",
            "hunter2marker=1",
            "after=hunter2marker",
            "after=-1",
            "after=99999999999999999999",
            "limit=%ff",
            "limit=1%00",
            "=",
            "limit",
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
    let _ = plain.read_to_end(&mut answer);
    assert!(!holds(&answer) && !answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    assert!(listener.connect_as("hunter2marker.example").is_err());
    drop(listener.plain());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_in_one_form_and_never_repeated_and_nothing_is_lost() {
    let mut stage = Stage::set().await;
    let pid = stage.service.pid();
    let endpoints = stage.endpoints().await;
    let routes = [routes(include_str!("../../src/http/device.rs")), documented()].concat();
    for route in routes {
        let (method, route) = route.split_once(' ').unwrap();
        assert!(
            endpoints.iter().any(|endpoint| endpoint.method == method && is_of(&endpoint.path, route)),
            "{method} {route} is not in the table"
        );
    }
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
    let activation = id_of(&stage.code);
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
