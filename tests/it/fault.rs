//! The HSM host with the fault module between it and SoftHSM.

use std::time::{Duration, Instant};

use tillward_fault_module::{Counts, library_path, write_script};
use tillward_hsm::{HsmConfig, Pkcs11Uri, SigningKey};

use crate::softhsm::SoftHsm;

/// The token's configuration with the fault module in front of SoftHSM.
fn faulty(token: &SoftHsm) -> HsmConfig {
    let mut config = token.config();
    let variables = [
        ("TILLWARD_FAULT_MODULE", config.uri.module_path().to_owned()),
        ("TILLWARD_FAULT_SCRIPT", token.path("faults")),
        ("TILLWARD_FAULT_STATE", token.path("fault-state")),
    ];
    config.environment.extend(variables.map(|(name, path)| (name.to_owned(), path.display().to_string())));
    config.uri = Pkcs11Uri::new(config.uri.token(), &library_path(), config.uri.pin_path()).expect("a URI");
    config
}

fn counts(token: &SoftHsm) -> Counts {
    Counts::read(&token.path("fault-state")).expect("the state file")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_works_through_the_fault_module_and_logs_in_once() {
    let token = SoftHsm::with_keys().await;
    let hsm = tillward_hsm::Hsm::start(faulty(&token)).await.expect("the host is ready");
    hsm.sign(SigningKey::Attestation, &[7; 32]).await.expect("signs");
    assert_eq!((counts(&token).called("C_Login"), counts(&token).failed("C_Login"), counts(&token).hits()), (Some(1), Some(0), 0));
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_in_a_signature_is_replaced_and_the_next_one_lives() {
    let token = SoftHsm::with_keys().await;
    let hsm = tillward_hsm::Hsm::start(faulty(&token)).await.expect("the host is ready");
    write_script(&token.path("faults"), "C_Sign shared next 1 abort").expect("a script");
    let until = Instant::now() + Duration::from_secs(30);
    while hsm.sign(SigningKey::Attestation, &[7; 32]).await.is_err() || counts(&token).hits() == 0 {
        assert!(Instant::now() < until, "no host signs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((counts(&token).hits(), counts(&token).called("C_Login")), (1, Some(2)));
    hsm.shutdown().await;
}
