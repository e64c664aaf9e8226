//! Merchants and terminals.

use super::*;

#[test]
fn a_merchant_and_its_terminal_are_found_as_they_were_written() {
    on_both(async |database| {
        commit(with_terminals(&database.store, &["t-1"]).await).await;
        let mut reads = database.store.read().await.expect("reads");
        assert_eq!(reads.find_merchant(&merchant().id).await.expect("reads"), Some(merchant()));
        assert_eq!(reads.find_merchant(&merchant_id("m-2")).await.expect("reads"), None);
        assert_eq!(reads.find_terminal(&terminal_id("t-1")).await.expect("reads"), Some(terminal("t-1")));
        assert_eq!(reads.find_terminal(&terminal_id("t-2")).await.expect("reads"), None);
    });
}

#[test]
fn an_id_is_registered_once() {
    on_both(async |database| {
        commit(with_terminals(&database.store, &["t-1"]).await).await;
        let mut tx = database.store.begin().await.expect("begins");
        assert!(conflicts(&tx.insert_merchant(&merchant()).await));
        drop(tx);
        let mut tx = database.store.begin().await.expect("begins");
        assert!(conflicts(&tx.insert_terminal(&terminal("t-1")).await));
    });
}

#[test]
fn a_terminal_needs_a_merchant_of_its_acquirer() {
    on_both(async |database| {
        commit(with_terminals(&database.store, &[]).await).await;
        for wrong in [
            Terminal { merchant: merchant_id("m-2"), ..terminal("t-1") },
            Terminal { acquirer: "other".parse().expect("parses"), ..terminal("t-1") },
        ] {
            let mut tx = database.store.begin().await.expect("begins");
            assert!(matches!(tx.insert_terminal(&wrong).await, Err(StoreError::NoParent(_))));
        }
    });
}

#[test]
fn a_dropped_transaction_leaves_nothing() {
    on_both(async |database| {
        drop(with_terminals(&database.store, &["t-1"]).await);
        let mut tx = database.store.begin().await.expect("begins");
        assert_eq!(tx.find_merchant(&merchant().id).await.expect("reads"), None);
        assert_eq!(tx.audit_page(0, 10).await.expect("reads"), []);
    });
}

#[test]
fn a_transaction_of_which_a_statement_failed_is_not_committed() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &[]).await;
        assert!(conflicts(&tx.insert_merchant(&merchant()).await));
        assert!(matches!(tx.commit(event()).await, Err(StoreError::Refused(_))));
        let mut reads = database.store.read().await.expect("reads");
        assert_eq!(reads.find_merchant(&merchant().id).await.expect("reads"), None);
        assert_eq!(reads.audit_page(0, 10).await.expect("reads"), []);
    });
}
