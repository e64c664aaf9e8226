//! The officers' file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::approval::Roster;

fuzz_target!(|text: &str| {
    let Ok(roster) = Roster::parse(text) else { return };
    let keys: Vec<_> = roster.officers().filter_map(|officer| roster.spki(officer)).collect();
    assert_eq!(keys.len(), roster.officers().count());
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len(), "a key a person");
    assert!(roster.officers().all(|officer| roster.who_can_approve(officer) + 1 == keys.len()));
});
