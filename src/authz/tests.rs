//! The policies that come with Tillward, and what a set of policies is refused for.

mod border;
mod refused;

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Decision as Verdict, Entities, PolicySet, Request, Schema};
use proptest::prelude::*;

use super::files::{PolicyFiles, SCHEMA, SCHEMA_FILE};
use super::samples::{self, DEEDS, NOON, PURPOSES};
use super::*;

fn files(edit: impl Fn(&str, &str) -> String) -> PolicyFiles {
    PolicyFiles::built_in().iter().map(|(name, text)| (name.to_owned(), edit(name, text))).collect()
}

/// The set that comes with Tillward and one file more.
fn and(text: &str) -> Result<Policies, PolicyRefusal> {
    let more = [("more.cedar".to_owned(), text.to_owned())];
    Policies::check(&PolicyFiles::built_in().iter().map(|(name, text)| (name.to_owned(), text.to_owned())).chain(more).collect())
}

fn failing(cases: &[Case], policies: &Policies) -> Vec<String> {
    cases.iter().filter(|case| !case.run(policies).good).map(|case| format!("{}: {:?}", case.name, case.run(policies))).collect()
}

#[test]
fn the_policies_answer_every_case_as_written() {
    let cases = Case::parse(BUILT_IN_CASES).expect("cases");
    assert_eq!(failing(&cases, &Policies::built_in()), Vec::<String>::new());
}

#[test]
fn the_example_of_business_hours_answers_its_cases_and_those_of_the_other_policies_by_day() {
    let policies = and(include_str!("../../policies/examples/business-hours.cedar")).expect("a good example");
    let cases = Case::parse(include_str!("../../policies/examples/business-hours.toml")).expect("cases");
    assert_eq!(failing(&cases, &policies), Vec::<String>::new());
    assert!(matrix(&policies).lines().any(|line| line.starts_with("export_key") && line.contains("2+*")), "the matrix says so");
}

#[test]
fn no_policy_is_dead_removing_any_one_changes_a_case_or_the_matrix() {
    let cases = Case::parse(BUILT_IN_CASES).expect("cases");
    let whole = matrix(&Policies::built_in());
    let mut tried = 0;
    for (file, text) in PolicyFiles::built_in().iter().filter(|(name, _)| *name != SCHEMA_FILE) {
        for policy in text.parse::<PolicySet>().expect("parses").policies() {
            let less = text.replacen(&policy.to_cedar().expect("its text"), "", 1);
            let mutant = Policies::check(&files(|name, text| if name == file { less.clone() } else { text.to_owned() })).expect("checks");
            assert_eq!(mutant.texts().len() + 1, Policies::built_in().texts().len());
            let id = policy.annotation("id").expect("an id");
            assert!(!failing(&cases, &mutant).is_empty() || matrix(&mutant) != whole, "{id} is dead");
            tried += 1;
        }
    }
    assert_eq!(tried, Policies::built_in().texts().len());
}

