use proptest::prelude::*;

use super::*;
use crate::function::Function;

fn rule(text: &str) -> Rule {
    match Script::line(text) {
        Ok(Some(Line::Rule(rule))) => rule,
        other => panic!("{text}: {other:?}"),
    }
}

fn reason(text: &str) -> String {
    Script::parse(text).expect_err(text).to_string()
}

#[test]
fn a_rule_reads_as_it_is_said() {
    let plain = rule("C_Sign return CKR_DEVICE_ERROR");
    assert_eq!(plain.functions.iter().collect::<Vec<_>>(), [Function::Sign]);
    assert_eq!((plain.when, plain.action), (When::default(), Action::Return(0x30)));

    let every = rule("C_Sign*,C_Login every 3 2.5% seed 9 from 100ms for 2s shared output after delay 10ms..1m # why not");
    assert_eq!(every.functions.iter().count(), 8);
    let when = When {
        calls: Calls::Every(3),
        per_million: 25_000,
        seed: 9,
        from: Duration::from_millis(100),
        span: Some(Duration::from_secs(2)),
        shared: true,
        output: true,
        after: true,
    };
    assert_eq!((every.when, every.action), (when, Action::Delay(Duration::from_millis(10), Duration::from_mins(1))));
    assert_eq!(rule("* hang").functions, FunctionSet::ALL);
    assert_eq!(rule("* break-device").action, Action::Harm(Harm::BreakDevice(0x30)));
    assert_eq!(rule("* on 3 hang").when.calls, Calls::Range(3, 3));
    assert_eq!(rule("* next 3 hang").when.calls, Calls::Range(1, 3));
}

#[test]
fn a_script_has_rules_limits_and_comments() {
    let text =
        "# an outage\n\npin-tries 3\nlimit sessions 16 shared\nlimit token-objects 5\n  C_Sign hang  # for ever\nlimit session-objects 0";
    let script = Script::parse(text).expect("a script");
    assert_eq!(script.rules.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [6]);
    let settings = Settings { sessions: Some((16, true)), token_objects: Some(5), session_objects: Some(0), pin_tries: Some(3) };
    assert_eq!(script.settings, settings);
}

#[test]
fn the_readme_knows_every_word_and_its_outages_are_scripts() {
    let readme = include_str!("../../README.md");
    let outages = readme.split_once("## Outages").and_then(|(_, rest)| rest.split_once("## Control socket")).expect("the part").0;
    let scripts: Vec<_> = outages.split("```").skip(1).step_by(2).map(|block| block.strip_prefix("text\n").expect("a text")).collect();
    assert_eq!(scripts.len(), 4);
    for text in scripts {
        assert!(!Script::parse(text).expect(text).rules.is_empty());
    }
    for word in
        "always on next every seed for from output before after shared return delay hang abort segfault kill exit drop-login close-session close-sessions \
         stale-objects change-slots remove-token lose-init break-device corrupt shorten lengthen pin-tries limit"
            .split_whitespace()
    {
        assert!(readme.contains(&format!("`{word}")), "{word}");
    }
}

#[test]
fn an_error_names_its_line_and_its_word() {
    for (text, expected) in [
        ("\n\nC_Nothing hang", "line 3: \"C_Nothing\" names no function that is not named already"),
        ("C_Sign,C_Sign hang", "line 1: \"C_Sign\" names no function that is not named already"),
        ("C_Sign", "line 1: the action is missing"),
        ("C_Sign return", "line 1: the return code is missing"),
        ("C_Sign return CKR_WHAT", "line 1: \"CKR_WHAT\" is no return code"),
        ("C_Sign hang hang", "line 1: \"hang\" stands behind the end"),
        ("C_Sign jump", "line 1: \"jump\" is neither a condition nor an action"),
        ("C_Sign on 0 hang", "line 1: \"0\": calls are counted from 1 upwards"),
        ("C_Sign on 3..2 hang", "line 1: \"3..2\": calls are counted from 1 upwards"),
        ("C_Sign on 1 every 2 hang", "line 1: \"every\": which calls was said before"),
        ("C_Sign every 0 hang", "line 1: 0 is too few"),
        ("C_Sign -1 hang", "line 1: \"-1\" is neither a condition nor an action"),
        ("C_Sign 101% hang", "line 1: \"101%\" is no share between 0.0001% and 100%"),
        ("C_Sign 0% hang", "line 1: \"0%\" is no share between 0.0001% and 100%"),
        ("C_Sign delay 5", "line 1: \"5\" is no duration: 50ms, 2s, 1m"),
        ("C_Sign delay 9999999m", "line 1: \"9999999m\" is too long"),
        ("C_Sign delay 2s..1s", "line 1: \"2s..1s\" ends before it begins"),
        ("C_Sign for 0s hang", "line 1: \"for\" no time at all"),
        ("C_Sign seed 1 hang", "line 1: \"seed\" without anything to draw"),
        ("C_Sign after corrupt", "line 1: damage to the output is always done after the call: leave \"after\" out"),
        ("C_Login corrupt", "line 1: none of the functions has an output with a length"),
        ("C_Login output hang", "line 1: none of the functions has an output with a length"),
        ("* break-device CKR_OK", "line 1: a device that answers CKR_OK is not broken"),
        ("C_Sign exit 256", "line 1: \"256\" is no exit status"),
        ("limit files 3", "line 1: \"files\" is none of sessions, token-objects, session-objects"),
        ("limit token-objects 3 shared", "line 1: \"shared\" stands behind the end"),
        ("pin-tries 0", "line 1: pin-tries is between 1 and 1000"),
        ("pin-tries 3\npin-tries 3", "line 2: was said before"),
    ] {
        assert_eq!(reason(text), expected, "{text}");
    }
}

