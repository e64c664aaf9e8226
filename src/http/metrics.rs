//! Counters of the HTTP border in the Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the latency buckets, seconds.
const BUCKETS: [f64; 8] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0];

#[derive(Debug, Default, Clone)]
struct Series {
    statuses: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// Requests by listener, route and status, with their latency.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<BTreeMap<(&'static str, String), Series>>);

impl Metrics {
    /// Counts one answered request.
    pub(super) fn count(&self, listener: &'static str, route: &str, status: u16, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = all.entry((listener, route.to_owned())).or_default();
        *series.statuses.entry(status).or_default() += 1;
        series.count += 1;
        series.seconds += took.as_secs_f64();
        for (bound, bucket) in BUCKETS.iter().zip(series.buckets.iter_mut()) {
            if took.as_secs_f64() <= *bound {
                *bucket += 1;
            }
        }
    }

    /// Everything counted so far.
    pub(super) fn render(&self) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::from("# TYPE tillward_requests_total counter\n");
        for ((listener, route), series) in &all {
            for (status, count) in &series.statuses {
                let _ = writeln!(text, "tillward_requests_total{{listener=\"{listener}\",route=\"{route}\",status=\"{status}\"}} {count}");
            }
        }
        text.push_str("# TYPE tillward_request_seconds histogram\n");
        for ((listener, route), series) in &all {
            let labels = format!("listener=\"{listener}\",route=\"{route}\"");
            for (bound, bucket) in BUCKETS.iter().zip(series.buckets) {
                let _ = writeln!(text, "tillward_request_seconds_bucket{{{labels},le=\"{bound}\"}} {bucket}");
            }
            let _ = writeln!(text, "tillward_request_seconds_bucket{{{labels},le=\"+Inf\"}} {}", series.count);
            let _ = writeln!(text, "tillward_request_seconds_sum{{{labels}}} {}", series.seconds);
            let _ = writeln!(text, "tillward_request_seconds_count{{{labels}}} {}", series.count);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_status_and_fills_every_bucket_above() {
        let metrics = Metrics::default();
        metrics.count("device", "/device/v1/trust", 200, Duration::from_millis(2));
        metrics.count("device", "/device/v1/trust", 503, Duration::from_secs(9));
        let text = metrics.render();
        assert!(text.contains("route=\"/device/v1/trust\",status=\"200\"} 1"), "{text}");
        assert!(text.contains("le=\"0.001\"} 0\n"), "{text}");
        assert!(text.contains("le=\"0.003\"} 1\n"), "{text}");
        assert!(text.contains("le=\"5\"} 1\n"), "{text}");
        assert!(text.contains("le=\"+Inf\"} 2\n"), "{text}");
    }
}
