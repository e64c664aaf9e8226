//! The hosts as they are shown.

use std::collections::BTreeMap;

use serde::Serialize;

use super::breaker::BreakerState;
use crate::model::{Budget, Finding};

/// What the client knows of its hosts.
#[derive(Debug, Clone, Serialize)]
pub struct HsmView {
    /// Whether a host serves.
    pub ready: bool,
    /// Calls in flight.
    pub queue: Budget,
    /// Calls that were sent a second time, because their first host was lost or could not.
    pub repeats: u64,
    /// The hosts.
    pub hosts: Vec<HostView>,
}

/// One host.
#[derive(Debug, Clone, Serialize)]
pub struct HostView {
    /// `serving`, `not-ready`, `starting`, `down`.
    pub state: &'static str,
    /// Why it does not serve.
    pub outage: Option<String>,
    /// The checks that failed.
    pub problems: Vec<Finding>,
    /// `child`, or `socket` where it is somebody else's.
    pub kind: &'static str,
    /// Its process id; in its own container's count, if it has one.
    pub pid: Option<u32>,
    /// The breaker.
    pub breaker: BreakerState,
    /// How often the breaker opened.
    pub breaker_opened: u64,
    /// Processes or connections that there were, this one included.
    pub launches: u64,
    /// How often it was replaced, by reason.
    pub replacements: BTreeMap<&'static str, u64>,
    /// Calls that it has not answered yet.
    pub in_flight: usize,
    /// Generation of its sessions and handles.
    pub generation: u64,
    /// PKCS#11 sessions.
    pub sessions: Budget,
    /// Token objects.
    pub objects: Budget,
    /// Session objects made since its module was initialised.
    pub made_objects: u64,
    /// Resident memory, KiB.
    pub memory_kib: u64,
    /// What it did by the failure rules, by action.
    pub recoveries: BTreeMap<String, u64>,
}
