//! Plans, approvals and pins: what was signed stays, and what may happen once happens once.

use super::*;
use tillward::store::{ApprovalRow, PinKind, PlanId, PlanRow, PlanState};

fn plan(number: u8) -> PlanRow {
    PlanRow {
        id: PlanId([number; 16]),
        bytes: vec![b'p', number],
        hash: [number; 32],
        requester: "urn:a:requester".to_owned(),
        deed: "use-root-ca".to_owned(),
        resource: "service *".to_owned(),
        acquirer: Some(acquirer()),
        created: NOW,
        expires: UnixTime(NOW.0 + 60),
        state: PlanState::Open,
        closed: None,
    }
}

fn approval(officer: &str) -> ApprovalRow {
    ApprovalRow { officer: officer.to_owned(), signature: [7; 64], at: NOW }
}

async fn kept(store: &Store, number: u8, officers: &[&str]) -> PlanRow {
    kept_row(store, plan(number), officers).await
}

async fn kept_row(store: &Store, row: PlanRow, officers: &[&str]) -> PlanRow {
    let mut tx = store.begin().await.expect("begins");
    tx.insert_plan(&row).await.expect("inserted");
    for officer in officers {
        tx.insert_approval(row.id, &approval(officer)).await.expect("approved");
    }
    commit(tx).await;
    row
}

#[test]
fn a_plan_and_its_approvals_are_read_back_as_they_were_written() {
    on_both(async |database| {
        let row = kept(&database.store, 1, &["urn:a:one", "urn:a:two"]).await;
        let mut reads = database.store.read().await.expect("reads");
        assert_eq!(reads.find_plan(row.id).await.expect("reads"), Some(row.clone()));
        assert_eq!(reads.approvals_of(row.id).await.expect("reads"), [approval("urn:a:one"), approval("urn:a:two")]);
        assert_eq!(reads.find_plan(PlanId([9; 16])).await.expect("reads"), None);
        drop(reads);
        let mut tx = database.store.begin().await.expect("begins");
        assert!(conflicts(&tx.insert_plan(&row).await));
        drop(tx);
        let mut tx = database.store.begin().await.expect("begins");
        assert!(conflicts(&tx.insert_approval(row.id, &approval("urn:a:one")).await), "the same officer twice");
    });
}

#[test]
fn a_plan_is_executed_once_in_time_and_never_with_fewer_than_two_approvals() {
    on_both(async |database| {
        let store = &database.store;
        let (poor, good) = (kept(store, 1, &["urn:a:one"]).await, kept(store, 2, &["urn:a:one", "urn:a:two"]).await);
        let mut tx = store.begin().await.expect("begins");
        assert!(matches!(tx.execute_plan(poor.id, "urn:a:x", NOW).await, Err(StoreError::Refused(_))), "not even by the store");
        drop(tx);
        let mut tx = store.begin().await.expect("begins");
        assert!(!tx.execute_plan(good.id, "urn:a:x", good.expires).await.expect("asks"), "too late");
        assert!(tx.execute_plan(good.id, "urn:a:x", NOW).await.expect("asks"));
        assert!(!tx.execute_plan(good.id, "urn:a:y", NOW).await.expect("asks"), "once");
        assert!(!tx.cancel_plan(good.id, "urn:a:y", NOW).await.expect("asks"));
        commit(tx).await;
        let row = store.read().await.expect("reads").find_plan(good.id).await.expect("reads").expect("there");
        assert_eq!((row.state, row.closed), (PlanState::Executed, Some(("urn:a:x".to_owned(), NOW))));
        let mut tx = store.begin().await.expect("begins");
        let late = tx.insert_approval(good.id, &approval("urn:a:three")).await;
        assert!(matches!(late, Err(StoreError::Refused(_))), "{late:?}");
        drop(tx);
        let mut tx = store.begin().await.expect("begins");
        assert!(tx.cancel_plan(poor.id, "urn:a:y", NOW).await.expect("asks"));
        assert!(!tx.execute_plan(poor.id, "urn:a:x", NOW).await.expect("asks"));
        commit(tx).await;
    });
}

