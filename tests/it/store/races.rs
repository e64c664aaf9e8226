//! What may happen once happens once, whoever else tries at the same moment.

use super::*;
use tokio::task::JoinSet;

const AT_ONCE: u32 = 64;

/// The terminals `t-1` to `t-64`, each with its device, and one activation of `t-0`.
async fn with_devices(database: &Database) {
    let terminals: Vec<String> = (0..=AT_ONCE).map(|number| format!("t-{number}")).collect();
    let mut tx = with_terminals(&database.store, &terminals.iter().map(String::as_str).collect::<Vec<_>>()).await;
    tx.open_activation(&activation("AAAAAAA", "t-0", 1000)).await.expect("opened");
    for number in 1..=AT_ONCE {
        tx.insert_device(&device(number, &format!("t-{number}")), "package").await.expect("inserted");
    }
    commit(tx).await;
}

#[test]
fn of_64_uses_of_one_activation_exactly_one_succeeds() {
    on_both(async |database| {
        with_devices(&database).await;
        let mut tasks = JoinSet::new();
        for number in 1..=AT_ONCE {
            let store = database.store.clone();
            tasks.spawn(async move {
                let mut tx = store.begin().await.expect("begins");
                let used = tx.use_activation(&activation_id("AAAAAAA"), &[9; 32], &device_id(number), NOW).await.expect("asked");
                commit(tx).await;
                used.then_some(number)
            });
        }
        let winners: Vec<u32> = tasks.join_all().await.into_iter().flatten().collect();
        let found = database.store.read().await.expect("reads").find_activation(&activation_id("AAAAAAA")).await.expect("reads");
        let used = found.expect("there").used.expect("used");
        assert_eq!(winners.iter().map(|number| device_id(*number)).collect::<Vec<_>>(), [used.device]);
    });
}

#[test]
fn of_64_wrong_tries_each_of_the_first_five_counts_once_and_then_it_is_locked() {
    on_both(async |database| {
        with_devices(&database).await;
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let store = database.store.clone();
            tasks.spawn(async move {
                let mut tx = store.begin().await.expect("begins");
                let left = tx.count_wrong_try(&activation_id("AAAAAAA")).await.expect("counted").expect("there");
                commit(tx).await;
                (left.attempts, left.state)
            });
        }
        let mut left = tasks.join_all().await;
        left.sort_by_key(|(attempts, _)| *attempts);
        let (open, locked): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, state)| *state == ActivationState::Open);
        assert_eq!(open.iter().map(|(attempts, _)| *attempts).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(locked.len(), 60);
        assert!(locked.iter().all(|left| *left == (5, ActivationState::Locked)));
    });
}

#[test]
fn of_64_answers_to_one_challenge_exactly_one_counts() {
    on_both(async |database| {
        with_devices(&database).await;
        let mut tasks = JoinSet::new();
        for number in 1..=AT_ONCE {
            let store = database.store.clone();
            tasks.spawn(async move {
                let mut tx = store.begin().await.expect("begins");
                let fresh = tx.use_challenge(&[5; 32], &device_id(number), NOW, NOW.plus(60)).await.expect("asked");
                commit(tx).await;
                fresh
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|fresh| *fresh).count(), 1);
    });
}

#[test]
fn of_64_activations_opened_for_one_terminal_one_stays_open() {
    on_both(async |database| {
        with_devices(&database).await;
        let mut tasks = JoinSet::new();
        for number in 0..AT_ONCE {
            let store = database.store.clone();
            tasks.spawn(async move {
                let mut tx = store.begin().await.expect("begins");
                let new = activation(&format!("BBBBB{number:02}"), "t-0", 2000 + number);
                let older = tx.open_activation(&new).await.expect("opened");
                commit(tx).await;
                older.expect("each replaces one")
            });
        }
        let replaced = ids(tasks.join_all().await);
        assert_eq!(replaced.len(), 64);
        assert!(replaced.contains(&activation_id("AAAAAAA")));
        let open = database.raw("UPDATE activation SET attempts = attempts WHERE state = 'open'").await.expect("counted");
        assert_eq!(open, 1);
    });
}

#[test]
fn of_64_moves_of_one_device_exactly_one_is_done() {
    on_both(async |database| {
        with_devices(&database).await;
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let store = database.store.clone();
            tasks.spawn(async move {
                let mut tx = store.begin().await.expect("begins");
                let moved = tx.move_device(&device_id(1), DeviceState::Active, DeviceState::Retired, "lost", NOW).await.expect("asked");
                commit(tx).await;
                moved
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|moved| *moved).count(), 1);
    });
}

#[test]
fn a_mark_raised_by_64_at_once_is_the_highest_of_them() {
    on_both(async |database| {
        let mut tasks = JoinSet::new();
        for mark in 1..=u64::from(AT_ONCE) {
            let store = database.store.clone();
            tasks.spawn(async move {
                let mut tx = store.begin().await.expect("begins");
                tx.raise_derivation_mark(&acquirer(), mark).await.expect("asked");
                commit(tx).await;
            });
        }
        tasks.join_all().await;
        let mark = database.store.read().await.expect("reads").find_derivation_mark(&acquirer()).await.expect("reads");
        assert_eq!(mark, Some(64));
    });
}

#[test]
fn entries_of_many_writers_are_all_there_without_gaps() {
    on_both(async |database| {
        let mut tasks = JoinSet::new();
        for number in 0..600_u64 {
            let store = database.store.clone();
            tasks.spawn(async move {
                if number % 10 == 0 {
                    store.begin().await.expect("begins").commit(event().with("number", number)).await.expect("commits");
                } else {
                    store.record(event().with("number", number)).await.expect("recorded");
                }
            });
        }
        tasks.join_all().await;
        let page = database.store.read().await.expect("reads").audit_page(0, 1000).await.expect("reads");
        assert_eq!(page.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=600).collect::<Vec<_>>());
        let numbers = ids(page.iter().map(|entry| entry.detail.get("number").expect("there").parse::<u64>().expect("a number")));
        assert_eq!(numbers, ids(0..600));
    });
}
