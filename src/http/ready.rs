//! Readiness: a real signature with a real key, verified, and a database that answers. Looked at once a second at most, whoever asks how often.

use std::time::{Duration, Instant};

use serde::Serialize;
use tillward_hsm::{BreakerState, Finding, HsmError, HsmView};
use tokio::sync::Mutex;

use crate::service::Service;

/// A look holds for so long.
const FRESH: Duration = Duration::from_secs(1);
/// The signature has to be there within this.
const PATIENCE: Duration = Duration::from_secs(1);

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    hsm: &'static str,
    store: &'static str,
    /// The part that is down: `module`, `token`, `pin`, `keys`, `self-test`, `host`, `breaker`, `canary`, `binding`, `store`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Policies or officers on the disk that nobody approved. The service serves by the old ones: who writes a file is not to stop it.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_in_force: Option<String>,
}

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Report)>>);

impl Readiness {
    /// The last look, if it is fresh; else a new one. One looks, the others wait for it.
    pub(super) async fn report(&self, service: &Service) -> Report {
        let mut last = self.0.lock().await;
        if let Some((at, report)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let report = look(service).await;
        *last = Some((Instant::now(), report.clone()));
        report
    }
}

async fn look(service: &Service) -> Report {
    let canary = async { tokio::time::timeout(PATIENCE, service.hsm.canary()).await.unwrap_or(Err(HsmError::Deadline)) };
    let (canary, store) = tokio::join!(canary, service.store.ping());
    let down = match (&canary, &store, service.why_not()) {
        (Err(error), ..) => Some(hsm_part(error, &service.hsm.view())),
        (Ok(()), Err(error), _) => Some(("store", error.to_string())),
        (Ok(()), Ok(()), Some(trouble)) => Some(("binding", trouble)),
        (Ok(()), Ok(()), None) => None,
    };
    let word = |up: bool| if up { "up" } else { "down" };
    let (part, detail) = down.unzip();
    let officers = service.app().ok().and_then(|app| app.officers.trouble()).map(|trouble| format!("officers: {trouble}"));
    let policies = service.policies.standing().trouble.map(|trouble| format!("policies: {trouble}"));
    let not_in_force = [policies, officers].into_iter().flatten().reduce(|one, other| format!("{one}; {other}"));
    Report { hsm: word(canary.is_ok()), store: word(store.is_ok()), part, detail, not_in_force }
}

/// Which part of the HSM it is. A host that says what it lacks is believed before one that is not there.
fn hsm_part(error: &HsmError, view: &HsmView) -> (&'static str, String) {
    if let Some(problem) = view.hosts.iter().find_map(|host| host.problems.first()) {
        return (part_of(problem), problem.to_string());
    }
    if view.hosts.iter().any(|host| host.state == "serving" && host.breaker != BreakerState::Closed) {
        return ("breaker", error.to_string());
    }
    if view.hosts.iter().any(|host| host.state == "serving") {
        return ("canary", error.to_string());
    }
    let outage = view.hosts.iter().find_map(|host| host.outage.clone());
    ("host", outage.unwrap_or_else(|| error.to_string()))
}

fn part_of(finding: &Finding) -> &'static str {
    match finding.name.split(':').next().unwrap_or_default() {
        "token" => "token",
        "pin" => "pin",
        "key" | "keys" => "keys",
        "self-test" => "self-test",
        _ => "module",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_of_the_host_belongs_to_a_part() {
        for (name, part) in [
            ("module", "module"),
            ("mechanism:CKM_AES_CMAC", "module"),
            ("token", "token"),
            ("pin", "pin"),
            ("key:storage-kek", "keys"),
            ("self-test:aes-cmac", "self-test"),
        ] {
            let finding = Finding { name: name.to_owned(), ok: false, code: None, hint: String::new() };
            assert_eq!(part_of(&finding), part, "{name}");
        }
    }
}
