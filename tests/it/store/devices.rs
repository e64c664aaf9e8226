//! Devices.

use super::*;
use tillward::store::DeviceFilter;

#[test]
fn a_device_is_found_by_id_ikid_and_terminal() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &["t-1", "t-2"]).await;
        tx.insert_device(&device(1, "t-1"), "the package").await.expect("inserted");
        commit(tx).await;
        let mut reads = database.store.read().await.expect("reads");
        let expected = Some(device(1, "t-1"));
        assert_eq!(reads.find_device(&device_id(1)).await.expect("reads"), expected);
        assert_eq!(reads.find_device_by_ikid(&ikid(1)).await.expect("reads"), expected);
        assert_eq!(reads.find_live_device_of_terminal(&terminal_id("t-1")).await.expect("reads"), expected);
        assert_eq!(reads.find_package(&device_id(1)).await.expect("reads").as_deref(), Some("the package"));
        assert_eq!(reads.find_device(&device_id(2)).await.expect("reads"), None);
        assert_eq!(reads.find_device_by_ikid(&ikid(2)).await.expect("reads"), None);
        assert_eq!(reads.find_live_device_of_terminal(&terminal_id("t-2")).await.expect("reads"), None);
        assert_eq!(reads.find_package(&device_id(2)).await.expect("reads"), None);
    });
}

#[test]
fn a_terminal_has_one_live_device_and_nothing_of_a_device_is_used_twice() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &["t-1", "t-2"]).await;
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        commit(tx).await;
        for second in [
            device(2, "t-1"),
            Device { id: device_id(1), ..device(2, "t-2") },
            Device { spki: device(1, "t-1").spki, ..device(2, "t-2") },
            Device { ikid: ikid(1), ..device(2, "t-2") },
            Device { derivation_id: 1, ..device(2, "t-2") },
        ] {
            let mut tx = database.store.begin().await.expect("begins");
            assert!(conflicts(&tx.insert_device(&second, "package").await), "{second:?}");
        }
        let mut tx = database.store.begin().await.expect("begins");
        let foreign = Device { acquirer: "other".parse().expect("parses"), ..device(2, "t-2") };
        assert!(matches!(tx.insert_device(&foreign, "package").await, Err(StoreError::NoParent(_))));
        drop(tx);
        let mut tx = database.store.begin().await.expect("begins");
        assert!(tx.move_device(&device_id(1), DeviceState::Active, DeviceState::Retired, "replaced", NOW).await.expect("moved"));
        tx.insert_device(&device(2, "t-1"), "package").await.expect("inserted");
        commit(tx).await;
    });
}

#[test]
fn a_device_moves_only_from_the_state_that_it_is_in() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &["t-1"]).await;
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        let id = device_id(1);
        assert!(!tx.move_device(&id, DeviceState::Suspended, DeviceState::Active, "resumed", NOW).await.expect("asked"));
        assert!(tx.move_device(&id, DeviceState::Active, DeviceState::Suspended, "contraindicated", NOW).await.expect("asked"));
        assert!(!tx.move_device(&id, DeviceState::Active, DeviceState::Suspended, "contraindicated", NOW).await.expect("asked"));
        let found = tx.find_device(&id).await.expect("reads").expect("there");
        assert_eq!((found.state, found.state_reason.as_deref()), (DeviceState::Suspended, Some("contraindicated")));
        assert!(tx.move_device(&id, DeviceState::Suspended, DeviceState::Retired, "lost", NOW.plus(5)).await.expect("asked"));
        let found = tx.find_device(&id).await.expect("reads").expect("there");
        assert_eq!((found.state, found.retired), (DeviceState::Retired, Some(NOW.plus(5))));
        assert_eq!(tx.find_live_device_of_terminal(&terminal_id("t-1")).await.expect("reads"), None);
        let back = tx.move_device(&id, DeviceState::Retired, DeviceState::Active, "resumed", NOW).await;
        assert!(matches!(back, Err(StoreError::Refused(_))));
    });
}

#[test]
fn the_database_itself_keeps_a_retired_device_retired() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &["t-1"]).await;
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        assert!(tx.move_device(&device_id(1), DeviceState::Active, DeviceState::Retired, "lost", NOW).await.expect("moved"));
        commit(tx).await;
        assert!(database.raw("UPDATE device SET state = 'active', retired = NULL").await.is_err());
        assert!(database.raw("UPDATE device SET retired = NULL").await.is_err());
        assert!(database.raw("DELETE FROM device").await.is_err());
        assert!(database.raw("UPDATE device SET state = 'broken'").await.is_err());
        assert_eq!(database.raw("UPDATE device SET state_reason = 'still-lost'").await.expect("the control"), 1);
    });
}

