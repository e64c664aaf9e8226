//! Managed keys: the tables hold the life cycle by themselves.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tillward::key::{Intent, KeyClass, KeyState, Life, Move, Periods, Shape, Use};
use tillward::store::{Key, KeyVersion, Made};
use tillward_hsm::{KeyAlgorithm, KeyName, Purpose};

fn name(text: &str) -> KeyName {
    text.parse().expect("a name")
}

fn key(text: &str) -> Key {
    Key {
        name: name(text),
        shape: Shape { class: KeyClass::Kms, purpose: Purpose::Encrypt, algorithm: KeyAlgorithm::Aes256, exportable: true },
        acquirer: Some(acquirer()),
        periods: Periods { rotation: Some(7200), protect: Some(8000), process: None },
        uses_limit: Some(1000),
        primary: None,
        created: NOW,
    }
}

fn intended(text: &str, version: u32) -> KeyVersion {
    let label = format!("key:{text}:{version}:encrypt:aes-256");
    let mut version = KeyVersion::intended(name(text), version, label, Intent::MakeActive, NOW);
    version.uses_limit = Some(1000);
    version
}

fn made() -> Made {
    Made { kcv: Some("0011223344".to_owned()), fingerprint: None, spki: None }
}

/// A key with one version that is made and not in use, and its escrow block.
async fn with_version(tx: &mut Tx, text: &str) -> KeyVersion {
    tx.insert_key(&key(text)).await.expect("inserted");
    tx.insert_version(&intended(text, 1), None).await.expect("inserted");
    assert!(tx.finish_version(&name(text), 1, &made(), Some(&[7; 40]), NOW).await.expect("finished"));
    tx.find_version(&name(text), 1).await.expect("reads").expect("there")
}

/// The version after the move, written.
async fn moved(tx: &mut Tx, from: &KeyVersion, to: Move, at: UnixTime) -> KeyVersion {
    let mut after = from.after(to, at).expect("a move of the life cycle");
    if to == Move::ScheduleDestruction {
        after.waits = Some((at.plus(100), "{}".to_owned()));
    }
    if to == Move::Destroy {
        assert!(tx.take_to_destroy(&from.key, from.version, at, 600).await.expect("taken"), "due");
    }
    assert!(tx.move_version(from, &after).await.expect("moved"), "{:?} {to:?}", from.life());
    tx.find_version(&from.key, from.version).await.expect("reads").expect("there")
}

/// The moves that lead from a new version to each kind of life that there is.
fn ways() -> Vec<(Life, Vec<Move>)> {
    let mut known: Vec<(Life, Vec<Move>)> = vec![(Life::NEW, Vec::new())];
    let mut at = 0;
    while let Some((life, way)) = known.get(at).cloned() {
        for to in Move::ALL {
            if let Ok(next) = life.after(to)
                && known.iter().all(|(seen, _)| *seen != next)
            {
                known.push((next, way.iter().copied().chain([to]).collect()));
            }
        }
        at += 1;
    }
    known
}

#[test]
fn a_key_is_found_as_it_was_written_by_name_and_alias() {
    on_both(async |database| {
        let mut tx = database.store.begin().await.expect("begins");
        let version = with_version(&mut tx, "k").await;
        assert!(tx.set_aliases(&name("k"), &[name("other")].into(), NOW).await.expect("asked"));
        commit(tx).await;
        let mut reads = database.store.read().await.expect("reads");
        assert_eq!(reads.find_key(&name("k"), false).await.expect("reads"), Some(key("k")));
        assert_eq!(reads.find_key(&name("other"), false).await.expect("reads"), None);
        assert_eq!(reads.find_key(&name("other"), true).await.expect("reads"), Some(key("k")));
        let (found, none) = reads.find_key_for_use(&name("other"), None).await.expect("reads").expect("there");
        assert_eq!((found, none), (key("k"), None), "there is no primary version yet");
        let (_, first) = reads.find_key_for_use(&name("k"), Some(1)).await.expect("reads").expect("there");
        assert_eq!(first, Some(version));
        assert_eq!(reads.find_escrow(&name("k"), 1).await.expect("reads"), Some(vec![7; 40]));
        assert_eq!(reads.find_key_for_use(&name("nobody"), None).await.expect("reads"), None);
    });
}

