//! Activations.

use super::*;
use tillward::store::{Use, WrongTry};

const A: &str = "AAAAAAA";
const B: &str = "BBBBBBB";

async fn with_activation(database: &Database) -> Tx {
    let mut tx = with_terminals(&database.store, &["t-1", "t-2"]).await;
    assert_eq!(tx.open_activation(&activation(A, "t-1", 1)).await.expect("opened"), None);
    tx
}

#[test]
fn an_activation_is_found_as_it_was_written() {
    on_both(async |database| {
        commit(with_activation(&database).await).await;
        let mut reads = database.store.read().await.expect("reads");
        assert_eq!(reads.find_activation(&activation_id(A)).await.expect("reads"), Some(activation(A, "t-1", 1)));
        assert_eq!(reads.find_activation(&activation_id(B)).await.expect("reads"), None);
    });
}

#[test]
fn a_newer_activation_revokes_the_open_one_of_its_terminal_only() {
    on_both(async |database| {
        let mut tx = with_activation(&database).await;
        assert_eq!(tx.open_activation(&activation("CCCCCCC", "t-2", 3)).await.expect("opened"), None);
        assert_eq!(tx.open_activation(&activation(B, "t-1", 2)).await.expect("opened"), Some(activation_id(A)));
        for (id, state) in [(A, ActivationState::Revoked), (B, ActivationState::Open), ("CCCCCCC", ActivationState::Open)] {
            let found = tx.find_activation(&activation_id(id)).await.expect("reads").expect("there");
            assert_eq!(found.state, state, "{id}");
        }
    });
}

#[test]
fn an_activation_needs_a_terminal_of_its_acquirer_and_an_unused_derivation_id() {
    on_both(async |database| {
        commit(with_activation(&database).await).await;
        let mut tx = database.store.begin().await.expect("begins");
        let foreign = Activation { acquirer: "other".parse().expect("parses"), ..activation(B, "t-2", 2) };
        assert!(matches!(tx.open_activation(&foreign).await, Err(StoreError::NoParent(_))));
        drop(tx);
        let mut tx = database.store.begin().await.expect("begins");
        let reused = Activation { ikid: ikid(2), ..activation(B, "t-2", 1) };
        assert!(conflicts(&tx.open_activation(&reused).await));
        drop(tx);
        let mut tx = database.store.begin().await.expect("begins");
        let reused = Activation { ikid: ikid(1), ..activation(B, "t-2", 2) };
        assert!(conflicts(&tx.open_activation(&reused).await));
    });
}

#[test]
fn the_fifth_wrong_try_locks() {
    on_both(async |database| {
        let mut tx = with_activation(&database).await;
        for attempts in 1..=7 {
            let left = tx.count_wrong_try(&activation_id(A)).await.expect("counted");
            let state = if attempts < 5 { ActivationState::Open } else { ActivationState::Locked };
            assert_eq!(left, Some(WrongTry { attempts: attempts.min(5), state }));
        }
        assert_eq!(tx.count_wrong_try(&activation_id(B)).await.expect("counted"), None);
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        assert!(!tx.use_activation(&activation_id(A), &[9; 32], &device_id(1), NOW).await.expect("asked"));
    });
}

#[test]
fn a_used_activation_names_its_device_and_is_not_used_again() {
    on_both(async |database| {
        let mut tx = with_activation(&database).await;
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        tx.insert_device(&device(2, "t-2"), "package").await.expect("inserted");
        assert!(tx.use_activation(&activation_id(A), &[9; 32], &device_id(1), NOW).await.expect("asked"));
        assert!(!tx.use_activation(&activation_id(A), &[8; 32], &device_id(2), NOW).await.expect("asked"));
        assert!(!tx.revoke_activation(&activation_id(A)).await.expect("asked"));
        commit(tx).await;
        let found = database.store.read().await.expect("reads").find_activation(&activation_id(A)).await.expect("reads").expect("there");
        assert_eq!(found.state, ActivationState::Used);
        assert_eq!(found.used, Some(Use { transcript: [9; 32], device: device_id(1) }));
    });
}

#[test]
fn an_expired_activation_is_not_used() {
    on_both(async |database| {
        let mut tx = with_activation(&database).await;
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        let expires = activation(A, "t-1", 1).expires;
        assert!(!tx.use_activation(&activation_id(A), &[9; 32], &device_id(1), expires).await.expect("asked"));
        assert!(tx.use_activation(&activation_id(A), &[9; 32], &device_id(1), expires.plus(-1)).await.expect("asked"));
    });
}

#[test]
fn an_open_and_a_locked_activation_can_be_revoked_once() {
    on_both(async |database| {
        let mut tx = with_activation(&database).await;
        assert!(tx.revoke_activation(&activation_id(A)).await.expect("asked"));
        assert!(!tx.revoke_activation(&activation_id(A)).await.expect("asked"));
        tx.open_activation(&activation(B, "t-1", 2)).await.expect("opened");
        for _ in 0..5 {
            tx.count_wrong_try(&activation_id(B)).await.expect("counted");
        }
        assert!(tx.revoke_activation(&activation_id(B)).await.expect("asked"));
        assert!(!tx.revoke_activation(&activation_id("CCCCCCC")).await.expect("asked"));
    });
}

#[test]
fn the_database_itself_holds_the_life_cycle_of_an_activation() {
    on_both(async |database| {
        let mut tx = with_activation(&database).await;
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        commit(tx).await;
        // What a row of each state looks like, so that only the move itself can be what is refused.
        let columns = |state: ActivationState| match state {
            ActivationState::Open | ActivationState::Revoked => "attempts = 0, used_transcript = NULL, device = NULL".to_owned(),
            ActivationState::Locked => "attempts = 5, used_transcript = NULL, device = NULL".to_owned(),
            ActivationState::Used => {
                let blob = if database.is_sqlite() { "zeroblob(32)" } else { "decode(repeat('00', 32), 'hex')" };
                format!("attempts = 0, used_transcript = {blob}, device = '{}'", device_id(1))
            }
        };
        let mut number = 100;
        for from in ActivationState::ALL {
            for to in ActivationState::ALL {
                number += 1;
                let id = format!("AAAA{number}");
                let mut tx = database.store.begin().await.expect("begins");
                tx.open_activation(&activation(&id, "t-2", number)).await.expect("opened");
                commit(tx).await;
                if from != ActivationState::Open {
                    let sql = format!("UPDATE activation SET state = '{}', {} WHERE id = '{id}'", from.name(), columns(from));
                    database.raw(&sql).await.expect("an open activation moves anywhere");
                }
                // From locked, the tries stay what they are.
                let columns = if from == ActivationState::Locked { "attempts = 5".to_owned() } else { columns(to) };
                let sql = format!("UPDATE activation SET state = '{}', {columns} WHERE id = '{id}'", to.name());
                let moved = database.raw(&sql).await.is_ok();
                assert_eq!(moved, from == to || from.to(to).is_ok(), "{from:?} to {to:?}");
            }
        }
        assert!(database.raw("DELETE FROM activation").await.is_err());
    });
}
