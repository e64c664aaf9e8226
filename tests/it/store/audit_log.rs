//! The audit log's table.

use super::*;
use tillward::audit::Refusal;

#[test]
fn an_entry_comes_back_as_it_was_written() {
    on_both(async |database| {
        let tx = database.store.begin().await.expect("begins");
        let first = event().with("found", 3_u64).with("device", &device_id(1));
        let second = AuditEvent::refused(permit(), &occasion(), "device-suspended");
        tx.commit_with(first, vec![second]).await.expect("commits");
        let device = Resource::device(&device_id(1), &acquirer());
        let refusal = Refusal::turned_away(&Caller::System("test"), Action::Decrypt, &device, &occasion(), "device-unknown");
        database.store.record(refusal).await.expect("recorded");

        let mut reads = database.store.read().await.expect("reads");
        let page = reads.audit_page(0, 10).await.expect("reads");
        assert_eq!(page.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3]);
        let [effect, refused, turned_away] = page.as_slice() else { panic!("three entries") };
        assert_eq!((effect.at, effect.request.as_str()), (NOW, occasion().request.as_str()));
        assert_eq!((effect.caller.as_str(), effect.action.as_str()), ("system:test", "reconcile"));
        assert_eq!((effect.resource_kind.as_str(), effect.resource_id.as_str()), ("service", "*"));
        assert_eq!((effect.policies.join(" ").as_str(), effect.reason.as_deref()), ("system-keeps-house", None));
        assert_eq!(effect.detail.get("found").map(String::as_str), Some("3"));
        assert_eq!(effect.detail.get("device").map(String::as_str), Some(device_id(1).as_str()));
        assert_eq!(refused.reason.as_deref(), Some("device-suspended"));
        assert_eq!((turned_away.action.as_str(), turned_away.acquirers.join(" ").as_str()), ("decrypt", "acme"));
        assert_eq!((turned_away.policies.len(), turned_away.reason.as_deref()), (0, Some("device-unknown")));
    });
}

#[test]
fn pages_follow_each_other() {
    on_both(async |database| {
        for _ in 0..5 {
            commit(database.store.begin().await.expect("begins")).await;
        }
        let mut reads = database.store.read().await.expect("reads");
        let mut page = async |after, limit| -> Vec<u64> {
            reads.audit_page(after, limit).await.expect("reads").iter().map(|entry| entry.seq).collect()
        };
        assert_eq!(page(0, 2).await, [1, 2]);
        assert_eq!(page(2, 2).await, [3, 4]);
        assert_eq!(page(4, 2).await, [5]);
        assert!(page(5, 2).await.is_empty());
        assert!(page(u64::MAX, 2).await.is_empty());
    });
}

#[test]
fn a_rolled_back_transaction_leaves_no_gap_in_the_numbers() {
    on_both(async |database| {
        commit(database.store.begin().await.expect("begins")).await;
        let mut tx = with_terminals(&database.store, &[]).await;
        assert!(conflicts(&tx.insert_merchant(&merchant()).await));
        drop(tx.commit(event()).await);
        drop(database.store.begin().await.expect("begins"));
        commit(database.store.begin().await.expect("begins")).await;
        let page = database.store.read().await.expect("reads").audit_page(0, 10).await.expect("reads");
        assert_eq!(page.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    });
}

#[test]
fn the_database_itself_refuses_to_change_or_delete_an_entry() {
    on_both(async |database| {
        commit(database.store.begin().await.expect("begins")).await;
        let before = database.store.read().await.expect("reads").audit_page(0, 10).await.expect("reads");
        let columns = "(seq, at, request, caller, action, resource_kind, resource_id, acquirers, policies, outcome, detail)";
        let values = "(1, 0, 'r', 'c', 'a', 'k', 'i', '', 'p', 'effect', '{}')";
        let mut attacks = vec!["UPDATE audit SET caller = 'nobody'", "DELETE FROM audit", "UPDATE audit SET seq = 2"];
        let replace = format!("INSERT OR REPLACE INTO audit {columns} VALUES {values}");
        let upsert = format!("INSERT INTO audit {columns} VALUES {values} ON CONFLICT (seq) DO UPDATE SET caller = 'nobody'");
        if database.is_sqlite() {
            attacks.extend([replace.as_str(), upsert.as_str()]);
        } else {
            attacks.push("TRUNCATE audit");
        }
        for attack in attacks {
            assert!(database.raw(attack).await.is_err(), "{attack}");
        }
        let after = database.store.read().await.expect("reads").audit_page(0, 10).await.expect("reads");
        assert_eq!(before, after);
    });
}

/// More facts than any operation has.
const NAMES: [&str; 16] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

#[test]
fn the_widest_entry_fits() {
    on_both(async |database| {
        let uri = format!("urn:{}", "x".repeat(251));
        let acquirers = ids((0..100).map(|n| format!("{n:036}").parse::<AcquirerId>().expect("parses")));
        let entry = serde_json::json!({"uri": uri, "role": "operator", "acquirers": acquirers});
        let authz = Authz::new([serde_json::from_value(entry).expect("an entry")]).expect("one principal");
        let caller = authz.identify(&uri).expect("configured");
        let permit = authz.authorize(&caller, Action::ListDevices, &Resource::devices(&acquirers), super::now()).expect("allowed");
        let occasion = Occasion { request: "r".repeat(64).parse().expect("parses"), ..occasion() };
        let event = NAMES
            .into_iter()
            .fold(AuditEvent::effect(permit, &occasion), |event, name| event.with(name, tillward::audit::Fact::hex(&[255; 40])));
        database.store.record(event).await.expect("recorded");
    });
}

#[test]
fn an_entry_that_cannot_be_written_fails_its_caller() {
    on_both(async |database| {
        database.store.close().await;
        assert!(matches!(database.store.record(event()).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(database.store.begin().await, Err(StoreError::Unavailable(_))));
        assert!(matches!(database.store.read().await, Err(StoreError::Unavailable(_))));
    });
}
