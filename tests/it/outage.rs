//! The HSM is away, hangs, is another one, comes back: what the service does meanwhile and after.

mod hosts;
mod start;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::service::Service;

/// Longest wait for anything; what is measured has limits of its own.
const LONG: Duration = Duration::from_mins(1);

/// Waits until `seen` gives something.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut seen: impl FnMut() -> F) -> T {
    let seen = async {
        loop {
            if let Some(seen) = seen().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, seen).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// Sends it; a process that is stopped is so when this returns: until each of its threads has heard of it, one may still answer.
fn signal(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill").success());
    let stopped = || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
        threads.flatten().all(|thread| std::fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stat.contains(") T ")))
    };
    let until = Instant::now() + LONG;
    while signal == "-STOP" && !stopped() {
        assert!(Instant::now() < until, "it does not stop");
        std::thread::yield_now();
    }
}

/// The local listener's answer: status, `Retry-After`, body.
async fn local(service: &Service, path: &str) -> (u16, Option<String>, String) {
    let response = reqwest::get(format!("http://{}{path}", service.address("local"))).await.expect("the local listener answers");
    let after = response.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
    (response.status().as_u16(), after, response.text().await.expect("text"))
}

async fn readiness(service: &Service) -> (u16, Value) {
    let (status, after, body) = local(service, "/readyz").await;
    assert_eq!(after.is_some(), status == 503, "a 503 says when to ask again");
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// Waits until the service says that it is ready.
async fn ready(service: &Service) {
    until("ready", async || (readiness(service).await.0 == 200).then_some(())).await;
}

/// Waits until the service says which part is down.
async fn down(service: &Service, part: &str) -> Value {
    until(part, async || {
        let (status, body) = readiness(service).await;
        let told = status == 503 && body["part"] == part;
        if !told {
            println!("{status} {body}");
        }
        told.then_some(body)
    })
    .await
}

/// The value of a metric, by its name and labels.
async fn metric(service: &Service, name: &str) -> f64 {
    let (_, _, text) = local(service, "/metrics").await;
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.map_or(0.0, |line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
}

/// The folder with the tokens.
fn tokens(service: &Service) -> PathBuf {
    service.workplace.dir.join("tokens")
}

/// Puts an empty folder in the place of the tokens.
fn take_away(service: &Service) {
    std::fs::rename(tokens(service), service.workplace.dir.join("away")).expect("moves");
    std::fs::create_dir(tokens(service)).expect("makes");
}

fn bring_back(service: &Service) {
    std::fs::remove_dir_all(tokens(service)).expect("removes");
    std::fs::rename(service.workplace.dir.join("away"), tokens(service)).expect("moves back");
}

/// Changes the configuration's text.
fn adjust(service: &Service, from: &str, to: &str) {
    let text = std::fs::read_to_string(service.workplace.config()).expect("the configuration");
    assert!(text.contains(from), "{from}");
    std::fs::write(service.workplace.config(), text.replace(from, to)).expect("writes");
}