#[test]
fn what_was_signed_cannot_be_changed_or_taken_away() {
    on_both(async |database| {
        kept(&database.store, 1, &["urn:a:one", "urn:a:two"]).await;
        let mut tx = database.store.begin().await.expect("begins");
        tx.pin(PinKind::Officers, &[1; 32], None, NOW).await.expect("pinned");
        commit(tx).await;
        for sql in [
            "UPDATE plan SET bytes = (SELECT min(signature) FROM approval)",
            "UPDATE plan SET hash = replace(hash, '0', '1')",
            "UPDATE plan SET expires = expires + 1",
            "UPDATE plan SET requester = 'urn:a:another'",
            "UPDATE plan SET deed = 'change-policy'",
            "UPDATE plan SET state = 'executed'",
            "DELETE FROM plan",
            "UPDATE approval SET officer = 'urn:a:three'",
            "UPDATE approval SET at = at + 1",
            "DELETE FROM approval",
            "INSERT INTO approval (plan, officer, signature, at) SELECT id, requester, (SELECT min(signature) FROM approval), 1 FROM plan",
            "UPDATE pinned SET digest = replace(digest, '0', '1')",
            "DELETE FROM pinned",
            // A dialect of SQLite, and one of PostgreSQL: the other database refuses the words.
            "INSERT OR REPLACE INTO plan SELECT * FROM plan",
            "INSERT OR REPLACE INTO approval SELECT * FROM approval",
            "INSERT OR REPLACE INTO pinned SELECT * FROM pinned",
            "INSERT OR REPLACE INTO pinned (kind, digest, plan, at) SELECT kind, replace(digest, '0', '1'), NULL, at FROM pinned",
            "TRUNCATE plan CASCADE",
            "TRUNCATE approval",
            "TRUNCATE pinned",
        ] {
            assert!(database.raw(sql).await.is_err(), "{sql}");
        }
    });
}

#[test]
fn the_first_pin_of_a_kind_needs_no_plan_and_every_other_one_does() {
    on_both(async |database| {
        let store = &database.store;
        let officers = ["urn:a:one", "urn:a:two"];
        let row = kept_row(store, PlanRow { deed: "change-policy".to_owned(), ..plan(1) }, &officers).await;
        let foreign = kept_row(store, PlanRow { deed: "change-officers".to_owned(), ..plan(2) }, &officers).await;
        let mut tx = store.begin().await.expect("begins");
        assert_eq!(tx.pinned(PinKind::Policy).await.expect("reads"), None);
        tx.pin(PinKind::Policy, &[1; 32], None, NOW).await.expect("pinned");
        tx.pin(PinKind::Officers, &[2; 32], None, NOW).await.expect("pinned");
        commit(tx).await;
        let mut tx = store.begin().await.expect("begins");
        assert!(conflicts(&tx.pin(PinKind::Policy, &[3; 32], None, NOW).await));
        drop(tx);
        let mut tx = store.begin().await.expect("begins");
        let early = tx.pin(PinKind::Policy, &[3; 32], Some(row.id), NOW).await;
        assert!(matches!(early, Err(StoreError::Refused(_))), "a plan that is open: {early:?}");
        drop(tx);
        let mut tx = store.begin().await.expect("begins");
        assert!(tx.execute_plan(foreign.id, "urn:a:x", NOW).await.expect("asks"));
        let other = tx.pin(PinKind::Policy, &[3; 32], Some(foreign.id), NOW).await;
        assert!(matches!(other, Err(StoreError::Refused(_))), "a plan of another deed: {other:?}");
        drop(tx);
        let mut tx = store.begin().await.expect("begins");
        assert!(tx.execute_plan(row.id, "urn:a:x", NOW).await.expect("asks"));
        tx.pin(PinKind::Policy, &[3; 32], Some(row.id), NOW).await.expect("approved");
        commit(tx).await;
        let mut tx = store.begin().await.expect("begins");
        assert!(conflicts(&tx.pin(PinKind::Policy, &[4; 32], Some(row.id), NOW).await), "one plan, one pin");
        drop(tx);
        let mut reads = store.read().await.expect("reads");
        assert_eq!(reads.pinned(PinKind::Policy).await.expect("reads"), Some([3; 32]));
        assert_eq!(reads.pinned(PinKind::Officers).await.expect("reads"), Some([2; 32]));
    });
}

#[test]
fn plans_are_listed_the_latest_first_and_page_by_page() {
    on_both(async |database| {
        for number in 1..=5 {
            kept(&database.store, number, &[]).await;
        }
        let mut reads = database.store.read().await.expect("reads");
        let first = reads.plans(None, None, 3).await.expect("reads");
        assert_eq!(first.iter().map(|row| row.id.0[0]).collect::<Vec<_>>(), [5, 4, 3]);
        let last = first.last().map(|row| (row.created, row.id));
        let rest = reads.plans(Some(PlanState::Open), last, 3).await.expect("reads");
        assert_eq!(rest.iter().map(|row| row.id.0[0]).collect::<Vec<_>>(), [2, 1]);
        assert!(reads.plans(Some(PlanState::Executed), None, 3).await.expect("reads").is_empty());
    });
}
