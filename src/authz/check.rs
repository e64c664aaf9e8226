//! What makes a set of policies acceptable. Everything is said at once, with file and line.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cedar_policy::{ActionConstraint, Effect, Entities, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use serde_json::{Value, json};

use super::Action;
use super::Circumstances;
use super::engine::speaks_of;
use super::entities::Names;
use super::files::{PolicyFiles, SCHEMA, SCHEMA_FILE};
use super::policies::{Policies, PolicyProblem, PolicyRefusal, PolicyText};
use super::samples;

/// Fewer approvals are not a quorum.
const LEAST_QUORUM: u32 = 2;
/// A plan takes no more.
const LARGEST_QUORUM: u32 = 8;

/// What the check finds.
pub(super) struct Checked {
    pub(super) schema: Schema,
    pub(super) policies: Vec<Policy>,
    pub(super) texts: Vec<PolicyText>,
    pub(super) quorums: HashMap<Action, u32>,
}

/// A policy where it stands, before it has its final id.
struct Found {
    policy: Policy,
    text: PolicyText,
}

pub(super) fn check(files: &PolicyFiles) -> Result<Checked, PolicyRefusal> {
    let schema = Schema::from_cedarschema_str(SCHEMA).expect("the schema that comes with Tillward is checked by its tests").0;
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for (file, text) in files.iter() {
        if file == SCHEMA_FILE {
            if text != SCHEMA {
                problems.push(of_file(
                    file,
                    None,
                    "it is not the schema of this program",
                    "leave the file out, or copy it from this version of Tillward",
                ));
            }
        } else {
            found.extend(parse(file, text, &mut problems));
        }
    }
    ids(&found, &mut problems);
    if !problems.is_empty() {
        return Err(PolicyRefusal(problems));
    }
    found.sort_by(|a, b| a.text.id.cmp(&b.text.id));
    let groups = schema.action_entities().unwrap_or_else(|_| Entities::empty());
    let mut quorums = HashMap::new();
    for one in &mut found {
        quorum(one, &groups, &mut quorums, &mut problems);
    }
    strictly(&schema, &found, files, &mut problems);
    if !problems.is_empty() {
        return Err(PolicyRefusal(problems));
    }
    let (policies, texts) = found.into_iter().map(|one| (one.policy, one.text)).unzip();
    Ok(Checked { schema, policies, texts, quorums })
}

/// The same once more, by evaluation: with fewer approvals than its quorum no policy allows anything to anybody.
pub(super) fn nothing_below_its_quorum(policies: &Policies) -> Result<(), PolicyRefusal> {
    let quorums = policies.texts().iter().filter_map(|text| text.quorum);
    let short: BTreeSet<u32> = quorums.map(|quorum| quorum - 1).chain([0, LEAST_QUORUM - 1]).collect();
    for action in Action::ALL.into_iter().filter(|action| action.needs_a_plan()) {
        for (sample, approvals) in samples::of(action).flat_map(|sample| short.iter().map(move |approvals| (sample.clone(), *approvals))) {
            let decision = policies.decide(&sample.caller, action, &sample.resource, Circumstances { approvals, ..samples::NOON });
            let enough = |id: &String| policies.text(id).and_then(|text| text.quorum).is_some_and(|quorum| quorum <= approvals);
            if decision.allowed && !decision.policies.iter().all(enough) {
                let what = format!("{} allows {action} with {approvals} approvals", decision.policies.join(" "));
                return Err(PolicyRefusal(vec![of_file("(all files)", None, &what, HOLD)]));
            }
        }
    }
    Ok(())
}

const HOLD: &str = "write `context.approvals >= N` in its `when`, joined with && to the rest, and N at least the number in @quorum";

fn of_file(file: &str, line: Option<usize>, what: &str, remedy: &'static str) -> PolicyProblem {
    PolicyProblem { file: file.to_owned(), line, what: what.to_owned(), remedy }
}

