//! Derivations and MACs without an end: the memory of the hosts and of the client stays within a bound that is stated before. `make soak` makes ten
//! million of them on the token; here are fewer, and as many recyclings as that takes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tillward_hsm::{Algorithm, Counter, DerivationId, Hsm, HsmConfig, Ikid, Ksn, Usage};

use crate::software::{self, Phone};
use crate::storm::number;
use crate::token::{ACME, Module, Token};

/// Operations in flight.
const ABREAST: u64 = 16;
/// Of the two operations that take turns: a phone's MAC (one derivation, two MACs) and a payment's (initial key, 16 steps of the tree, working key, MAC).
const CALLS: u64 = 3 + 19;
/// The counter with the longest way through the tree (X9.24-3 §6.3.2: 16 bits set).
const COUNTER: u32 = 0x0001_FFFE;
/// Session objects of the two: key block and MAC key; 18 derived keys.
const OBJECTS: u64 = 2 + 18;
/// What SoftHSM 2.6.1 keeps of an object (measured: 240 bytes), and half as much again.
const BYTES: u64 = 360;
/// What heap and threads may move by.
const SLACK_KIB: u64 = 48 * 1024;

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// The most that was seen.
#[derive(Default)]
struct Peak {
    host: u64,
    client: u64,
    hosts: std::collections::BTreeSet<u32>,
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_within_its_bound_however_many_keys_are_derived() {
    let calls = number("TILLWARD_SOAK_CALLS").unwrap_or(120_000);
    let rounds = calls.div_ceil(CALLS);
    // As configured by default in the long run.
    let recycle = if calls >= 5_000_000 { 1_000_000 } else { rounds * OBJECTS / 6 };
    let token = Token::with_keys(Module::SoftHsm).await.expect("SoftHSM is installed");
    let hsm = Hsm::start(HsmConfig { hosts: 2, recycle_objects: recycle, ..token.config() }).await.expect("ready");
    let phone = Phone::new(Ikid::new(ACME.1, DerivationId(7)));
    let block = Arc::new(crate::softhsm::hsm::enrol(&hsm, &phone).await);
    let message = [5; 32];
    let mac = phone.mac(&message);
    let ikid = phone.ikid;
    let keys = hsm.personalize(&block, ikid, "acme").await.expect("personalises");
    let initial = phone.unwrap(&keys[1].wrapped);
    let ksn = Ksn::new(ikid, Counter::new(COUNTER).expect("admissible"));
    let working = software::working_key(&initial, Algorithm::Aes256, ksn, Usage::MacGeneration);
    let payment = software::cmac(&working, &message);
    let first = hsm.status().await.expect("status").memory_kib;
    let client = resident_kib(std::process::id());
    // A host is noticed within a second of its count, and works on until its successor answers: three seconds of objects at most.
    let bound = |rate: u64| first + (recycle + 3 * rate) * BYTES / 1024 + SLACK_KIB;

    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..ABREAST {
        let (hsm, block, done) = (hsm.clone(), block.clone(), done.clone());
        workers.spawn(async move {
            while done.fetch_add(1, Ordering::Relaxed) < rounds {
                hsm.verify_device_mac(&block, ikid, &message, &mac).await.expect("not one call fails");
                hsm.dukpt_verify_mac(ksn, message.to_vec(), payment).await.expect("not one call fails");
            }
        });
    }
    let mut peak = Peak::default();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    while !workers.is_empty() {
        tokio::select! {
            joined = workers.join_next() => joined.into_iter().for_each(|outcome| outcome.expect("a worker")),
            _ = ticks.tick() => {
                let status = hsm.status().await.expect("status");
                peak.hosts.insert(status.pid);
                peak.host = peak.host.max(status.memory_kib);
                peak.client = peak.client.max(resident_kib(std::process::id()));
            }
        }
    }
    let took = started.elapsed();
    let rate = calls * 1000 / u64::try_from(took.as_millis()).expect("fits").max(1);
    let text = table(rounds, recycle, &peak, (first, bound(rate)), client);
    println!("{text}{rate} derivations and MACs a second, {took:?}");
    assert!(peak.host <= bound(rate), "a host held {} KiB, the bound is {} KiB", peak.host, bound(rate));
    assert!(peak.client <= client + SLACK_KIB, "the client held {} KiB, {client} KiB at first", peak.client);
    assert!(peak.hosts.len() > 2, "no host was recycled: {:?}", peak.hosts);
    hsm.shutdown().await;
    if std::env::var_os("TILLWARD_SOAK_FIGURES").is_some_and(|word| word == "write") {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/figures/soak.md");
        let text = format!(
            "# Soak\n\nWritten by `make soak` (`tests/it/soak.rs`): key blocks unwrapped, keys derived, MACs verified on SoftHSM by two hosts; not one operation failed.\n\n{text}"
        );
        std::fs::write(path, text).expect("writes");
    }
}

fn table(rounds: u64, recycle: u64, peak: &Peak, (first, bound): (u64, u64), client: u64) -> String {
    let mut text = String::from("| | |\n|---|---|\n");
    let mib = |kib: u64| format!("{} MiB", kib / 1024);
    for (name, value) in [
        ("derivations and MACs on the token", (rounds * CALLS).to_string()),
        ("operations: MACs of phones and MACs of payments, by turns", (2 * rounds).to_string()),
        ("session objects until a host is recycled", recycle.to_string()),
        ("hosts that were seen, one after the other in two places", peak.hosts.len().to_string()),
        ("memory of a host at its start", mib(first)),
        ("bound of a host: start + (those objects, and three seconds of them) × 360 bytes + 48 MiB", mib(bound)),
        ("most that a host held", mib(peak.host)),
        ("memory of the client's process at its start; bound: 48 MiB more", mib(client)),
        ("most that it held", mib(peak.client)),
    ] {
        writeln!(text, "| {name} | {value} |").expect("a text takes anything");
    }
    text
}
