//! The policies that come with Tillward, and what a set of policies is refused for.

mod border;

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

/// Why it is refused: one problem, in more.cedar.
fn refused(text: &str) -> PolicyProblem {
    let PolicyRefusal(problems) = and(text).expect_err(text);
    assert!(problems.iter().all(|problem| problem.file == "more.cedar" && !problem.remedy.is_empty()), "{problems:?}");
    problems.into_iter().next().expect("a problem")
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
fn a_file_that_does_not_parse_refuses_the_whole_set_with_its_line() {
    let problem = refused("// a comment\n\npermit (principal, action, resource\n");
    assert!(problem.line.is_some_and(|line| line >= 3), "{problem:?}");
}

#[test]
fn an_unknown_attribute_is_refused() {
    let problem =
        refused("@id(\"x\")\npermit (principal is Principal, action == Action::\"random\", resource)\nwhen { principal.clearance > 3 };");
    assert!(problem.what.contains("clearance") && problem.line == Some(3), "{problem:?}");
}

#[test]
fn an_unknown_action_is_refused() {
    let problem = refused("@id(\"x\")\npermit (principal, action == Action::\"print_money\", resource);");
    assert!(problem.what.contains("print_money"), "{problem:?}");
}

#[test]
fn an_unknown_role_and_an_unknown_purpose_are_refused() {
    refused("@id(\"x\") permit (principal in Role::\"oficer\", action == Action::\"random\", resource);");
    refused(
        "@id(\"x\") forbid (principal, action == Action::\"key_sign\", resource) when { resource has purpose && resource.purpose == Purpose::\"sing\" };",
    );
}

#[test]
fn a_policy_that_can_never_hold_is_refused() {
    refused("@id(\"x\") permit (principal is Phone, action == Action::\"random\", resource);");
    refused("@id(\"x\") permit (principal, action == Action::\"random\", resource) when { context.hour > 8 && false };");
}

#[test]
fn a_template_is_refused() {
    assert!(refused("@id(\"x\") permit (principal == ?principal, action == Action::\"random\", resource);").what.contains("template"));
}

#[test]
fn an_id_that_is_missing_unfit_or_there_twice_is_refused() {
    let random = "permit (principal in Role::\"officer\", action == Action::\"random\", resource);";
    assert!(refused(random).what.contains("without @id"));
    for id in ["", "Two Words", "a b", "über", "a\\nb"] {
        refused(&format!("@id(\"{id}\") {random}"));
    }
    let PolicyRefusal(twice) = and(&format!("\n@id(\"officer-reads\") {random}")).expect_err("twice");
    assert_eq!(twice.len(), 1);
    assert!(twice[0].file == "operations.cedar" && twice[0].what == "the @id officer-reads stands in more.cedar:2 too", "{twice:?}");
    assert!(refused(&format!("@id(\"x\") @quorom(\"2\") {random}")).what.contains("@quorom"));
}

#[test]
fn a_schema_of_another_program_is_refused() {
    let other = files(|name, text| if name == SCHEMA_FILE { format!("{text}\nentity Backdoor;\n") } else { text.to_owned() });
    let PolicyRefusal(problems) = Policies::check(&other).expect_err("another schema");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].file, SCHEMA_FILE);
}

const DESTROYS: &str = "permit (principal in Role::\"officer\", action == Action::\"destroy_key\", resource)";

#[test]
fn a_quorum_that_is_missing_0_1_or_no_number_is_refused() {
    assert!(refused(&format!("@id(\"x\") {DESTROYS} when {{ context.approvals >= 2 }};")).what.contains("has no @quorum"));
    for quorum in ["0", "1", "", "two", "-2", "2.0", "9", "4294967298"] {
        let problem = refused(&format!("@id(\"x\") @quorum(\"{quorum}\") {DESTROYS} when {{ context.approvals >= 8 }};"));
        assert!(problem.what.contains("not a number from 2 to 8"), "{quorum}: {problem:?}");
    }
}

#[test]
fn a_policy_that_is_not_held_to_its_quorum_by_its_own_condition_is_refused() {
    for condition in [
        "",
        "when { context.approvals >= 1 }",
        "when { context.approvals > 0 }",
        "when { context.approvals >= 2 || context.hour == 3 }",
        "when { !(context.approvals >= 2) }",
        "when { context.approvals <= 2 }",
        "when { 2 >= context.approvals }",
        "when { if context.hour == 3 then true else context.approvals >= 2 }",
        "unless { context.approvals >= 2 }",
        "when { (context.approvals >= 2 && context.hour == 1) || context.hour == 2 }",
        "when { context.hour >= 2 }",
    ] {
        let problem = refused(&format!("@id(\"x\") @quorum(\"2\") {DESTROYS} {condition};"));
        assert!(problem.what.contains("does not ask for 2 approvals"), "{condition}: {problem:?}");
    }
    let short = refused(&format!("@id(\"x\") @quorum(\"3\") {DESTROYS} when {{ context.approvals >= 2 }};"));
    assert!(short.what.contains("does not ask for 3 approvals"), "{short:?}");
}

#[test]
fn a_policy_for_every_action_takes_in_what_needs_a_plan_and_is_refused() {
    refused("@id(\"x\") permit (principal in Role::\"officer\", action, resource);");
    refused("@id(\"x\") @quorum(\"2\") permit (principal in Role::\"officer\", action, resource) when { context.approvals >= 2 };");
    refused(
        "@id(\"x\") @quorum(\"2\") permit (principal in Role::\"officer\", action in [Action::\"destroy_key\", Action::\"rotate_key\"], resource) when { context.approvals >= 2 };",
    );
}

#[test]
fn a_quorum_where_it_means_nothing_is_refused() {
    refused("@id(\"x\") @quorum(\"2\") permit (principal in Role::\"officer\", action == Action::\"random\", resource);");
    refused("@id(\"x\") @quorum(\"2\") forbid (principal, action == Action::\"destroy_key\", resource) when { context.hour < 8 };");
}

#[test]
fn the_largest_quorum_counts_and_every_action_that_needs_a_plan_has_one() {
    let policies = Policies::built_in();
    for action in Action::ALL {
        assert_eq!(policies.quorum(action), action.needs_a_plan().then_some(2), "{action}");
    }
    for text in [
        format!("@id(\"x\") @quorum(\"3\") {DESTROYS} when {{ context.approvals >= 3 }};"),
        format!("@id(\"x\") @quorum(\"3\") {DESTROYS} when {{ resource has purpose && context.approvals >= 4 && context.hour > 2 }};"),
        format!("@id(\"x\") @quorum(\"3\") {DESTROYS} when {{ context.hour > 2 }} when {{ context.approvals >= 3 }};"),
    ] {
        let policies = and(&text).expect(&text);
        assert_eq!(policies.quorum(Action::DestroyKey), Some(3));
        assert_eq!(policies.quorum(Action::ExportKey), Some(2));
    }
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