/// The policies of a file in the order in which they stand.
fn parse(file: &str, text: &str, problems: &mut Vec<PolicyProblem>) -> Vec<Found> {
    let set = match text.parse::<PolicySet>() {
        Ok(set) => set,
        Err(errors) => {
            problems.extend(errors.iter().map(|error| {
                of_file(file, line_of(error, text), &error.to_string(), "put the text right; https://docs.cedarpolicy.com has the syntax")
            }));
            return Vec::new();
        }
    };
    if set.num_of_templates() > 0 {
        problems.push(of_file(file, None, "it has a template (`?principal` or `?resource`)", "write a policy without slots"));
    }
    let number = |policy: &Policy| policy.id().to_string().trim_start_matches("policy").parse::<usize>().unwrap_or(usize::MAX);
    let mut policies: Vec<Policy> = set.policies().cloned().collect();
    policies.sort_by_key(number);
    let mut from = 0;
    let mut found = Vec::new();
    for policy in policies {
        let own = policy.to_cedar().unwrap_or_default();
        let at = text.get(from..).and_then(|rest| rest.find(&own)).map_or(from, |at| from + at);
        from = at + own.len();
        let id = policy.annotation("id").unwrap_or_default().to_owned();
        let line = line_at(text, at);
        let comment = comment_above(text, line);
        for (name, _) in policy.annotations().filter(|(name, _)| !["id", "quorum"].contains(name)) {
            problems.push(of_file(file, Some(line), &format!("the annotation @{name} means nothing"), "known are @id and @quorum"));
        }
        let policy = policy.new_id(PolicyId::new(&id));
        let permits = policy.effect() == Effect::Permit;
        found.push(Found { policy, text: PolicyText { id, file: file.to_owned(), line, comment, permits, quorum: None } });
    }
    found
}

fn line_at(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

fn line_of(error: &dyn Diagnostic, text: &str) -> Option<usize> {
    error.labels()?.next().map(|label| line_at(text, label.offset()))
}

/// The lines of comment that stand directly above a line, as one.
fn comment_above(text: &str, line: usize) -> String {
    let above: Vec<&str> = text.lines().take(line - 1).collect();
    let mut comment: Vec<&str> = above.into_iter().rev().map_while(|line| line.trim().strip_prefix("//")).map(str::trim).collect();
    comment.reverse();
    comment.join(" ")
}

/// Every policy has an id that can stand in a log, and no two have the same.
fn ids(found: &[Found], problems: &mut Vec<PolicyProblem>) {
    let mut seen: BTreeMap<&str, &PolicyText> = BTreeMap::new();
    for Found { text, .. } in found {
        let fits = !text.id.is_empty() && text.id.len() <= 64;
        if !fits || !text.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            let what = if text.id.is_empty() { "a policy without @id" } else { "an @id that is not 1 to 64 of a-z 0-9 -" };
            problems.push(of_file(&text.file, Some(text.line), what, "write @id(\"what-it-says\") above it: the audit log names it so"));
        } else if let Some(first) = seen.insert(&text.id, text) {
            let what = format!("the @id {} stands in {}:{} too", text.id, first.file, first.line);
            problems.push(of_file(&text.file, Some(text.line), &what, "give each policy its own @id"));
        }
    }
}