#[test]
fn a_list_is_filtered_and_paged() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &["t-1", "t-2", "t-3"]).await;
        for (number, terminal) in [(1, "t-1"), (2, "t-2"), (3, "t-3")] {
            tx.insert_device(&device(number, terminal), "package").await.expect("inserted");
        }
        tx.insert_merchant(&Merchant { id: merchant_id("m-2"), acquirer: "other".parse().expect("parses"), ..merchant() })
            .await
            .expect("ok");
        let foreign = Terminal { merchant: merchant_id("m-2"), acquirer: "other".parse().expect("parses"), ..terminal("t-4") };
        tx.insert_terminal(&foreign).await.expect("inserted");
        let foreign = Device { merchant: merchant_id("m-2"), acquirer: "other".parse().expect("parses"), ..device(4, "t-4") };
        tx.insert_device(&foreign, "package").await.expect("inserted");
        tx.move_device(&device_id(2), DeviceState::Active, DeviceState::Suspended, "test", NOW).await.expect("moved");
        commit(tx).await;

        let mut reads = database.store.read().await.expect("reads");
        let mut list = async |acquirers: &[&str], filter: DeviceFilter, limit: u32| -> Vec<DeviceId> {
            let acquirers = ids(acquirers.iter().map(|name| name.parse::<AcquirerId>().expect("parses")));
            reads.list_devices(&acquirers, &filter, limit).await.expect("reads").into_iter().map(|device| device.id).collect()
        };
        let all = DeviceFilter::default;
        assert_eq!(list(&["acme"], all(), 10).await, [1, 2, 3].map(device_id));
        assert_eq!(list(&["acme", "other"], all(), 10).await, [1, 2, 3, 4].map(device_id));
        assert_eq!(list(&["other", "unheard-of"], all(), 10).await, [4].map(device_id));
        assert_eq!(list(&[], all(), 10).await, []);
        assert_eq!(list(&["acme"], all(), 2).await, [1, 2].map(device_id));
        assert_eq!(list(&["acme"], DeviceFilter { after: Some(device_id(2)), ..all() }, 2).await, [3].map(device_id));
        assert_eq!(list(&["acme"], DeviceFilter { state: Some(DeviceState::Suspended), ..all() }, 10).await, [2].map(device_id));
        assert_eq!(list(&["acme"], DeviceFilter { terminal: Some(terminal_id("t-3")), ..all() }, 10).await, [3].map(device_id));
        let both = &["acme", "other"];
        assert_eq!(list(both, DeviceFilter { merchant: Some(merchant_id("m-2")), ..all() }, 10).await, [4].map(device_id));
    });
}

#[test]
fn a_restored_database_is_stopped_before_it_is_used() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &["t-1", "t-2", "t-3"]).await;
        tx.open_activation(&activation("AAAAAAA", "t-1", 11)).await.expect("opened");
        tx.open_activation(&activation("BBBBBBB", "t-2", 12)).await.expect("opened");
        for _ in 0..5 {
            tx.count_wrong_try(&activation_id("BBBBBBB")).await.expect("counted");
        }
        for (number, terminal) in [(1, "t-1"), (2, "t-2"), (3, "t-3")] {
            tx.insert_device(&device(number, terminal), "package").await.expect("inserted");
        }
        tx.move_device(&device_id(3), DeviceState::Active, DeviceState::Retired, "lost", NOW).await.expect("moved");
        assert_eq!(tx.revoke_all_open_activations().await.expect("revoked"), 2);
        assert_eq!(tx.suspend_all_devices("restored").await.expect("suspended"), 2);
        assert_eq!(tx.revoke_all_open_activations().await.expect("revoked"), 0);
        assert_eq!(tx.suspend_all_devices("restored").await.expect("suspended"), 0);
        commit(tx).await;
        let mut reads = database.store.read().await.expect("reads");
        let found = reads.find_device(&device_id(1)).await.expect("reads").expect("there");
        assert_eq!((found.state, found.state_reason.as_deref()), (DeviceState::Suspended, Some("restored")));
        assert_eq!(reads.find_device(&device_id(3)).await.expect("reads").expect("there").state, DeviceState::Retired);
        let found = reads.find_activation(&activation_id("AAAAAAA")).await.expect("reads").expect("there");
        assert_eq!(found.state, ActivationState::Revoked);
    });
}

#[test]
fn a_held_device_is_moved_only_after_the_transaction_that_holds_it() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &["t-1"]).await;
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        commit(tx).await;
        let mut holder = database.store.begin().await.expect("begins");
        assert!(holder.hold_device(&device_id(1), DeviceState::Active).await.expect("asks"));
        assert!(!holder.hold_device(&device_id(1), DeviceState::Suspended).await.expect("asks"));
        assert!(!holder.hold_device(&device_id(2), DeviceState::Active).await.expect("asks"));
        let store = database.store.clone();
        let retire = tokio::spawn(async move {
            let mut tx = store.begin().await.expect("begins");
            let moved = tx.move_device(&device_id(1), DeviceState::Active, DeviceState::Retired, "lost", UnixTime(9)).await.expect("moves");
            commit(tx).await;
            moved
        });
        tokio::task::yield_now().await;
        let mut reads = database.store.read().await.expect("reads");
        assert_eq!(reads.find_device(&device_id(1)).await.expect("reads").map(|d| d.state), Some(DeviceState::Active));
        drop(reads);
        commit(holder).await;
        assert!(retire.await.expect("ends"));
        let mut tx = database.store.begin().await.expect("begins");
        assert!(!tx.hold_device(&device_id(1), DeviceState::Active).await.expect("asks"), "it is retired");
    });
}
