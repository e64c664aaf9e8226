//! Derivation marks.

use super::*;

#[test]
fn a_mark_rises_and_never_falls() {
    on_both(async |database| {
        let mut tx = database.store.begin().await.expect("begins");
        assert_eq!(tx.find_derivation_mark(&acquirer()).await.expect("reads"), None);
        for (mark, rises, holds) in [(0, true, 0), (0, false, 0), (5, true, 5), (5, false, 5), (4, false, 5), (1 << 32, true, 1 << 32)] {
            assert_eq!(tx.raise_derivation_mark(&acquirer(), mark).await.expect("asked"), rises, "{mark}");
            assert_eq!(tx.find_derivation_mark(&acquirer()).await.expect("reads"), Some(holds));
        }
        assert_eq!(tx.find_derivation_mark(&"other".parse().expect("parses")).await.expect("reads"), None);
        commit(tx).await;
        assert!(database.raw("UPDATE derivation_mark SET mark = mark - 1").await.is_err());
        assert!(database.raw("DELETE FROM derivation_mark").await.is_err());
        let mut tx = database.store.begin().await.expect("begins");
        assert!(matches!(tx.raise_derivation_mark(&acquirer(), (1 << 32) + 1).await, Err(StoreError::Refused(_))));
    });
}
