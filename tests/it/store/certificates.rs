//! Certificates, revocations, revocation lists.

use super::*;
use tillward::store::{Certificate, Crl, Revocation, RevocationReason};

fn certificate(serial: u8, device: u32, not_before: i64) -> Certificate {
    Certificate {
        serial: vec![0, serial],
        device: device_id(device),
        der: vec![0x30, serial],
        not_before: NOW.plus(not_before),
        not_after: NOW.plus(not_before + 1000),
        revoked: None,
    }
}

async fn with_devices(database: &Database) -> Tx {
    let mut tx = with_terminals(&database.store, &["t-1", "t-2"]).await;
    tx.insert_device(&device(1, "t-1"), "package").await.expect("inserted");
    tx.insert_device(&device(2, "t-2"), "package").await.expect("inserted");
    tx
}

#[test]
fn the_current_certificate_is_the_newest_unrevoked_one() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        assert_eq!(tx.find_current_certificate(&device_id(1)).await.expect("reads"), None);
        for (serial, device, not_before) in [(1, 1, 0), (2, 1, 500), (3, 1, 100), (4, 2, 900)] {
            tx.insert_certificate(&certificate(serial, device, not_before)).await.expect("inserted");
        }
        assert_eq!(tx.find_current_certificate(&device_id(1)).await.expect("reads"), Some(certificate(2, 1, 500)));
        assert!(conflicts(&tx.insert_certificate(&certificate(4, 1, 0)).await));
    });
}

#[test]
fn a_certificate_needs_its_device() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        assert!(matches!(tx.insert_certificate(&certificate(1, 3, 0)).await, Err(StoreError::NoParent(_))));
    });
}

#[test]
fn revoking_a_device_revokes_all_of_its_certificates_and_no_other() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        for (serial, device, not_before) in [(1, 1, 0), (2, 1, 500), (3, 2, 0)] {
            tx.insert_certificate(&certificate(serial, device, not_before)).await.expect("inserted");
        }
        assert_eq!(tx.count_revocations().await.expect("counted"), 0);
        let revoked = tx.revoke_certificates_of_device(&device_id(1), NOW, RevocationReason::Superseded).await;
        assert_eq!(revoked.expect("revoked"), 2);
        let revoked = tx.revoke_certificates_of_device(&device_id(1), NOW.plus(9), RevocationReason::KeyCompromise).await;
        assert_eq!(revoked.expect("revoked"), 0);
        commit(tx).await;

        let mut reads = database.store.read().await.expect("reads");
        assert_eq!(reads.find_current_certificate(&device_id(1)).await.expect("reads"), None);
        assert_eq!(reads.find_current_certificate(&device_id(2)).await.expect("reads"), Some(certificate(3, 2, 0)));
        let line = |serial| Revocation { serial: vec![0, serial], at: NOW, reason: RevocationReason::Superseded };
        let all = reads.revocations(NOW).await.expect("reads");
        assert_eq!((all.count, all.lines), (2, vec![line(1), line(2)]));
        // The first expires at 1000, the second at 1500.
        let later = reads.revocations(NOW.plus(1001)).await.expect("reads");
        assert_eq!((later.count, later.lines), (2, vec![line(2)]));
    });
}

#[test]
fn every_reason_comes_back_as_it_was_given() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        for (serial, reason) in (1..).zip(RevocationReason::ALL) {
            tx.insert_certificate(&certificate(serial, 1, 0)).await.expect("inserted");
            assert_eq!(tx.revoke_certificates_of_device(&device_id(1), NOW, reason).await.expect("revoked"), 1);
        }
        let lines = tx.revocations(NOW).await.expect("reads").lines;
        assert_eq!(lines.iter().map(|line| line.reason).collect::<Vec<_>>(), RevocationReason::ALL);
    });
}

#[test]
fn the_database_itself_keeps_a_revocation() {
    on_both(async |database| {
        let mut tx = with_devices(&database).await;
        tx.insert_certificate(&certificate(1, 1, 0)).await.expect("inserted");
        tx.revoke_certificates_of_device(&device_id(1), NOW, RevocationReason::Superseded).await.expect("revoked");
        commit(tx).await;
        assert!(database.raw("UPDATE certificate SET revoked_at = NULL, revocation_reason = NULL").await.is_err());
        assert!(database.raw("UPDATE certificate SET revoked_at = revoked_at + 1").await.is_err());
        assert!(database.raw("DELETE FROM certificate").await.is_err());
        assert_eq!(database.raw("UPDATE certificate SET not_after = not_after + 1").await.expect("the control"), 1);
    });
}

#[test]
fn the_latest_list_is_that_of_the_highest_number_and_a_number_is_used_once() {
    on_both(async |database| {
        let list = |number| Crl { number, der: vec![0x30, 0], this_update: NOW, next_update: NOW.plus(60), covers: 3 };
        let mut tx = database.store.begin().await.expect("begins");
        assert_eq!(tx.find_latest_crl().await.expect("reads"), None);
        for number in [9, 10] {
            tx.insert_crl(&list(number)).await.expect("inserted");
        }
        assert_eq!(tx.find_latest_crl().await.expect("reads"), Some(list(10)));
        assert!(conflicts(&tx.insert_crl(&list(10)).await));
    });
}
