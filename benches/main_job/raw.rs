//! The bare module in a process of its own: it takes a configuration by environment, and it never shares a process with a client.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use tillward_hsm::Pkcs11Uri;
use tillward_hsm::raw::{RawModule, RawSession};

/// First argument of such a process.
pub(crate) const CHILD: &str = "raw-module";

/// Reads a number of rounds a line, answers the nanoseconds they took. In a round each thread signs once.
pub(crate) fn serve(uri: Pkcs11Uri, threads: usize) {
    let module = RawModule::open(uri).expect("the module");
    let mut sessions: Vec<RawSession> = (0..threads).map(|_| module.session().expect("a session")).collect();
    for line in std::io::stdin().lines() {
        let rounds = line.ok().and_then(|line| line.parse().ok()).expect("a number of rounds");
        println!("{}", sign(&mut sessions, rounds).as_nanos());
    }
    drop(sessions);
    module.close();
}

fn sign(sessions: &mut [RawSession], rounds: u64) -> Duration {
    let start = &Barrier::new(sessions.len() + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter_mut()
            .map(|session| {
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..rounds {
                        session.sign(&[7; 32]).expect("signs");
                    }
                })
            })
            .collect();
        start.wait();
        let started = Instant::now();
        for thread in threads {
            thread.join().expect("joins");
        }
        started.elapsed()
    })
}

/// Such a process, seen from the benchmark.
pub(crate) struct Child {
    process: Process,
    rounds: ChildStdin,
    nanoseconds: BufReader<ChildStdout>,
}

impl Child {
    /// This program again, as [`serve`].
    pub(crate) fn start(uri: &Pkcs11Uri, softhsm: &Path, threads: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args([CHILD, &uri.to_string(), &threads.to_string()])
            .env("SOFTHSM2_CONF", softhsm)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let rounds = process.stdin.take().expect("piped");
        let nanoseconds = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, rounds, nanoseconds }
    }

    /// How long that many rounds take.
    pub(crate) fn sign(&mut self, rounds: u64) -> Duration {
        writeln!(self.rounds, "{rounds}").expect("it listens");
        let mut line = String::new();
        self.nanoseconds.read_line(&mut line).expect("it answers");
        Duration::from_nanos(line.trim().parse().expect("nanoseconds"))
    }

    /// Ends it in order.
    pub(crate) fn end(mut self) {
        drop(self.rounds);
        assert!(self.process.wait().expect("ends").success());
    }
}