#[test]
fn an_alias_is_no_name_and_no_other_keys_alias() {
    on_both(async |database| {
        let mut tx = database.store.begin().await.expect("begins");
        with_version(&mut tx, "a").await;
        with_version(&mut tx, "b").await;
        assert!(tx.set_aliases(&name("a"), &[name("x")].into(), NOW).await.expect("asked"));
        commit(tx).await;
        for taken in ["x", "a", "b"] {
            let mut tx = database.store.begin().await.expect("begins");
            assert!(!tx.set_aliases(&name("b"), &[name(taken)].into(), NOW).await.expect("asked"), "{taken}");
        }
        assert!(database.raw("INSERT INTO key_alias (alias, key, created) VALUES ('b', 'a', 0)").await.is_err());
        assert!(database.raw("UPDATE key_alias SET key = 'b'").await.is_err());
        let taken = "INSERT INTO key (name, class, purpose, algorithm, exportable, created) VALUES ('x', 'kms', 'mac', 'aes-256', 0, 0)";
        assert!(database.raw(taken).await.is_err(), "a name that is an alias");
    });
}

#[test]
fn every_move_of_the_life_cycle_is_written_and_no_other() {
    on_both(async |database| {
        for (number, (life, way)) in ways().into_iter().enumerate() {
            for to in Move::ALL {
                let text = format!("k{number}-{to:?}");
                let mut tx = database.store.begin().await.expect("begins");
                let mut version = with_version(&mut tx, &text).await;
                let mut at = NOW;
                for step in &way {
                    at = at.plus(100);
                    version = moved(&mut tx, &version, *step, at).await;
                }
                assert_eq!(version.life(), life);
                at = at.plus(100);
                let after = version.after(to, at);
                assert_eq!(after.is_ok(), life.after(to).is_ok());
                if after.is_ok() {
                    let after = moved(&mut tx, &version, to, at).await;
                    assert_eq!(after.life(), life.after(to).expect("the same table"));
                    if after.state == KeyState::Destroyed {
                        assert!(!after.escrowed && tx.find_escrow(&version.key, 1).await.expect("reads").is_none());
                    }
                }
                commit(tx).await;
            }
        }
    });
}

#[test]
fn the_database_itself_holds_the_life_cycle_of_a_version() {
    on_both(async |database| {
        for (number, (life, way)) in ways().into_iter().enumerate() {
            for to in KeyState::ALL {
                for waits in [false, true] {
                    let text = format!("k{number}-{}-{waits}", to.name());
                    let mut tx = database.store.begin().await.expect("begins");
                    let mut version = with_version(&mut tx, &text).await;
                    let mut at = NOW;
                    for step in &way {
                        at = at.plus(100);
                        version = moved(&mut tx, &version, *step, at).await;
                    }
                    commit(tx).await;
                    // Everything beside the state as the new state wants it, so that the move itself is what is judged.
                    let due = if life.waits { "destroy_at" } else { "1" };
                    let waiting = if waits || to == KeyState::Destroyed {
                        format!("destroy_at = {due}, destroy_order = '{{}}'")
                    } else {
                        "destroy_at = NULL, destroy_order = NULL".to_owned()
                    };
                    let also = match to {
                        KeyState::PreActivation => String::new(),
                        KeyState::Active => ", activated = coalesce(activated, 1)".to_owned(),
                        KeyState::Suspended => ", suspended = 1".to_owned(),
                        KeyState::Deactivated => ", deactivated = coalesce(deactivated, 1)".to_owned(),
                        KeyState::Compromised => ", compromised = coalesce(compromised, 1)".to_owned(),
                        KeyState::Destroyed => {
                            format!(", destroying = coalesce(destroying, {due}), destroyed = coalesce(destroyed, {due}), escrow = NULL")
                        }
                    };
                    let sql = format!("UPDATE key_version SET state = '{}', {waiting}{also} WHERE key = '{text}'", to.name());
                    let done = database.raw(&sql).await.is_ok();
                    let target = |after: Life| after.state == to && (after.waits == waits || to == KeyState::Destroyed);
                    let stays = life.state == to && life.waits == waits && life.state != KeyState::Destroyed;
                    let allowed = stays || Move::ALL.into_iter().filter_map(|step| life.after(step).ok()).any(target);
                    assert_eq!(done, allowed, "{} to {} {waits}: {sql}", life.words(), to.name());
                }
            }
        }
    });
}

