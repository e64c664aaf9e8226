//! The HSM in the Prometheus text format: calls by operation and outcome, and how each host is.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use tillward_hsm::client::BUCKETS;
use tillward_hsm::{BreakerState, CallCount, HostView, HsmView};

type Value = fn(&HostView) -> u64;

/// Appends everything that the client knows.
pub(super) fn render(text: &mut String, view: &HsmView, calls: &BTreeMap<&'static str, CallCount>) {
    of_calls(text, calls);
    one(text, "tillward_hsm_queue", "gauge", view.queue.used);
    one(text, "tillward_hsm_repeats_total", "counter", view.repeats);
    let values: [(&str, &str, Value); 12] = [
        ("tillward_hsm_host_up", "gauge", |host| u64::from(host.state == "serving")),
        ("tillward_hsm_breaker_open", "gauge", |host| u64::from(host.breaker != BreakerState::Closed)),
        ("tillward_hsm_breaker_opened_total", "counter", |host| host.breaker_opened),
        ("tillward_hsm_launches_total", "counter", |host| host.launches),
        ("tillward_hsm_in_flight", "gauge", |host| u64::try_from(host.in_flight).unwrap_or(u64::MAX)),
        ("tillward_hsm_generation", "gauge", |host| host.generation),
        ("tillward_hsm_sessions", "gauge", |host| host.sessions.used),
        ("tillward_hsm_sessions_most", "gauge", |host| host.sessions.most.unwrap_or(0)),
        ("tillward_hsm_token_objects", "gauge", |host| host.objects.used),
        ("tillward_hsm_token_objects_most", "gauge", |host| host.objects.most.unwrap_or(0)),
        ("tillward_hsm_made_objects", "gauge", |host| host.made_objects),
        ("tillward_hsm_memory_bytes", "gauge", |host| host.memory_kib.saturating_mul(1024)),
    ];
    for (name, kind, value) in values {
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for (number, host) in view.hosts.iter().enumerate() {
            let _ = writeln!(text, "{name}{{host=\"{number}\"}} {}", value(host));
        }
    }
    text.push_str("# TYPE tillward_hsm_recoveries_total counter\n");
    for (number, host) in view.hosts.iter().enumerate() {
        for (action, count) in &host.recoveries {
            let _ = writeln!(text, "tillward_hsm_recoveries_total{{host=\"{number}\",action=\"{}\"}} {count}", word(action));
        }
    }
    text.push_str("# TYPE tillward_hsm_replacements_total counter\n");
    for (number, host) in view.hosts.iter().enumerate() {
        for (why, count) in &host.replacements {
            let _ = writeln!(text, "tillward_hsm_replacements_total{{host=\"{number}\",why=\"{why}\"}} {count}");
        }
    }
}

fn one(text: &mut String, name: &str, kind: &str, value: impl Display) {
    let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
}

/// A host says what its actions are called; a label takes letters, digits and dashes of it.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(64).collect()
}

fn of_calls(text: &mut String, calls: &BTreeMap<&'static str, CallCount>) {
    text.push_str("# TYPE tillward_hsm_calls_total counter\n");
    for (operation, call) in calls {
        for (outcome, count) in &call.outcomes {
            let _ = writeln!(text, "tillward_hsm_calls_total{{operation=\"{operation}\",outcome=\"{outcome}\"}} {count}");
        }
    }
    text.push_str("# TYPE tillward_hsm_call_seconds histogram\n");
    for (operation, call) in calls {
        for (bound, bucket) in BUCKETS.iter().zip(call.buckets) {
            let bound = bound.as_secs_f64();
            let _ = writeln!(text, "tillward_hsm_call_seconds_bucket{{operation=\"{operation}\",le=\"{bound}\"}} {bucket}");
        }
        let _ = writeln!(text, "tillward_hsm_call_seconds_bucket{{operation=\"{operation}\",le=\"+Inf\"}} {}", call.count);
        let _ = writeln!(text, "tillward_hsm_call_seconds_sum{{operation=\"{operation}\"}} {}", call.took.as_secs_f64());
        let _ = writeln!(text, "tillward_hsm_call_seconds_count{{operation=\"{operation}\"}} {}", call.count);
    }
}
