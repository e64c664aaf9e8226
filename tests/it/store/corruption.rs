//! A cell that the service would never have written is told by name, and nothing is guessed.

use super::*;

#[expect(clippy::panic, reason = "how a test fails")]
fn corrupt<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Corrupt { table, column, row }) => format!("{table}.{column} of {row}"),
        other => panic!("not a corrupt cell: {other:?}"),
    }
}

#[test]
fn a_corrupt_cell_is_named_by_table_column_and_row() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &["t-1", "t-2", "t-3"]).await;
        tx.open_activation(&activation("AAAAAAA", "t-3", 9)).await.expect("opened");
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        commit(tx).await;
        for sql in [
            "UPDATE terminal SET configuration = '[1]' WHERE id = 't-1'",
            "UPDATE terminal SET configuration = '{\"a\": 1' WHERE id = 't-2'",
            "UPDATE device SET ikid = 'not hexadecimal!'",
            "UPDATE activation SET ikid = 'a1a1a1a100000009'",
        ] {
            database.raw(sql).await.expect(sql);
        }
        let mut reads = database.store.read().await.expect("reads");
        assert_eq!(corrupt(reads.find_terminal(&terminal_id("t-1")).await), "terminal.configuration of t-1");
        assert_eq!(corrupt(reads.find_terminal(&terminal_id("t-2")).await), "terminal.configuration of t-2");
        assert_eq!(corrupt(reads.find_device(&device_id(1)).await), format!("device.ikid of {}", device_id(1)));
        assert_eq!(corrupt(reads.find_activation(&activation_id("AAAAAAA")).await), "activation.ikid of AAAAAAA");
    });
}

#[test]
fn a_text_that_is_not_utf_8_names_its_table() {
    on_both(async |database| {
        if !database.is_sqlite() {
            return; // PostgreSQL does not take one.
        }
        commit(with_terminals(&database.store, &[]).await).await;
        database.raw("UPDATE merchant SET name = CAST(x'FF' AS TEXT)").await.expect("SQLite takes it");
        let mut reads = database.store.read().await.expect("reads");
        assert_eq!(corrupt(reads.find_merchant(&merchant().id).await), "merchant.unknown of unknown");
    });
}

#[test]
fn a_value_of_the_wrong_type_or_length_is_refused_by_the_database() {
    on_both(async |database| {
        let mut tx = with_terminals(&database.store, &["t-1"]).await;
        tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
        commit(tx).await;
        for sql in [
            "UPDATE device SET enrolled = 'yesterday'",
            "UPDATE device SET ikid = 'A1'",
            "UPDATE device SET derivation_id = -1",
            "UPDATE device SET derivation_id = 4294967296",
            "UPDATE device SET state = 'suspended', state_reason = NULL",
            "UPDATE merchant SET acquirer = 'other'",
        ] {
            assert!(database.raw(sql).await.is_err(), "{sql}");
        }
    });
}
