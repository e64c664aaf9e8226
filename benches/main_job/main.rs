//! The main job, measured through HTTP on a real service, and what it is compared with: the bare `C_Sign` of the same token.
//!
//! `make bench` writes docs/figures/bench.md. One iteration of a row with k in flight is one operation by each of k phones.

mod load;
mod raw;
mod report;
#[path = "../../tests/it/service.rs"]
#[expect(dead_code, clippy::panic, reason = "the tests' way to a service; they use all of it")]
mod service;

#[path = "../../tests/it/token.rs"]
#[expect(dead_code, reason = "the tests' way to a token; they use all of it")]
mod token;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use tillward_hsm::{Hsm, HsmConfig, Pkcs11Uri, SigningKey};

use load::{Load, Phones};
use report::Row;
use service::Service;

/// How many phones ask at once where that is measured.
const AT_ONCE: usize = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, uri, threads] = arguments.as_slice()
        && word == raw::CHILD
    {
        return raw::serve(uri.parse().expect("a URI"), threads.parse().expect("a number"));
    }
    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join("main_job");
    // What a filter leaves out must not be reported from an older run.
    let _ = std::fs::remove_dir_all(&results);
    let criterion = Criterion::default().output_directory(&results).configure_from_args();
    let service = Service::start();
    let mut bench = Bench { criterion, rows: Vec::new() };

    bench.disk(service.workplace.dir.join("fsync"));
    bench.raw(&service);
    let library = bench.host(&service);
    let mut load = Load::open(&service);
    bench.phones(&mut load);

    let rows: Option<Vec<_>> = bench.rows.iter().map(|row| row.read(&results)).collect();
    match rows {
        Some(rows) => report::write(&rows, &report::machine(library)),
        None => println!("Not every row was measured: docs/figures/bench.md stays as it is."),
    }
}

struct Bench {
    criterion: Criterion,
    rows: Vec<Row>,
}

impl Bench {
    /// `run` does a number of iterations and says how long they took; what it prepares does not count.
    fn row(&mut self, row: Row, mut run: impl FnMut(u64) -> Duration) {
        let mut group = self.criterion.benchmark_group(row.id);
        group.sample_size(20).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
        group.bench_function(row.in_flight.to_string(), |bencher| bencher.iter_custom(&mut run));
        group.finish();
        self.rows.push(row);
    }

    /// What one durable write costs here: every change of state waits for at least one.
    fn disk(&mut self, path: PathBuf) {
        let mut file = std::fs::File::create(path).expect("a file");
        self.row(Row { id: "fsync", what: "write of 4 KiB and `fsync`, same disk", in_flight: 1 }, |rounds| {
            let started = Instant::now();
            for _ in 0..rounds {
                file.write_all(&[0x5A; 4096]).and_then(|()| file.sync_all()).expect("writes");
            }
            started.elapsed()
        });
    }

    fn raw(&mut self, service: &Service) {
        for threads in [1, 2] {
            let mut child = raw::Child::start(&uri(service), &softhsm_configuration(service), threads);
            let what = if threads == 1 { "raw `C_Sign`, P-256, one thread" } else { "raw `C_Sign`, P-256, two threads" };
            self.row(Row { id: report::RAW, what, in_flight: threads }, |rounds| child.sign(rounds));
            child.end();
        }
    }

    /// The same signature through the host process; gives what the module says it is.
    fn host(&mut self, service: &Service) -> String {
        let runtime = load::runtime();
        let environment = [("SOFTHSM2_CONF".to_owned(), softhsm_configuration(service).display().to_string())].into();
        let config = HsmConfig { environment, ..HsmConfig::new(service::PROGRAM.into(), uri(service)) };
        let hsm = runtime.block_on(Hsm::start(config)).expect("a host");
        let status = runtime.block_on(hsm.status()).expect("status");
        for in_flight in [1, 2, 32] {
            let mut handles = vec![hsm.clone(); in_flight];
            let row = Row { id: "host-sign", what: "the same through the HSM host process (two workers)", in_flight };
            self.row(row, |rounds| {
                load::together(&runtime, &mut handles, rounds, |hsm| {
                    Box::pin(async move {
                        hsm.sign(SigningKey::Attestation, &[7; 32]).await.expect("signs");
                    })
                })
            });
        }
        runtime.block_on(hsm.shutdown());
        status.library.unwrap_or_else(|| status.module.clone())
    }

    fn phones(&mut self, load: &mut Load) {
        for in_flight in [1, AT_ONCE] {
            let mut phones: Phones = load.phones(in_flight);
            self.row(Row { id: "challenge", what: "challenge for a phone", in_flight }, |rounds| load.challenge(&mut phones, rounds));
            let what = "attestation round: challenge, evidence, result";
            self.row(Row { id: "attestation", what, in_flight }, |rounds| load.attest(&mut phones, rounds));
            self.row(Row { id: "clearance", what: "clearance before a payment", in_flight }, |rounds| load.clear(&mut phones, rounds));
            let what = "DUKPT: verify the MAC, decrypt";
            self.row(Row { id: "decrypt", what, in_flight }, |rounds| load.decrypt(&mut phones, rounds));
            let what = "enrolment: the phone's request to its package";
            self.row(Row { id: "enrolment", what, in_flight }, |rounds| load.enrol(in_flight, rounds));
        }
    }
}

fn uri(service: &Service) -> Pkcs11Uri {
    let text = std::fs::read_to_string(service.workplace.config()).expect("the configuration");
    let config: toml::Table = toml::from_str(&text).expect("TOML");
    config["hsm"]["uri"].as_str().and_then(|uri| uri.parse().ok()).expect("a URI")
}

fn softhsm_configuration(service: &Service) -> PathBuf {
    service.workplace.dir.join("softhsm2.conf")
}
