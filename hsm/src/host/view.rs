//! What the host tells of itself, without going through the gate: a host whose workers all wait can still say why.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::keeper::{Host, lock};
use crate::model::{Budget, Finding, HostStatus, Profile, TokenRecord};
use crate::rules::Action;

/// How long the first answer to "how are you" waits for the first look.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// What can be told without going through the gate.
#[derive(Default)]
pub(super) struct View {
    pub(super) findings: Vec<Finding>,
    /// Those of mechanisms and self-tests, when they were made last.
    pub(super) tested: Vec<Finding>,
    pub(super) library: Option<String>,
    pub(super) token: Option<TokenRecord>,
    pub(super) profile: Option<Profile>,
    pub(super) generation: u64,
    pub(super) recoveries: BTreeMap<String, u64>,
    pub(super) looked: bool,
    pub(super) worked: bool,
}

/// A token that passed the tests, and what its module was found to do.
pub(super) struct Known {
    pub(super) token: TokenRecord,
    pub(super) profile: Profile,
    pub(super) findings: Vec<Finding>,
}

impl View {
    /// The token that passed last. Tokens change under a label, modules do not under a process.
    pub(super) fn known(&self) -> Option<Known> {
        let tested: Vec<_> = self.tested.clone();
        let passed = !tested.is_empty() && tested.iter().all(|finding| finding.ok);
        let (token, profile) = (self.token.clone()?, self.profile.clone()?);
        passed.then_some(Known { token, profile, findings: tested })
    }
}

impl Host {
    /// Counts what was done about a failure.
    pub(super) fn count(&self, action: Action) {
        *lock(&self.view).recoveries.entry(action.name().to_owned()).or_default() += 1;
    }

    /// What is known of module, token and keys. Waits for the first look only, and no longer than it may take: who asks again is not silent meanwhile.
    pub(super) fn status(&self) -> HostStatus {
        let view = lock(&self.view);
        let patience = FIRST_LOOK.saturating_sub(self.began.elapsed());
        let (view, _) = self.looked.wait_timeout_while(view, patience, |view| !view.looked).unwrap_or_else(PoisonError::into_inner);
        let mut findings = view.findings.clone();
        if !view.looked {
            findings.push(Finding::failed("module", None, "the module is being loaded and has not answered yet"));
        }
        let counters = &self.counters;
        let limit = |number: u64| (number > 0).then_some(number);
        let asked = if self.args.sessions == 0 { self.args.workers.saturating_add(1) } else { self.args.sessions };
        let sessions = counters.sessions.load(Ordering::SeqCst);
        HostStatus {
            pid: std::process::id(),
            workers: self.args.workers,
            ceremony: self.args.ceremony,
            module: self.args.uri.module_path().display().to_string(),
            library: view.library.clone(),
            token: view.token.clone(),
            profile: view.profile.clone(),
            findings,
            generation: view.generation,
            sessions: Budget {
                used: sessions,
                most: u64::try_from(asked).ok(),
                // One that was being opened when another was refused was not counted yet.
                token: limit(counters.session_limit.load(Ordering::SeqCst)).map(|limit| limit.max(sessions)),
            },
            objects: Budget { used: counters.objects.load(Ordering::Relaxed), most: self.args.objects, token: None },
            made_objects: counters.made.load(Ordering::Relaxed),
            memory_kib: super::memory_kib(),
            recoveries: view.recoveries.clone(),
        }
    }

    /// The first failed check; where it is only that a key is missing, the other keys still work, so that is left out.
    pub(super) fn first_problem(&self) -> Option<Finding> {
        lock(&self.view).findings.iter().find(|finding| !finding.ok && !finding.name.starts_with("key:")).cloned()
    }
}
