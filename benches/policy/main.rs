//! What a decision of the policies costs, with the whole set that comes with Tillward, and what it is compared with: a hash and a signature
//! made in software by the same process. `make bench` writes docs/figures/policy.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha256};
use tillward::authz::{Action, Authz, Caller, Circumstances, PrincipalEntry, Resource, Role};
use tillward::clock::UnixTime;
use tillward::id::AcquirerId;

/// Batches of which the median is taken.
const BATCHES: usize = 101;
/// A batch takes at least so long.
const BATCH: Duration = Duration::from_millis(5);

const NOW: Circumstances = Circumstances { at: UnixTime(1_795_608_000), approvals: 2 };

/// Median of the time of one call.
fn measure(mut run: impl FnMut()) -> f64 {
    let mut rounds = 1_u32;
    let batch = |rounds: u32, run: &mut dyn FnMut()| {
        let started = Instant::now();
        (0..rounds).for_each(|_| run());
        started.elapsed()
    };
    while batch(rounds, &mut run) < BATCH {
        rounds *= 2;
    }
    let mut all: Vec<f64> = (0..BATCHES).map(|_| batch(rounds, &mut run).as_secs_f64() / f64::from(rounds)).collect();
    all.sort_by(f64::total_cmp);
    all[BATCHES / 2]
}

fn acquirers(count: usize) -> BTreeSet<AcquirerId> {
    (0..count).map(|number| format!("acquirer-{number}").parse().expect("an id")).collect()
}

fn main() {
    // `cargo test --benches` runs this too, without the word.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let signer = SigningKey::from_slice(&[7; 32]).expect("a key");
    let block = [0x5A; 1024];
    let hash = measure(|| {
        black_box(Sha256::digest(black_box(block)));
    });
    let sign = measure(|| {
        black_box::<Signature>(signer.sign(black_box(&block[..32])));
    });
    let mut rows = vec![("SHA-256 of 1 KiB, in software", "-", hash), ("ECDSA P-256 signature, in software", "-", sign)];

    for (count, word) in [(1, "1"), (100, "100")] {
        let entry = |uri: &str, role| PrincipalEntry { uri: uri.parse().expect("a URI"), role, acquirers: acquirers(count) };
        let entries = [entry("urn:bench:backend", Role::Backend), entry("urn:bench:officer", Role::Officer)];
        let authz = Authz::new(entries).expect("two principals");
        let known = |uri: &str| authz.identify(uri).expect("configured");
        let (backend, officer) = (known("urn:bench:backend"), known("urn:bench:officer"));
        let own: AcquirerId = "acquirer-0".parse().expect("an id");
        let foreign: AcquirerId = "foreign".parse().expect("an id");
        let device = |acquirer| Resource::device(&"dev_00000000000000000000000000".parse().expect("an id"), acquirer);
        let key = Resource::key("receipts", &own).with("purpose", "sign");
        let list = Resource::devices(&acquirers(count));
        let plan = Resource::plan("p", &own).with("requester", "urn:bench:officer").with("deed", "destroy-key");
        let asked: [(&'static str, &Caller, Action, Resource, bool); 8] = [
            ("permit: a back end's clearance", &backend, Action::Clear, device(&own), true),
            ("permit: a back end signs", &backend, Action::KeySign, key.clone(), true),
            ("permit: a list over all own acquirers", &backend, Action::ListDevices, list, true),
            ("permit: a plan is executed, a key destroyed", &officer, Action::DestroyKey, key.clone(), true),
            ("deny: no policy allows it", &backend, Action::ReadAudit, Resource::audit(), false),
            ("deny: not the key's purpose", &backend, Action::KeyMac, key, false),
            ("deny: another acquirer", &backend, Action::Clear, device(&foreign), false),
            ("deny: its own request", &officer, Action::ApprovePlan, plan, false),
        ];
        for (what, caller, action, resource, allowed) in &asked {
            assert_eq!(authz.authorize(caller, *action, resource, NOW).is_ok(), *allowed, "{what}");
            rows.push((*what, word, measure(|| drop(black_box(authz.authorize(caller, *action, black_box(resource), NOW))))));
        }
    }
    write(&rows, hash, sign);
}

fn write(rows: &[(&str, &str, f64)], hash: f64, sign: f64) {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let mut page = format!(
        "# What a decision costs\n\nWritten by `make bench`. **The ratios within one run are what counts**: the times are those of this machine and this hour ({model}).\n\n\
         A decision is `Authz::authorize` as every operation calls it, with all the policies that come with Tillward: entities made of caller, resource\n\
         and circumstances, the policies evaluated, a permit or a denial made. One thread; no database, no I/O.\n\n\
         | decision | acquirers of the principal | median | SHA-256 of 1 KiB | P-256 signatures |\n|---|---|---|---|---|\n"
    );
    for (what, acquirers, seconds) in rows {
        let _ = writeln!(page, "| {what} | {acquirers} | {:.2} µs | {:.2} | {:.3} |", seconds * 1e6, seconds / hash, seconds / sign);
    }
    print!("{page}");
    if cfg!(debug_assertions) {
        println!("A debug build: docs/figures/policy.md stays as it is.");
        return;
    }
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/figures/policy.md"), page).expect("docs/figures");
}