#[test]
fn what_happened_to_a_key_is_not_taken_back() {
    on_both(async |database| {
        let mut tx = database.store.begin().await.expect("begins");
        let version = with_version(&mut tx, "k").await;
        let active = moved(&mut tx, &version, Move::Activate, NOW).await;
        commit(tx).await;
        assert!(database.store.count_uses(&name("k"), 1, 5).await.expect("counted"));
        for attack in [
            "DELETE FROM key",
            "DELETE FROM key_version",
            "UPDATE key SET acquirer = 'other'",
            "UPDATE key SET exportable = 0",
            "UPDATE key SET purpose = 'sign'",
            "UPDATE key_version SET uses = 4",
            "UPDATE key_version SET uses = 1001",
            "UPDATE key_version SET label = 'x'",
            "UPDATE key_version SET activated = 1",
            "UPDATE key_version SET made = NULL, intent = 'make'",
            "UPDATE key_version SET kcv = 'FFFFFFFFFF'",
            "UPDATE key_version SET origin = 'imported'",
            "UPDATE key_version SET version = 2",
            "INSERT INTO key_version (key, version, label, origin, state, created, made, activated) \
             VALUES ('k', 2, 'l', 'generated', 'active', 0, 0, 0)",
        ] {
            assert!(database.raw(attack).await.is_err(), "{attack}");
        }
        if database.is_sqlite() {
            let replace = "INSERT OR REPLACE INTO key_version (key, version, label, origin, state, created, made) \
                           VALUES ('k', 1, 'l', 'generated', 'pre-activation', 0, 0)";
            assert!(database.raw(replace).await.is_err());
        } else {
            assert!(database.raw("TRUNCATE key_version CASCADE").await.is_err());
        }
        let found = database.store.read().await.expect("reads").find_version(&name("k"), 1).await.expect("reads");
        assert_eq!(found, Some(KeyVersion { uses: 5, ..active }));
    });
}

#[test]
fn a_key_has_one_unfinished_version_and_nothing_is_done_to_it_before_it_is_made() {
    on_both(async |database| {
        let mut tx = database.store.begin().await.expect("begins");
        tx.insert_key(&key("k")).await.expect("inserted");
        let first = intended("k", 1);
        tx.insert_version(&first, None).await.expect("inserted");
        commit(tx).await;
        let mut tx = database.store.begin().await.expect("begins");
        assert!(conflicts(&tx.insert_version(&intended("k", 2), None).await));
        drop(tx);
        let mut tx = database.store.begin().await.expect("begins");
        assert!(!tx.move_version(&first, &first.after(Move::Activate, NOW).expect("a move")).await.expect("asked"));
        assert!(tx.finish_version(&name("k"), 1, &made(), None, NOW).await.expect("asked"));
        assert!(!tx.finish_version(&name("k"), 1, &made(), None, NOW).await.expect("asked"), "once");
        commit(tx).await;
        assert!(!database.store.count_uses(&name("k"), 1, 1).await.expect("asked"), "not active");
    });
}

#[test]
fn a_limit_is_exact_whoever_counts_at_the_same_time() {
    on_both(async |database| {
        let mut tx = database.store.begin().await.expect("begins");
        let version = with_version(&mut tx, "k").await;
        moved(&mut tx, &version, Move::Activate, NOW).await;
        assert!(tx.limit_version(&name("k"), 1, Some(100)).await.expect("asked"));
        commit(tx).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let store = database.store.clone();
            tasks.spawn(async move { store.count_uses(&name("k"), 1, 3).await.expect("asked") });
        }
        let counted = tasks.join_all().await.into_iter().filter(|counted| *counted).count();
        assert_eq!(counted, 33, "33 times 3 of 100");
        assert!(database.store.count_uses(&name("k"), 1, 1).await.expect("asked"));
        assert!(!database.store.count_uses(&name("k"), 1, 1).await.expect("asked"));
        let mut tx = database.store.begin().await.expect("begins");
        assert!(!tx.limit_version(&name("k"), 1, Some(99)).await.expect("asked"), "it has been used more often");
    });
}

