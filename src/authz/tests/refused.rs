//! What a set of policies is refused for: each a whole set with one mistake.

use super::*;

/// Why it is refused: one problem, in more.cedar.
fn refused(text: &str) -> PolicyProblem {
    let PolicyRefusal(problems) = and(text).expect_err(text);
    assert!(problems.iter().all(|problem| problem.file == "more.cedar" && !problem.remedy.is_empty()), "{problems:?}");
    problems.into_iter().next().expect("a problem")
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