/// A permit for what needs a plan names its quorum and is held to it; nothing else has one.
fn quorum(one: &mut Found, groups: &Entities, quorums: &mut HashMap<Action, u32>, problems: &mut Vec<PolicyProblem>) {
    let names = Names::new();
    let speaks = |action: &Action| one.policy.effect() == Effect::Permit && speaks_of(&one.policy, &names.action(*action), groups);
    let planned: Vec<Action> = Action::ALL.into_iter().filter(|action| action.needs_a_plan()).filter(speaks).collect();
    let id = one.text.id.clone();
    let mut refuse = |what: String, remedy| problems.push(of_file(&one.text.file, Some(one.text.line), &what, remedy));
    let written = one.policy.annotation("quorum");
    let Some(first) = planned.first() else {
        if written.is_some() {
            refuse(format!("{id} has a @quorum and permits nothing that needs a plan"), "take the @quorum away: nothing would hold to it");
        }
        return;
    };
    let mixed = matches!(one.policy.action_constraint(), ActionConstraint::Any)
        || Action::ALL.iter().any(|action| !action.needs_a_plan() && speaks(action));
    if mixed {
        return refuse(
            format!("{id} permits what needs a plan ({first}) together with what does not"),
            "write two policies: one with the actions that need a plan and their @quorum, one with the others",
        );
    }
    let number = written.and_then(|text| text.parse::<u32>().ok());
    let Some(quorum) = number.filter(|number| (LEAST_QUORUM..=LARGEST_QUORUM).contains(number)) else {
        let what = match written {
            None => format!("{id} permits {first}, which needs a plan, and has no @quorum"),
            Some(_) => format!("{id} permits {first} with a @quorum that is not a number from {LEAST_QUORUM} to {LARGEST_QUORUM}"),
        };
        return refuse(what, "write @quorum(\"2\") or more beside its @id");
    };
    if !held_to(&one.policy, quorum) {
        return refuse(format!("{id} permits {first} with a @quorum of {quorum} and does not ask for {quorum} approvals"), HOLD);
    }
    one.text.quorum = Some(quorum);
    for action in planned {
        let largest = quorums.entry(action).or_insert(quorum);
        *largest = quorum.max(*largest);
    }
}

/// Whether the policy cannot be satisfied with fewer approvals: a `when` asks for them, joined to the rest by nothing but &&.
fn held_to(policy: &Policy, quorum: u32) -> bool {
    let Ok(json) = policy.to_json() else { return false };
    let conditions = json.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let whens = conditions.filter(|condition| condition.get("kind") == Some(&json!("when")));
    let approvals = json!({".": {"left": {"Var": "context"}, "attr": "approvals"}});
    let asks = |term: &&Value| {
        let side = |side: &str| term.get(">=").and_then(|term| term.get(side));
        let least = side("right").and_then(|right| right.get("Value")).and_then(Value::as_i64);
        side("left") == Some(&approvals) && least.is_some_and(|least| least >= i64::from(quorum))
    };
    whens.filter_map(|when| when.get("body")).flat_map(terms).any(|term| asks(&term))
}

/// What is joined by && at the top of a condition.
pub(super) fn terms(body: &Value) -> Vec<&Value> {
    match (body.get("&&").and_then(|and| and.get("left")), body.get("&&").and_then(|and| and.get("right"))) {
        (Some(left), Some(right)) => [terms(left), terms(right)].concat(),
        _ => vec![body],
    }
}

/// Cedar's own check against the schema, in its strict mode. What it only warns of is refused too: a policy that can never hold is a mistake.
fn strictly(schema: &Schema, found: &[Found], files: &PolicyFiles, problems: &mut Vec<PolicyProblem>) {
    let set = PolicySet::from_policies(found.iter().map(|one| one.policy.clone())).expect("the ids are different");
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| (error.policy_id(), error.to_string(), error as &dyn Diagnostic));
    let warnings = result.validation_warnings().map(|warning| (warning.policy_id(), warning.to_string(), warning as &dyn Diagnostic));
    for (id, what, diagnostic) in errors.chain(warnings) {
        let Some(text) = found.iter().map(|one| &one.text).find(|text| PolicyId::new(&text.id) == *id) else { continue };
        let whole = files.iter().find(|(name, _)| *name == text.file).map_or("", |(_, whole)| whole);
        let line = line_of(diagnostic, whole).unwrap_or(text.line);
        problems.push(of_file(&text.file, Some(line), &what, "the schema, tillward.cedarschema, says what there is to ask about"));
    }
}