#[test]
fn no_condition_is_dead_dropping_any_one_changes_a_case_or_the_matrix_or_is_refused() {
    let cases = Case::parse(BUILT_IN_CASES).expect("cases");
    let whole = matrix(&Policies::built_in());
    let mut tried = 0;
    for (file, text) in PolicyFiles::built_in().iter().filter(|(name, _)| *name != SCHEMA_FILE) {
        for policy in text.parse::<PolicySet>().expect("parses").policies() {
            let json = policy.to_json().expect("JSON");
            if json["conditions"].as_array().is_none_or(Vec::is_empty) {
                continue;
            }
            for at in 0..check::terms(&json["conditions"][0]["body"]).len() {
                let mut less = json.clone();
                let terms: Vec<_> = check::terms(&json["conditions"][0]["body"]).into_iter().cloned().collect();
                // What the wall says too: it stands twice on purpose.
                if policy.effect() == cedar_policy::Effect::Permit && terms[at].get("containsAll").is_some() {
                    continue;
                }
                let left = terms.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, term)| term.clone());
                let joined = left.reduce(|left, right| serde_json::json!({"&&": {"left": left, "right": right}}));
                less["conditions"] =
                    joined.map_or(serde_json::json!([]), |body| serde_json::json!([{"kind": json["conditions"][0]["kind"], "body": body}]));
                let mutant = cedar_policy::Policy::from_json(None, less).expect("a policy").to_cedar().expect("its text");
                let mutated = text.replacen(&policy.to_cedar().expect("its text"), &mutant, 1);
                let mutated = Policies::check(&files(|name, text| if name == file { mutated.clone() } else { text.to_owned() }));
                let seen = mutated.map_or(true, |mutant| !failing(&cases, &mutant).is_empty() || matrix(&mutant) != whole);
                assert!(seen, "{}: term {at} is dead: {mutant}", policy.annotation("id").expect("an id"));
                tried += 1;
            }
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn every_policy_has_a_comment_for_the_auditor() {
    for text in Policies::built_in().texts() {
        assert!(text.comment.len() > 20, "{}: {:?}", text.id, text.comment);
    }
}

#[test]
fn an_empty_set_denies_everything_to_everybody() {
    let nothing = Policies::check(&PolicyFiles::default()).expect("nothing is wrong with it");
    for action in Action::ALL {
        assert_eq!(nothing.quorum(action), None);
        for sample in samples::of(action) {
            let decision = nothing.decide(&sample.caller, action, &sample.resource, Circumstances { approvals: 8, ..NOON });
            assert!(!decision.allowed && decision.policies.is_empty() && decision.errors.is_empty(), "{action}");
        }
    }
}

#[test]
fn the_sets_that_are_cut_by_role_and_action_decide_as_the_whole_set_does() {
    let policies = Policies::built_in();
    let whole = PolicySet::from_policies(policies.parsed().iter().cloned()).expect("a set");
    let names = policies.engine().names();
    for action in Action::ALL {
        for sample in samples::of(action) {
            for approvals in [0, 2] {
                let now = Circumstances { approvals, ..NOON };
                let caller = names.caller(&sample.caller).expect("an entity");
                let (request, entities) = names.request(caller, names.action(action), &sample.resource, now).expect("a request");
                let response = Authorizer::new().is_authorized(&request, &whole, &entities);
                let mut ids: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
                ids.sort();
                let decision = policies.decide(&sample.caller, action, &sample.resource, now);
                assert_eq!((response.decision() == Verdict::Allow, ids), (decision.allowed, decision.policies), "{action}");
                assert_eq!(decision.errors, Vec::<String>::new());
            }
        }
    }
}

#[test]
fn what_the_program_builds_conforms_to_the_schema() {
    let schema = Schema::from_cedarschema_str(SCHEMA).expect("a schema").0;
    let policies = Policies::built_in();
    let names = policies.engine().names();
    let mut conforming = 0;
    for action in Action::ALL {
        let of_schema: BTreeSet<String> =
            schema.resources_for_action(&names.action(action)).expect("in the schema").map(ToString::to_string).collect();
        let of_code: BTreeSet<String> = action.applies_to().iter().map(|kind| entities::kind_name(*kind).to_owned()).collect();
        assert_eq!(of_schema, of_code, "{action}");
        for sample in samples::of(action) {
            let caller = names.caller(&sample.caller).expect("an entity");
            let resource = names.resource(&sample.resource).expect("an entity");
            let uids = (caller.uid(), resource.uid());
            Entities::from_entities([caller, resource], Some(&schema)).expect("conforms");
            let of_schema =
                schema.principals_for_action(&names.action(action)).expect("in the schema").any(|name| name == uids.0.type_name());
            let context = entities::context(NOON).expect("a context");
            let valid = Request::new(uids.0, names.action(action), uids.1, context, Some(&schema)).is_ok();
            assert_eq!(valid, of_schema, "{action}");
            if !valid {
                let now = Circumstances { approvals: 8, ..NOON };
                assert!(!policies.decide(&sample.caller, action, &sample.resource, now).allowed, "{action} is not for this caller");
            }
            conforming += usize::from(valid);
        }
    }
    let actions = schema.actions().count();
    assert_eq!(actions, Action::ALL.len(), "the schema has no action of its own");
    assert!(conforming > 1000, "{conforming}");
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies_whatever_the_others_say() {
    // Strict mode lets no such policy in; overflow is what it cannot see.
    let policies = and(r#"@id("too-far") forbid (principal is System, action, resource) when { context.at * 4611686018427387904 > 0 };"#)
        .expect("checks");
    let now = Circumstances::at(UnixTime(1_795_608_000));
    let decision = policies.decide(&Caller::System("task"), Action::RotateKey, &Resource::key("k", None), now);
    assert!(!decision.allowed && decision.errors.len() == 1, "{decision:?}");
    let authz = Authz::by([], policies).expect("no principals");
    assert!(authz.authorize(&Caller::System("task"), Action::RotateKey, &Resource::key("k", None), now).is_err());
}

#[test]
fn a_denial_by_a_policy_names_it() {
    let entry = PrincipalEntry { uri: "urn:a".parse().expect("a URI"), role: Role::Backend, acquirers: BTreeSet::new() };
    let authz = Authz::new([entry]).expect("one principal");
    let caller = authz.identify("urn:a").expect("configured");
    let acme: crate::id::AcquirerId = "acme".parse().expect("an id");
    let merchant = Resource::merchant(&"m".parse().expect("an id"), &acme);
    let denied = authz.authorize(&caller, Action::ReadMerchant, &merchant, NOON).expect_err("foreign");
    assert_eq!(denied.policies(), ["no-foreign-acquirer"]);
    let nobodys = authz.authorize(&caller, Action::ReadAudit, &Resource::audit(), NOON).expect_err("not a back end's");
    assert!(nobodys.policies().is_empty());
}

#[test]
fn below_its_quorum_nothing_that_needs_a_plan_is_allowed_to_anybody() {
    let policies = Policies::built_in();
    for action in Action::ALL.into_iter().filter(|action| action.needs_a_plan()) {
        let quorum = policies.quorum(action).expect("a quorum");
        for sample in samples::of(action) {
            for approvals in 0..quorum {
                assert!(
                    !policies.decide(&sample.caller, action, &sample.resource, Circumstances { approvals, ..NOON }).allowed,
                    "{action}"
                );
            }
        }
    }
}

#[test]
fn nobody_approves_its_own_request_whatever_the_plan_and_the_approvals() {
    let policies = Policies::built_in();
    for (name, caller) in samples::callers() {
        let Caller::Principal(principal) = &caller else { continue };
        for deed in DEEDS {
            for approvals in 0..8 {
                let own: crate::id::AcquirerId = "own".parse().expect("an id");
                let of_acquirer = Resource::plan("p", &own).with("deed", deed).with("requester", principal.uri().as_str());
                let of_service = Resource::plan("p", None).with("deed", deed).with("requester", principal.uri().as_str());
                let of_nobody = Resource::plan("p", None).with("deed", deed);
                for plan in [of_acquirer, of_service, of_nobody] {
                    let decision = policies.decide(&caller, Action::ApprovePlan, &plan, Circumstances { approvals, ..NOON });
                    assert!(!decision.allowed && decision.policies.contains(&"no-self-approval".to_owned()), "{name} {deed}");
                }
            }
        }
    }
}

#[test]
fn an_explanation_names_what_decided_and_what_was_nearly_enough() {
    let policies = Policies::built_in();
    let question = Question::new("operator:acme", None, "destroy_key", "key:receipts:acme").expect("a question").approved(1);
    let explanation = explain(&policies, &question);
    assert!(!explanation.answer.allowed && explanation.by.is_empty());
    let near: Vec<_> = explanation.near.iter().map(|miss| (miss.policy.id.as_str(), miss.unmet.join("; "))).collect();
    assert_eq!(near, [("quorum-decides-over-keys", "context.approvals >= 2".to_owned())]);
    let allowed = explain(&policies, &question.approved(2));
    assert!(allowed.answer.allowed && allowed.near.is_empty());
    assert_eq!(allowed.by[0].file, "approvals.cedar");
    let foreign =
        Question::new("backend:acme", None, "key_sign", "key:k:other").expect("a question").with("purpose", "mac").expect("a trait");
    let foreign = explain(&policies, &foreign);
    assert_eq!(foreign.by[0].id, "no-foreign-acquirer");
    assert_eq!(foreign.near[0].unmet, [r#"resource.purpose == Purpose::"sign""#, "principal.acquirers.containsAll(resource.acquirers)"]);
}

#[test]
fn a_text_that_is_no_question_says_what_it_should_be() {
    let ask = |who, action, resource| Question::new(who, None, action, resource).map(|_| ());
    assert!(matches!(ask("chief", "random", "hsm:*"), Err(QuestionError::Who(_))));
    assert!(matches!(ask("officer:No Such", "random", "hsm:*"), Err(QuestionError::Who(_))));
    assert!(matches!(ask("device:x", "random", "hsm:*"), Err(QuestionError::Who(_))));
    assert!(matches!(ask("officer", "print_money", "hsm:*"), Err(QuestionError::Action(_))));
    assert!(matches!(ask("officer", "random", "vault:*"), Err(QuestionError::Resource(_))));
    assert!(matches!(ask("officer", "random", "hsm"), Err(QuestionError::Resource(_))));
    assert!(ask("officer:a,b", "random", "hsm:*:a,b").is_ok());
}

fn acquirers() -> impl Strategy<Value = BTreeSet<crate::id::AcquirerId>> {
    let name = prop::sample::select(vec!["acme", "beta", "gamma", "delta", "epsilon"]);
    prop::collection::btree_set(name.prop_map(|name| name.parse().expect("an id")), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn no_principal_is_ever_allowed_anything_on_what_belongs_to_a_foreign_acquirer(
        role in prop::sample::select(Role::ALL.to_vec()),
        own in acquirers(),
        others in acquirers(),
        action in prop::sample::select(Action::ALL.to_vec()),
        kind in prop::sample::select(ResourceKind::ALL.to_vec()),
        purpose in prop::sample::select(PURPOSES.to_vec()),
        deed in prop::sample::select(DEEDS.to_vec()),
        requester in "urn:[a-c]",
        approvals in 0_u32..9,
        at in 0_i64..4_000_000_000,
    ) {
        let owners: BTreeSet<_> = others.into_iter().chain(["foreign".parse().expect("an id")]).collect();
        thread_local!(static POLICIES: Policies = Policies::built_in());
        let entry = PrincipalEntry { uri: "urn:a".parse().expect("a URI"), role, acquirers: own };
        let caller = Caller::Principal(Principal::new(entry));
        let resource = Resource::of(kind, "x", &owners).with("purpose", purpose).with("deed", deed).with("requester", requester);
        let kinds = action.applies_to();
        for resource in [resource].into_iter().chain(kinds.iter().map(|kind| Resource::of(*kind, "x", &owners).with("purpose", purpose))) {
            let decision = POLICIES.with(|policies| policies.decide(&caller, action, &resource, Circumstances { at: UnixTime(at), approvals }));
            prop_assert!(!decision.allowed, "{action} {resource} {decision:?}");
            prop_assert!(decision.errors.is_empty(), "{:?}", decision.errors);
        }
    }
}
