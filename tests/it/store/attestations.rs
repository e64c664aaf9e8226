//! Challenges, attestation results, clearances.

use super::*;
use tillward::store::{Clearance, ClearanceId, NewResult, Purpose};

fn result(device: u32, status: &'static str) -> NewResult {
    NewResult {
        device: device_id(device),
        status,
        issued: NOW,
        expires: NOW.plus(600),
        policy: "standard@abc".to_owned(),
        evidence: r#"{"format": "software"}"#.to_owned(),
        result: format!("jws of {status}"),
    }
}

async fn with_devices(database: &Database) -> Tx {
    let mut tx = with_terminals(&database.store, &["t-1", "t-2"]).await;
    tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
    tx.insert_device(&device(2, "t-2"), "package").await.expect("inserted");
    tx
}

#[test]
fn a_nonce_is_used_once_whoever_asks() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        assert!(tx.use_challenge(&[1; 32], &device_id(1), NOW, NOW.plus(60)).await.expect("asked"));
        assert!(!tx.use_challenge(&[1; 32], &device_id(1), NOW, NOW.plus(60)).await.expect("asked"));
        assert!(!tx.use_challenge(&[1; 32], &device_id(2), NOW, NOW.plus(60)).await.expect("asked"));
        assert!(tx.use_challenge(&[2; 32], &device_id(1), NOW, NOW.plus(60)).await.expect("asked"));
        // A replay is no failure: its refusal is committed.
        commit(tx).await;
    });
}

#[test]
fn a_nonce_is_forgotten_only_when_its_challenge_is_long_expired() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        assert!(tx.use_challenge(&[1; 32], &device_id(1), NOW, NOW.plus(60)).await.expect("asked"));
        assert_eq!(tx.purge_challenges(NOW.plus(60 + 3600)).await.expect("purged"), 0);
        assert!(!tx.use_challenge(&[1; 32], &device_id(1), NOW, NOW.plus(60)).await.expect("asked"));
        assert_eq!(tx.purge_challenges(NOW.plus(60 + 3601)).await.expect("purged"), 1);
    });
}

#[test]
fn the_last_result_is_the_devices_own_and_the_newest() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        assert_eq!(tx.find_last_result(&device_id(1)).await.expect("reads"), None);
        tx.insert_result(&result(1, "affirming")).await.expect("inserted");
        let newest = tx.insert_result(&result(1, "warning")).await.expect("inserted");
        tx.insert_result(&result(2, "none")).await.expect("inserted");
        let last = tx.find_last_result(&device_id(1)).await.expect("reads").expect("there");
        assert_eq!((last.id, last.device, last.status.as_str()), (newest, device_id(1), "warning"));
        assert_eq!((last.issued, last.expires), (NOW, NOW.plus(600)));
        assert_eq!((last.policy.as_str(), last.result.as_str()), ("standard@abc", "jws of warning"));
    });
}

#[test]
fn a_status_that_is_none_of_the_four_is_refused() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        assert!(matches!(tx.insert_result(&result(1, "fine")).await, Err(StoreError::Refused(_))));
    });
}

#[test]
fn a_resumed_device_has_no_result_until_it_attests_afresh() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        tx.insert_result(&result(1, "affirming")).await.expect("inserted");
        tx.insert_result(&result(2, "affirming")).await.expect("inserted");
        tx.move_device(&device_id(1), DeviceState::Active, DeviceState::Suspended, "test", NOW).await.expect("moved");
        assert!(tx.find_last_result(&device_id(1)).await.expect("reads").is_some());
        tx.move_device(&device_id(1), DeviceState::Suspended, DeviceState::Active, "test", NOW).await.expect("moved");
        assert_eq!(tx.find_last_result(&device_id(1)).await.expect("reads"), None);
        assert!(tx.find_last_result(&device_id(2)).await.expect("reads").is_some());
        let fresh = tx.insert_result(&result(1, "affirming")).await.expect("inserted");
        assert_eq!(tx.find_last_result(&device_id(1)).await.expect("reads").map(|last| last.id), Some(fresh));
    });
}

#[test]
fn a_clearance_rests_on_a_result_and_has_its_own_id() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        let result = tx.insert_result(&result(1, "affirming")).await.expect("inserted");
        let clearance = |id: u8, purpose| Clearance {
            id: ClearanceId([id; 16]),
            device: device_id(1),
            purpose,
            given: NOW,
            expires: NOW.plus(60),
            result,
        };
        tx.insert_clearance(&clearance(1, Purpose::Payment)).await.expect("inserted");
        tx.insert_clearance(&clearance(2, Purpose::Pin)).await.expect("inserted");
        assert!(conflicts(&tx.insert_clearance(&clearance(2, Purpose::Pin)).await));
        drop(tx);
        commit(with_devices(&database).await).await;
        let mut tx = database.store.begin().await.expect("begins");
        // The result went with the dropped transaction.
        assert!(matches!(tx.insert_clearance(&clearance(1, Purpose::Pin)).await, Err(StoreError::NoParent(_))));
    });
}
