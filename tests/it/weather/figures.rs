//! What was measured, as the documents quote it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::load::{Kind, Sample};

#[derive(Default)]
struct Row {
    group: &'static str,
    rounds: u64,
    asked: usize,
    refused: usize,
    reasons: BTreeMap<String, usize>,
    fault: Duration,
    recoveries: Vec<Duration>,
    slowest: Duration,
}

/// The figures of one storm, a row a fault.
#[derive(Default)]
pub(super) struct Figures {
    rows: Vec<(String, Row)>,
}

impl Figures {
    /// One round: what was asked from the beginning of the fault on until a payment and an attestation were done after its end.
    pub(super) fn take(&mut self, name: &str, group: &'static str, samples: &[Sample], fault: Duration, lifted: Instant) {
        if self.rows.last().is_none_or(|(last, _)| last != name) && !self.rows.iter().any(|(known, _)| known == name) {
            self.rows.push((name.to_owned(), Row { group, ..Row::default() }));
        }
        let row = &mut self.rows.iter_mut().find(|(known, _)| known == name).expect("just pushed").1;
        row.rounds += 1;
        row.fault += fault;
        let recovered = |kind| {
            let done = samples.iter().filter(|s| s.kind == kind && s.refused.is_none() && s.began >= lifted);
            done.map(|sample| sample.began + sample.took - lifted).min()
        };
        let both = [Kind::Pay, Kind::Attest].map(|kind| recovered(kind).expect("the load recovered"));
        row.recoveries.extend(both.iter().max());
        for sample in samples {
            row.asked += 1;
            row.slowest = row.slowest.max(sample.took);
            if let Some((status, reason)) = &sample.refused {
                row.refused += 1;
                *row.reasons.entry(format!("{status} {reason}")).or_default() += 1;
            }
        }
    }

    /// A table in Markdown.
    pub(super) fn table(&self) -> String {
        let mut text = String::from(
            "| fault | action | rounds | requests | refused | share | recovery, median (ms) | longest (ms) | slowest answer (ms) | refusals |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        let mut over = 0;
        let mut rounds = 0;
        let (mut asked, mut refused) = (0, 0);
        for (name, row) in &self.rows {
            let mut recoveries = row.recoveries.clone();
            recoveries.sort_unstable();
            let median = recoveries[recoveries.len() / 2].as_millis();
            let longest = recoveries.last().map_or(0, Duration::as_millis);
            over += recoveries.iter().filter(|recovery| **recovery > Duration::from_secs(1)).count();
            rounds += row.rounds;
            asked += row.asked;
            refused += row.refused;
            let reasons: Vec<_> = row.reasons.iter().map(|(reason, times)| format!("{reason} ×{times}")).collect();
            writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {median} | {longest} | {} | {} |",
                row.group,
                row.rounds,
                row.asked,
                row.refused,
                share(row.refused, row.asked),
                row.slowest.as_millis(),
                reasons.join(", ")
            )
            .expect("a text takes anything");
        }
        writeln!(
            text,
            "\n{rounds} rounds, {asked} requests from the beginning of a fault to the end of the recovery, {refused} refused ({}), {over} recoveries of more than a second.",
            share(refused, asked)
        )
        .expect("a text takes anything");
        text
    }

    /// Writes `docs/figures/storm-NAME.md`, where asked.
    pub(super) fn write(&self, name: &str) {
        let asked = std::env::var_os("TILLWARD_STORM_FIGURES").is_some_and(|word| word == "write");
        if !asked {
            return;
        }
        let text = format!(
            "# Storm: {name}\n\nWritten by `make storm` (`tests/it/weather`): a service with its load (payments, attestations, enrolments, each answer verified by who asked) while\n\
             the faults come one after the other. A request is refused with a problem document; none had a wrong answer and none was without one, or the test fails.\n\
             Recovery: from the end of the fault until a payment and an attestation that began after it are done; the load asks every 40 and 80 ms. Shared machine: compare rows, not runs.\n\n{}",
            self.table()
        );
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/figures/storm-{name}.md"));
        std::fs::write(path, text).expect("writes");
    }
}

fn share(part: usize, whole: usize) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let permille = part * 1000 / whole;
    format!("{}.{} %", permille / 10, permille % 10)
}
