//! Opening a database.

use super::*;

#[expect(clippy::panic, reason = "how a test fails")]
fn open_error(outcome: Result<Store, StoreError>) -> StoreError {
    match outcome {
        Err(error @ StoreError::Open(_)) => error,
        other => panic!("it opened, or failed otherwise: {other:?}"),
    }
}

#[test]
fn a_second_opening_finds_what_the_first_left() {
    on_both(async |database| {
        commit(with_terminals(&database.store, &["t-1"]).await).await;
        let again = Store::open(&database.url, 2).await.expect("opens again beside the first");
        assert!(again.read().await.expect("reads").find_merchant(&merchant().id).await.expect("reads").is_some());
        commit(again.begin().await.expect("begins")).await;
        again.close().await;
        database.store.close().await;
        let third = Store::open(&database.url, 2).await.expect("opens after both are closed");
        assert_eq!(third.read().await.expect("reads").audit_page(0, 10).await.expect("reads").len(), 2);
    });
}

#[test]
fn a_database_of_a_newer_version_is_not_opened() {
    on_both(async |database| {
        let (checksum, done) = if database.is_sqlite() { ("x'00'", "1") } else { ("'\\x00'", "true") };
        let sql = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'newer', {done}, {checksum}, 0)"
        );
        database.raw(&sql).await.expect("written");
        open_error(Store::open(&database.url, 2).await);
    });
}

#[test]
fn a_sqlite_file_is_its_owners_only_and_its_log_too() {
    use std::os::unix::fs::PermissionsExt;
    on_both(async |database| {
        let Some(path) = database.url.strip_prefix("sqlite:") else { return };
        commit(database.store.begin().await.expect("begins")).await;
        for suffix in ["", "-wal", "-shm"] {
            let mode = std::fs::metadata(format!("{path}{suffix}")).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{suffix}");
        }
    });
}

#[test]
fn what_is_not_a_database_is_not_opened_and_its_url_is_not_repeated() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("text");
        std::fs::write(&file, "this is not a database, though it is long enough to be looked at as one").expect("written");
        let urls = [
            format!("sqlite:{}", file.display()),
            format!("sqlite:{}/missing/tillward.db", directory.path().display()),
            "sqlite::memory:".to_owned(),
            "mysql://root:s3cret@localhost/tillward".to_owned(),
            "postgres://tillward:s3cret@localhost:1/tillward?sslmode=bogus".to_owned(),
            "postgres://tillward:s3cret@localhost:notaport/tillward".to_owned(),
        ];
        for url in urls {
            let error = open_error(Store::open(&url, 2).await);
            assert!(!format!("{error:?}").contains("s3cret"), "{url}");
        }
    });
}