#[test]
fn a_destruction_is_one_nodes_and_there_is_no_way_back_from_it() {
    on_both(async |database| {
        let mut tx = database.store.begin().await.expect("begins");
        let version = with_version(&mut tx, "k").await;
        let waiting = moved(&mut tx, &version, Move::ScheduleDestruction, NOW).await;
        commit(tx).await;
        let mut tx = database.store.begin().await.expect("begins");
        assert!(!tx.take_to_destroy(&name("k"), 1, NOW.plus(99), 600).await.expect("asked"), "not due");
        assert!(tx.versions_to_destroy(NOW.plus(99)).await.expect("reads").is_empty());
        assert_eq!(tx.versions_to_destroy(NOW.plus(100)).await.expect("reads").len(), 1);
        assert!(tx.take_to_destroy(&name("k"), 1, NOW.plus(100), 600).await.expect("asked"));
        assert!(!tx.take_to_destroy(&name("k"), 1, NOW.plus(101), 600).await.expect("asked"), "another node is at it");
        assert!(tx.take_to_destroy(&name("k"), 1, NOW.plus(700), 600).await.expect("asked"), "it did not come back");
        let restored = waiting.after(Move::Restore, NOW.plus(101)).expect("a move");
        assert!(!tx.move_version(&waiting, &restored).await.expect("asked"));
        commit(tx).await;
        let raw = "UPDATE key_version SET state = 'suspended', suspended = 1, destroy_at = NULL, destroy_order = NULL, destroying = NULL";
        assert!(database.raw(raw).await.is_err());
    });
}

/// What a sequence does: to which of three versions, what, and how much time goes by before.
type Step = (u32, Move, i64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((1..=3_u32, proptest::sample::select(Move::ALL.to_vec()), 0..200_i64), 1..30)
}

/// Plays the steps against the database and against a model of the table; after each, every version may be used exactly as the model says.
async fn play(database: &Database, text: &str, steps: &[Step]) {
    let mut tx = database.store.begin().await.expect("begins");
    tx.insert_key(&key(text)).await.expect("inserted");
    for version in 1..=3 {
        tx.insert_version(&intended(text, version), None).await.expect("inserted");
        assert!(tx.finish_version(&name(text), version, &made(), Some(&[1; 8]), NOW).await.expect("finished"));
    }
    commit(tx).await;
    let mut model = [(Life::NEW, None::<UnixTime>, 0_u64); 3];
    let mut now = NOW;
    for (number, to, later) in steps {
        now = now.plus(*later);
        let (life, due, _) = &mut model[usize::try_from(*number - 1).expect("small")];
        let mut tx = database.store.begin().await.expect("begins");
        let version = tx.find_version(&name(text), *number).await.expect("reads").expect("no version is lost");
        let allowed = life.after(*to).is_ok() && (*to != Move::Destroy || due.is_some_and(|due| now >= due));
        let after = version.after(*to, now);
        assert_eq!(after.is_ok(), life.after(*to).is_ok(), "{to:?} from {}", life.words());
        if let Ok(mut after) = after {
            if *to == Move::ScheduleDestruction {
                after.waits = Some((now.plus(150), "{}".to_owned()));
            }
            let taken = *to != Move::Destroy || tx.take_to_destroy(&version.key, *number, now, 600).await.expect("asked");
            let done = taken && tx.move_version(&version, &after).await.expect("asked");
            assert_eq!(done, allowed, "{to:?} from {} at {now:?}, due {due:?}", life.words());
            if done {
                *life = life.after(*to).expect("allowed");
                *due = after.waits.map(|(at, _)| at);
            }
        }
        commit(tx).await;
        for (number, (life, _, uses)) in (1..).zip(&mut model) {
            let version = database.store.read().await.expect("reads").find_version(&name(text), number).await.expect("reads");
            let version = version.expect("no version is lost");
            assert_eq!(version.life(), *life);
            let counted = database.store.count_uses(&name(text), number, 1).await.expect("asked");
            assert_eq!(counted, life.state == KeyState::Active, "a use outside the state: {}", life.words());
            *uses += u64::from(counted);
            assert_eq!(version.uses + u64::from(counted), *uses);
            assert!(!life.was_deactivated || !life.allows(Use::Protect));
        }
    }
}

#[test]
fn random_sequences_on_several_versions_leave_no_use_outside_the_state_and_lose_no_version() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite:{}", directory.path().join("tillward.db").display());
    let database = runtime.block_on(async { Database { store: Store::open(&url, 4).await.expect("opens"), url } });
    let count = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&steps(), |steps| {
        count.set(count.get() + 1);
        runtime.block_on(play(&database, &format!("k{}", count.get()), &steps));
        Ok(())
    });
    outcome.expect("holds");
}
