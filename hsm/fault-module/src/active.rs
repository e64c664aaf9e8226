//! Rules at work: how often each was asked, how often it hit, and what that means for one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cryptoki_sys::CK_RV;

use crate::function::Function;
use crate::rule::{Action, Damage, Death, Harm, Rule, Settings, draw};

/// Where the calls of a rule are counted.
#[derive(Debug)]
pub(crate) enum Counter {
    /// In this process.
    Own(AtomicU64),
    /// In the state file, for every process that has the same script.
    Shared(&'static AtomicU64),
}

impl Counter {
    fn cell(&self) -> &AtomicU64 {
        match self {
            Self::Own(cell) => cell,
            Self::Shared(cell) => cell,
        }
    }
}

/// A rule at work.
#[derive(Debug)]
pub(crate) struct Active {
    rule: Rule,
    installed: SystemTime,
    seen: Counter,
    hits: AtomicU64,
    /// Hits of all rules in all processes.
    all_hits: &'static AtomicU64,
    lifted: AtomicBool,
}

impl Active {
    pub(crate) fn new(rule: Rule, installed: SystemTime, all_hits: &'static AtomicU64, seen: Counter) -> Self {
        Self { rule, installed, seen, hits: AtomicU64::new(0), all_hits, lifted: AtomicBool::new(false) }
    }

    /// Ends what the rule still does: hangs, delays, a token that is away.
    pub(crate) fn lift(&self) {
        self.lifted.store(true, Ordering::SeqCst);
    }

    /// Whether the rule was lifted or its time has passed.
    pub(crate) fn is_over(&self, now: SystemTime) -> bool {
        self.lifted.load(Ordering::SeqCst) || self.rule.when.is_over(self.age(now))
    }

    fn age(&self, now: SystemTime) -> Duration {
        // A clock that went back: the rule is as young as can be.
        now.duration_since(self.installed).unwrap_or_default()
    }

    /// Counts the call; its number if the rule hits it.
    fn hit(&self, function: Function, output: bool, now: SystemTime) -> Option<u64> {
        let when = &self.rule.when;
        let needs_output = when.output || matches!(self.rule.action, Action::Damage(Damage::Corrupt | Damage::Shorten(_)));
        if !self.rule.functions.contains(function) || (needs_output && !output) || !when.is_awake(self.age(now)) {
            return None;
        }
        let number = self.seen.cell().fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        let hit = when.hits(number);
        if hit {
            self.hits.fetch_add(1, Ordering::SeqCst);
            self.all_hits.fetch_add(1, Ordering::SeqCst);
        }
        hit.then_some(number)
    }
}

impl std::fmt::Display for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seen, hits) = (self.seen.cell().load(Ordering::SeqCst), self.hits.load(Ordering::SeqCst));
        write!(f, "{} [calls {seen}, hits {hits}]", self.rule)
    }
}

/// What is done around one call, in the order of the rules.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) before: Vec<Step>,
    /// The code that is returned in place of the call.
    pub(crate) refuse: Option<CK_RV>,
    pub(crate) damage: Vec<(Damage, u64)>,
    pub(crate) after: Vec<Step>,
    /// The code that is returned once the call is done.
    pub(crate) deny: Option<CK_RV>,
}

/// One thing that is done.
#[derive(Debug)]
pub(crate) enum Step {
    /// Waits so long; without a time, until the rule is over.
    Wait(Arc<Active>, Option<Duration>),
    Die(Death),
    Harm(Arc<Active>, Harm),
}

/// The rules and limits of one moment.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    pub(crate) rules: Vec<Arc<Active>>,
    pub(crate) settings: Settings,
}

impl RuleSet {
    /// Counts the call in every rule and says what they do to it. The first code wins; everything else adds up.
    pub(crate) fn plan(&self, function: Function, output: bool, now: SystemTime) -> Plan {
        let mut plan = Plan::default();
        for active in &self.rules {
            let Some(number) = active.hit(function, output, now) else { continue };
            let when = &active.rule.when;
            let step = match active.rule.action {
                Action::Return(code) => {
                    let place = if when.after { &mut plan.deny } else { &mut plan.refuse };
                    place.get_or_insert(code);
                    continue;
                }
                Action::Damage(damage) => {
                    plan.damage.push((damage, draw(when.seed, number)));
                    continue;
                }
                Action::Delay(shortest, longest) => Step::Wait(Arc::clone(active), Some(when.delay(number, shortest, longest))),
                Action::Hang => Step::Wait(Arc::clone(active), None),
                Action::Die(death) => Step::Die(death),
                Action::Harm(harm) => Step::Harm(Arc::clone(active), harm),
            };
            if when.after { &mut plan.after } else { &mut plan.before }.push(step);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Script;

    fn rules(text: &str, installed: SystemTime) -> RuleSet {
        let hits = Box::leak(Box::new(AtomicU64::new(0)));
        let script = Script::parse(text).expect("a script");
        let own = || Counter::Own(AtomicU64::new(0));
        let rules = script.rules.into_iter().map(|(_, rule)| Arc::new(Active::new(rule, installed, hits, own())));
        RuleSet { rules: rules.collect(), settings: script.settings }
    }

    #[test]
    fn the_first_code_wins_and_everything_else_adds_up() {
        let now = SystemTime::UNIX_EPOCH;
        let text =
            "C_Sign delay 1ms\nC_Sign return 1\n* return 2\nC_Sign after delay 2ms\nC_Login hang\nC_Sign after return 3\nC_Sign corrupt";
        let rules = rules(text, now);
        let plan = rules.plan(Function::Sign, true, now);
        assert_eq!((plan.refuse, plan.deny), (Some(1), Some(3)));
        assert_eq!((plan.before.len(), plan.after.len(), plan.damage.len()), (1, 1, 1));
        let plan = rules.plan(Function::Sign, false, now);
        assert!(plan.damage.is_empty(), "there is no output to damage");
        let plan = rules.plan(Function::Verify, false, now);
        assert_eq!((plan.refuse, plan.before.len()), (Some(2), 0));
    }

    #[test]
    fn every_rule_counts_every_call_that_it_could_hit() {
        let now = SystemTime::UNIX_EPOCH;
        let rules = rules("C_Sign on 1 return 1\nC_Sign on 2 return 2\nC_Sign output on 2 return 3", now);
        let codes = [false, false, true, true].map(|output| rules.plan(Function::Sign, output, now).refuse);
        assert_eq!(codes, [Some(1), Some(2), None, Some(3)]);
    }

    #[test]
    fn a_rule_that_is_lifted_or_whose_time_has_passed_is_over() {
        let now = SystemTime::UNIX_EPOCH;
        let rules = rules("C_Sign for 1s hang\nC_Sign hang", now);
        let over = |after| [0, 1].map(|rule: usize| rules.rules[rule].is_over(now + Duration::from_millis(after)));
        assert_eq!((over(999), over(1_000)), ([false, false], [true, false]));
        rules.rules[1].lift();
        assert_eq!(over(0), [false, true]);
    }
}
