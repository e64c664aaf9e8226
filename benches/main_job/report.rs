//! docs/figures/bench.md.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

/// The rows that everything is compared with.
pub(crate) const RAW: &str = "raw-sign";

/// One line of the table.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) in_flight: usize,
}

/// A row with what criterion found.
pub(crate) struct Measured {
    id: &'static str,
    what: &'static str,
    in_flight: u32,
    /// Seconds from question to answer.
    median: f64,
}

impl Row {
    /// Reads criterion's estimate; `None` if the row was not measured.
    pub(crate) fn read(&self, results: &Path) -> Option<Measured> {
        let path = results.join(self.id).join(self.in_flight.to_string()).join("new/estimates.json");
        let estimates: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let median = estimates["median"]["point_estimate"].as_f64()? / 1e9;
        Some(Measured { id: self.id, what: self.what, in_flight: u32::try_from(self.in_flight).ok()?, median })
    }
}

impl Measured {
    fn per_second(&self) -> f64 {
        f64::from(self.in_flight) / self.median
    }
}

/// What the figures were made with, a line each.
pub(crate) fn machine(library: String) -> Vec<(&'static str, String)> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or_else(|_| "unknown".to_owned(), |cores| cores.to_string());
    vec![
        ("CPU", model.to_owned()),
        ("cores, for service, HSM host and load together", cores),
        ("PKCS#11 module", library),
        ("database", "SQLite, write-ahead log, synchronous = FULL".to_owned()),
        ("HSM host", "one process, two workers".to_owned()),
        ("build", if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned()),
    ]
}

/// Writes the page.
pub(crate) fn write(rows: &[Measured], machine: &[(&'static str, String)]) {
    let raw = rows.iter().find(|row| row.id == RAW && row.in_flight == 1).expect("measured").per_second();
    let mut page = String::from(HEAD);
    for (what, value) in machine {
        writeln!(page, "| {what} | {value} |").expect("text");
    }
    page.push_str(TABLE);
    for row in rows {
        let (median, rate) = (time(row.median), row.per_second());
        writeln!(page, "| {} | {} | {median} | {rate:.0} | {:.3} |", row.what, row.in_flight, rate / raw).expect("text");
    }
    page.push_str(NOTES);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/figures/bench.md");
    std::fs::write(&path, &page).expect("docs/figures");
    println!("{page}");
}

fn time(seconds: f64) -> String {
    if seconds < 1e-3 { format!("{:.0} µs", seconds * 1e6) } else { format!("{:.2} ms", seconds * 1e3) }
}

const HEAD: &str = "# Benchmark

Written by `make bench`. **The ratios within one run are what counts**: the times are this machine's and this hour's. Service, HSM host,
phones and back end share its cores, so the service alone would do more.

| machine | |
|---|---|
";

const TABLE: &str = "
*Median* is the time from question to answer. *In flight* is how many ask at once, each its next question when it has its answer.
*Ratio* is operations a second over those of raw `C_Sign` on one thread.

| operation | in flight | median | operations a second | ratio |
|---|---|---|---|---|
";

const NOTES: &str = "
Every row from the challenge on is HTTP over TLS on the listener that a phone or a back end would use (connections kept open), on a real
service with its own token and database. The attestation round is two requests. A phone's own work before the enrolment request (key pair,
RSA encryption, evidence) and before a payment message is not counted; in the attestation round it is. What changes state waits until its
audit entry is on the disk: with one in flight, the row `fsync` is the floor. Many in flight show what the service does with that wait.
";