fn hit(when: &When, upto: u64) -> Vec<u64> {
    (1..=upto).filter(|number| when.hits(*number)).collect()
}

#[test]
fn calls_are_counted_from_one() {
    let when = |calls| When { calls, ..When::default() };
    assert_eq!(hit(&when(Calls::Every(1)), 3), [1, 2, 3]);
    assert_eq!(hit(&when(Calls::Every(3)), 7), [3, 6]);
    assert_eq!(hit(&when(Calls::Range(2, 4)), 7), [2, 3, 4]);
}

#[test]
fn a_share_is_kept_and_a_seed_replays_it() {
    let share = |seed| When { per_million: 50_000, seed, ..When::default() };
    let hits = hit(&share(7), 100_000);
    assert!((4_700..5_300).contains(&hits.len()), "{}", hits.len());
    assert_eq!(hits, hit(&share(7), 100_000));
    assert_ne!(hits, hit(&share(8), 100_000));
}

#[test]
fn a_span_begins_and_ends() {
    let when = When { from: Duration::from_secs(1), span: Some(Duration::from_secs(2)), ..When::default() };
    let awake = [0, 1, 2, 3].map(|age| when.is_awake(Duration::from_secs(age)));
    assert_eq!(awake, [false, true, true, false]);
    assert_eq!([0, 2, 3].map(|age| when.is_over(Duration::from_secs(age))), [false, false, true]);
}

#[test]
fn a_random_delay_stays_in_its_range() {
    let when = When { seed: 3, ..When::default() };
    let (shortest, longest) = (Duration::from_millis(10), Duration::from_millis(12));
    let delays: Vec<_> = (1..1_000).map(|number| when.delay(number, shortest, longest)).collect();
    assert!(delays.iter().all(|delay| (shortest..=longest).contains(delay)));
    assert!(delays.iter().min() < delays.iter().max());
    assert_eq!(when.delay(1, shortest, shortest), shortest);
}

fn action() -> impl Strategy<Value = Action> {
    let ms = |ms| Duration::from_millis(ms);
    prop_oneof![
        any::<u64>().prop_map(Action::Return),
        (0..9_999_u64, 0..9_999_u64).prop_map(move |(shortest, more)| Action::Delay(ms(shortest), ms(shortest + more))),
        Just(Action::Hang),
        prop_oneof![Just(Death::Abort), Just(Death::Segfault), Just(Death::Kill), any::<u8>().prop_map(Death::Exit)].prop_map(Action::Die),
        prop_oneof![
            Just(Harm::DropLogin),
            Just(Harm::CloseSession),
            Just(Harm::CloseSessions),
            Just(Harm::StaleObjects),
            Just(Harm::ChangeSlots),
            Just(Harm::RemoveToken),
            Just(Harm::LoseInit),
            (1..u64::MAX).prop_map(Harm::BreakDevice)
        ]
        .prop_map(Action::Harm),
        prop_oneof![Just(Damage::Corrupt), (1..u64::MAX).prop_map(Damage::Shorten), (1..u64::MAX).prop_map(Damage::Lengthen)]
            .prop_map(Action::Damage),
    ]
}

prop_compose! {
    fn any_rule()(
        names in prop::collection::vec(prop::sample::select(Function::ALL), 1..5),
        calls in prop_oneof![(1..u64::MAX).prop_map(Calls::Every), (1..u64::MAX, 0..9_u64).prop_map(|(first, more)| Calls::Range(first, first.saturating_add(more)))],
        (per_million, seed) in (1..=ALWAYS, any::<u64>()),
        from in 0..99_999_u64,
        span in prop::option::of(1..99_999_u64),
        flags in any::<[bool; 3]>(),
        action in action(),
    ) -> Rule {
        let damage = matches!(action, Action::Damage(_));
        let functions = names.into_iter().fold(FunctionSet::EMPTY.with(Function::Sign), FunctionSet::with);
        let draws = per_million < ALWAYS || damage || matches!(action, Action::Delay(shortest, longest) if shortest < longest);
        let when = When {
            calls,
            per_million,
            seed: if draws && !matches!(action, Action::Damage(Damage::Shorten(_) | Damage::Lengthen(_))) { seed } else { 0 },
            from: Duration::from_millis(from),
            span: span.map(Duration::from_millis),
            shared: flags[0],
            output: flags[1],
            after: flags[2] && !damage,
        };
        Rule { functions, when, action }
    }
}

proptest! {
    #[test]
    fn a_rule_is_read_back_from_what_it_shows(expected in any_rule()) {
        let text = expected.to_string();
        prop_assert_eq!(Script::line(&text), Ok(Some(Line::Rule(expected))), "{}", text);
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _: Result<Script, ScriptError> = Script::parse(&text);
    }

    #[test]
    fn no_row_of_words_panics(
        words in prop::collection::vec(
            prop::sample::select(&["C_Sign", "*", "C_*", "on", "1", "0..3", "every", "next", "5%", "0.00001%", "seed", "for", "from", "2s", "99999999999999999999m", "delay", "1ms..2ms",
                "return", "0x", "CKR_OK", "shared", "output", "after", "corrupt", "shorten", "limit", "sessions", "pin-tries", "#", "\n", "exit", "break-device"][..]),
            0..12),
    ) {
        let text = words.join(" ");
        if let Ok(script) = Script::parse(&text) {
            for (_, rule) in script.rules {
                prop_assert_eq!(Script::line(&rule.to_string()), Ok(Some(Line::Rule(rule))));
            }
        }
    }
}
