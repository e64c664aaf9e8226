//! What the figures say about the number of sessions and hosts.

use std::collections::BTreeMap;

use tillward_hsm::trial::{Cell, Plan};

/// The step that is not worth a session: less than a tenth more.
fn worth_it(before: u64, after: u64) -> bool {
    after.saturating_mul(10) >= before.saturating_mul(11)
}

/// The first number of the steps after which no later one gives a tenth more; the last number where all do.
fn enough(steps: &[(u16, u64)]) -> Option<u16> {
    steps
        .iter()
        .enumerate()
        .find(|(at, (_, here))| steps.iter().skip(at + 1).all(|(_, later)| !worth_it(*here, *later)))
        .map(|(_, (number, _))| *number)
}

/// One line on sessions, and one on hosts where there is a choice.
pub(super) fn lines(plan: &Plan, cells: &[Cell]) -> Vec<String> {
    let rate = |cell: &Cell| (cell.sessions, cell.per_second);
    let first = plan.hosts.first().copied().unwrap_or(1);
    let mut lines = Vec::new();
    if plan.sessions.len() > 1 {
        let by_sessions = |work| cells.iter().filter(|cell| cell.work == work && cell.hosts == first).map(rate).collect::<Vec<_>>();
        lines.push(line("sessions in a host", plan, &|work| enough(&by_sessions(work))));
    }
    if plan.hosts.len() > 1 {
        // The best that each number of hosts reaches, with whatever sessions.
        let best = |work, hosts| cells.iter().filter(|cell| cell.work == work && cell.hosts == hosts).map(|cell| cell.per_second).max();
        let by_hosts = |work| plan.hosts.iter().filter_map(|hosts| Some((*hosts, best(work, *hosts)?))).collect::<Vec<_>>();
        lines.push(line("hosts", plan, &|work| enough(&by_hosts(work))));
    }
    lines
}

fn line(what: &str, plan: &Plan, enough: &dyn Fn(tillward_hsm::trial::Work) -> Option<u16>) -> String {
    let mut by_number: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for work in &plan.works {
        if let Some(number) = enough(*work) {
            by_number.entry(number).or_default().push(work.name());
        }
    }
    let parts: Vec<String> = by_number.iter().map(|(number, works)| format!("{number} for {}", works.join(", "))).collect();
    format!("Enough {what}, more give less than 10 % more: {}.", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_where_no_later_step_gives_a_tenth_more() {
        for (steps, expected) in [
            (&[(1, 100), (2, 190), (4, 200), (8, 150)][..], Some(2)),
            (&[(1, 100), (2, 105), (4, 150)], Some(4)),
            (&[(1, 100), (2, 90)], Some(1)),
            (&[(1, 100), (2, 110)], Some(2)),
            (&[(1, 0), (2, 0)], Some(2)),
            (&[], None),
        ] {
            assert_eq!(enough(steps), expected, "{steps:?}");
        }
    }
}
