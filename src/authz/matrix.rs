//! The whole answer of a set of policies, caller by action by resource, as people read it. `policies/matrix.txt` is that of the policies that
//! come with Tillward, and a test keeps it true.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::policies::Policies;
use super::samples::{self, NOON, OTHER_TIMES, Variant};
use super::{Action, Caller, Circumstances, Resource, ResourceKind};

const HEAD: &str = "\
Who may do what. Of a principal: on a resource of an own acquirer / of a foreign one / of the service. Of a phone, which names itself by an
activation or a device: on its own / on another's. Where a kind of resource always belongs to the service, there is one answer.
  yes    allowed
  2+     allowed only where a plan is executed that at least so many officers approved
  *      not at every time of the week: the policies say when
A line that names a part of a kind (keys of a purpose, plans of a requester) speaks of that part; nobody may do it to the rest.
Made from the policies by `tillward policy matrix`; a test compares this file with them.
";

/// Width of a caller's column.
const COLUMN: usize = 18;

/// The text for people.
pub fn matrix(policies: &Policies) -> String {
    let callers = samples::callers();
    let kinds = Action::ALL.into_iter().flat_map(|action| action.applies_to().iter().map(move |kind| (action, *kind)));
    let rows: Vec<Row> = kinds.flat_map(|(action, kind)| rows(policies, &callers, action, kind)).collect();
    let width = rows.iter().map(|row| row.resource.chars().count()).max().unwrap_or(0) + 2;
    let mut text = format!("{HEAD}\n{:20}{:width$}", "action", "resource");
    for (name, _) in &callers {
        let _ = write!(text, "{name:COLUMN$}");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    for row in &rows {
        let mut line = format!("{:20}{:width$}", row.action.name(), row.resource);
        for cells in &row.cells {
            let words: Vec<String> = cells.iter().map(|cell| format!("{:3}", cell.word)).collect();
            let _ = write!(line, "{:COLUMN$}", words.join(" / ").trim_end());
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for (heading, allows) in [("Which policy allows it:", true), ("Which policy forbids it, whatever others say:", false)] {
        let _ = write!(text, "\n{heading}\n");
        for (at, (name, _)) in callers.iter().enumerate() {
            for row in &rows {
                let decisive = |cell: &&Cell| (cell.word != "-") == allows;
                let cells = row.cells.get(at).into_iter().flatten().filter(decisive);
                let ids: BTreeSet<&String> = cells.flat_map(|cell| &cell.policies).filter(|id| *id != EVERYWHERE).collect();
                for id in ids {
                    let _ = writeln!(text, "{name:11} {:20}{:width$}{id}", row.action.name(), row.resource);
                }
            }
        }
    }
    let _ = writeln!(text, "\n{EVERYWHERE} forbids all of the second answers to principals, and is not repeated.");
    text
}

/// The policy that would fill the list of what is forbidden.
const EVERYWHERE: &str = "no-foreign-acquirer";

/// A line: what all these variants of a kind of resource have in common. For each caller, an answer for each owner.
struct Row {
    action: Action,
    resource: String,
    cells: Vec<Vec<Cell>>,
}

/// What a caller is answered, and by which policies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    word: String,
    policies: Vec<String>,
}

/// The lines of an action on a kind: one where all variants are answered alike, else one for each answer that is not a plain no to everybody.
fn rows(policies: &Policies, callers: &[(&'static str, Caller)], action: Action, kind: ResourceKind) -> Vec<Row> {
    let by_owner: Vec<Vec<Variant>> = samples::owners(kind).iter().map(|whose| samples::variants(kind, *whose)).collect();
    let words: Vec<&str> = by_owner.iter().take(1).flatten().map(|variant| variant.trait_word.as_str()).collect();
    let mut groups: Vec<(Vec<Vec<Cell>>, Vec<&str>)> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let resources: Vec<&Resource> = by_owner.iter().filter_map(|variants| variants.get(at)).map(|variant| &variant.resource).collect();
        let answers = |caller| resources.iter().map(|resource| cell(policies, caller, action, resource)).collect::<Vec<_>>();
        let answers: Vec<Vec<Cell>> = callers.iter().map(|(_, caller)| answers(caller)).collect();
        match groups.iter_mut().find(|(known, _)| *known == answers) {
            Some((_, words)) => words.push(word),
            None => groups.push((answers, vec![word])),
        }
    }
    let several = groups.len() > 1;
    let speaks =
        |cells: &[Vec<Cell>]| cells.iter().flatten().any(|cell| cell.word != "-" || cell.policies.iter().any(|id| id != EVERYWHERE));
    let told = groups.into_iter().filter(|(cells, _)| !several || speaks(cells));
    told.map(|(cells, words)| {
        let part = if several { format!(" {}", in_short(kind, &words)) } else { String::new() };
        Row { action, resource: format!("{}{part}", kind.name()), cells }
    })
    .collect()
}

/// What variants have in common: of plans, whose request they are, where that alone makes the difference.
fn in_short(kind: ResourceKind, words: &[&str]) -> String {
    if kind == ResourceKind::Plan {
        for word in ["by another", "by the caller"] {
            let of_word = words.iter().filter(|one| one.ends_with(word)).count();
            if of_word == words.len() && of_word == samples::DEEDS.len() {
                return format!("asked for {word}");
            }
        }
    }
    words.join(", ")
}

fn cell(policies: &Policies, caller: &Caller, action: Action, resource: &Resource) -> Cell {
    let with = |at, approvals| policies.decide(caller, action, resource, Circumstances { at, approvals });
    let plenty = u32::from(u8::MAX);
    let approvals = if action.needs_a_plan() { plenty } else { 0 };
    let noon = with(NOON.at, approvals);
    let others = OTHER_TIMES.map(|at| with(at, approvals));
    let always = others.iter().all(|other| other.allowed == noon.allowed);
    let ever = others.iter().find(|other| other.allowed).filter(|_| !noon.allowed).unwrap_or(&noon);
    let mut word = match (ever.allowed, action.needs_a_plan()) {
        (false, _) => "-".to_owned(),
        (true, false) => "yes".to_owned(),
        (true, true) => {
            let least = (0..=plenty).find(|approvals| with(NOON.at, *approvals).allowed);
            least.map_or_else(|| "+".to_owned(), |least| format!("{least}+"))
        }
    };
    if !always {
        word.push('*');
    }
    Cell { word, policies: ever.policies.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_matrix_is_the_golden_file() {
        let is = matrix(&Policies::built_in());
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/matrix.txt");
        if std::env::var_os("TILLWARD_GOLDEN").is_some_and(|word| word == "write") {
            std::fs::write(&file, &is).expect("writes");
        }
        let golden = std::fs::read_to_string(&file).expect("the file");
        assert!(is == golden, "policies/matrix.txt differs from the policies; if that is meant, run this test with TILLWARD_GOLDEN=write");
    }

    #[test]
    fn an_action_on_a_kind_that_it_does_not_apply_to_is_denied_to_everyone() {
        let policies = Policies::built_in();
        for (name, caller) in samples::callers() {
            for action in Action::ALL {
                for kind in ResourceKind::ALL.into_iter().filter(|kind| !action.applies_to().contains(kind)) {
                    for whose in samples::owners(kind) {
                        for variant in samples::variants(kind, *whose) {
                            let decision = policies.decide(&caller, action, &variant.resource, Circumstances { approvals: 9, ..NOON });
                            assert!(!decision.allowed, "{name} {action} {}", kind.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_exist_is_denied_to_everyone() {
        let policies = Policies::built_in();
        let device = Resource::device(&"dev_00000000000000000000000000".parse().expect("parses"), None);
        let activation = Resource::activation(&"ABCDEFG".parse().expect("parses"), None);
        for (name, caller) in samples::callers() {
            for action in Action::ALL {
                for resource in [&device, &activation] {
                    assert!(!policies.decide(&caller, action, resource, Circumstances { approvals: 9, ..NOON }).allowed, "{name} {action}");
                }
            }
        }
    }

    #[test]
    fn every_action_is_somebodys() {
        let policies = Policies::built_in();
        for action in Action::ALL {
            let now = Circumstances { approvals: 9, ..NOON };
            let allowed = samples::of(action).any(|sample| policies.decide(&sample.caller, action, &sample.resource, now).allowed);
            assert!(allowed, "{action}");
        }
    }
}
