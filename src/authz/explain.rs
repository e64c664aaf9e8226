//! Why the policies answer as they do: which decided, and which would allow it if something were otherwise.

use cedar_policy::{Authorizer, Decision as Verdict, Effect, Entities, Policy, PolicySet, Request};
use serde_json::{Value, json};

use super::check::terms;
use super::engine::speaks_of;
use super::policies::{Policies, PolicyText};
use super::question::{Answer, Question};

/// The answer with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The answer.
    pub answer: Answer,
    /// The policies that decided.
    pub by: Vec<PolicyText>,
    /// Policies that would allow it; those that lack least come first.
    pub near: Vec<NearMiss>,
}

/// A policy that permits the action, and what is not so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The policy.
    pub policy: PolicyText,
    /// What would have to hold and does not, in the policy's own words.
    pub unmet: Vec<String>,
}

/// Explains the answer to a question.
pub fn explain(policies: &Policies, question: &Question) -> Explanation {
    let answer = question.put(policies);
    let by = answer.policies.iter().filter_map(|id| policies.text(id).cloned()).collect();
    let mut near = if answer.allowed || !question.applies() { Vec::new() } else { misses(policies, question).unwrap_or_default() };
    near.sort_by_key(|miss| miss.unmet.len());
    Explanation { answer, by, near }
}

fn misses(policies: &Policies, question: &Question) -> Option<Vec<NearMiss>> {
    let names = policies.engine().names();
    let action = names.action(question.action());
    let caller = names.caller(question.caller()).ok()?;
    let (request, entities) = names.request(caller, action.clone(), question.resource(), question.now()).ok()?;
    let permits = |policy: &&Policy| policy.effect() == Effect::Permit && speaks_of(policy, &action, &Entities::empty());
    let miss = |policy: &Policy| {
        let unmet = parts(policy)?.into_iter().filter(|part| !holds(part, &request, &entities)).filter_map(|part| words(&part)).collect();
        Some(NearMiss { policy: policies.text(policy.id().as_ref())?.clone(), unmet })
    };
    Some(policies.parsed().iter().filter(permits).filter_map(miss).collect())
}

/// A policy for each thing that it asks for: who, what, and each term of its conditions.
fn parts(policy: &Policy) -> Option<Vec<Value>> {
    let whole = policy.to_json().ok()?;
    let all = json!({"op": "All"});
    let part = |principal: &Value, resource: &Value, conditions: Vec<Value>| json!({"effect": "permit", "principal": principal, "action": all, "resource": resource, "conditions": conditions});
    let mut parts = vec![part(whole.get("principal")?, &all, Vec::new()), part(&all, whole.get("resource")?, Vec::new())];
    for condition in whole.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let (kind, body) = (condition.get("kind")?, condition.get("body")?);
        let bodies = if kind == "when" { terms(body) } else { vec![body] };
        parts.extend(bodies.into_iter().map(|body| part(&all, &all, vec![json!({"kind": kind, "body": body})])));
    }
    Some(parts)
}

fn holds(part: &Value, request: &Request, entities: &Entities) -> bool {
    let Ok(policy) = Policy::from_json(None, part.clone()) else { return false };
    let Ok(set) = PolicySet::from_policies([policy]) else { return false };
    Authorizer::new().is_authorized(request, &set, entities).decision() == Verdict::Allow
}

/// What a part asks for, as a policy would write it.
fn words(part: &Value) -> Option<String> {
    let conditions = part.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let said: Vec<String> = conditions
        .filter_map(|condition| {
            let text = written(condition.get("body")?)?;
            Some(if condition.get("kind")? == "unless" { format!("not: {text}") } else { text })
        })
        .collect();
    if !said.is_empty() {
        return Some(said.join("; "));
    }
    let text = Policy::from_json(None, part.clone()).ok()?.to_cedar()?;
    let scope = text.split_once('(')?.1.rsplit_once(')')?.0.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(scope.replace(", action, resource", "").replace("principal, action, ", ""))
}

/// An expression in Cedar's own syntax. Cedar would print it as it evaluates it: `>=` as a negated `<`.
fn written(body: &Value) -> Option<String> {
    let (operator, of) = body.as_object()?.iter().next()?;
    let part = |name: &str| of.get(name).and_then(written);
    let attribute = || of.get("attr").and_then(Value::as_str);
    Some(match operator.as_str() {
        "Var" => of.as_str()?.to_owned(),
        "Value" => match of.get("__entity") {
            Some(entity) => format!("{}::{}", entity.get("type")?.as_str()?, entity.get("id")?),
            None => of.to_string(),
        },
        "Set" => format!("[{}]", of.as_array()?.iter().map(written).collect::<Option<Vec<_>>>()?.join(", ")),
        "." => format!("{}.{}", part("left")?, attribute()?),
        "has" => format!("{} has {}", part("left")?, attribute()?),
        "is" => format!("{} is {}", part("left")?, of.get("entity_type")?.as_str()?),
        "!" => format!("!{}", bracketed(part("arg")?)),
        "isEmpty" => format!("{}.isEmpty()", part("arg")?),
        "contains" | "containsAll" | "containsAny" => format!("{}.{operator}({})", part("left")?, part("right")?),
        "if-then-else" => format!("if {} then {} else {}", part("if")?, part("then")?, part("else")?),
        "&&" | "||" => format!("{} {operator} {}", bracketed(part("left")?), bracketed(part("right")?)),
        _ => format!("{} {operator} {}", part("left")?, part("right")?),
    })
}

fn bracketed(text: String) -> String {
    if text.contains(' ') { format!("({text})") } else { text }
}
