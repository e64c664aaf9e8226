//! What a trial and its process say to each other: frames on the socket that is the process's standard input.

use serde::{Deserialize, Serialize};

use super::{Device, Histogram, Row, SignedPlan, Wanted, Work};

/// What the process is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// All checks from that unit on; `before` is the count of token objects that an earlier process took.
    Examine { from: u16, before: Option<u64>, wanted: Wanted },
    /// Destroys what earlier trials have left.
    Sweep,
    /// Makes the scratch keys of the benchmark.
    Equip,
    /// Opens sessions, each with its own thread, and does the work in each until it is warm.
    Warm { work: Work, sessions: u16 },
    /// Does the work in the open sessions from one point of the monotonic clock for so long, and counts.
    Run { start_ns: u64, window_ns: u64 },
    /// Destroys the scratch keys and ends.
    End,
    /// Signs the hash of a plan with the private key of that label.
    SignPlan { object: String, hash: [u8; 32] },
}

/// What it tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// Module and, once it is found, token.
    Device(Device),
    /// How many token objects there were.
    Counted(u64),
    /// This check begins. If nothing follows, it is the one to blame.
    Begin {
        unit: u16,
        group: String,
        name: String,
    },
    Row(Row),
    /// So many scratch objects were destroyed.
    Swept(u64),
    /// Ready to run with so many sessions.
    Warm {
        sessions: u16,
    },
    Measured(Histogram),
    SignedPlan(SignedPlan),
    /// What was asked cannot be done.
    Failed(String),
    /// What was asked is done.
    Done,
}
