//! The HSM host over a token that fails: each failure rule, each lasting fault, through the fault-injecting module in front of SoftHSM.

mod hostile;
mod lasting;
mod pin;
mod rules;

use std::path::PathBuf;
use std::time::Duration;

use tillward_fault_module::Counts;
use tillward_hsm::{HostStatus, Hsm, HsmConfig, HsmError, Pkcs11Uri, SigningKey};

use crate::token::{Module, Token};

/// A token with keys behind the fault module.
pub(crate) struct Faulty {
    pub(crate) token: Token,
}

impl Faulty {
    pub(crate) async fn new() -> Self {
        let faulty = Self { token: Token::with_keys(Module::SoftHsm).await.expect("SoftHSM is installed") };
        faulty.script("");
        faulty
    }

    /// What every process that has the module loaded obeys from its next call on.
    pub(crate) fn script(&self, rules: &str) {
        tillward_fault_module::write_script(&self.token.path("faults"), rules).expect("a script");
    }

    fn state(&self) -> PathBuf {
        self.token.path("fault-state")
    }

    /// How often a function was called, over all hosts.
    pub(crate) fn calls(&self, function: &str) -> u64 {
        Counts::read(&self.state()).expect("the state").called(function).expect("a function")
    }

    pub(crate) fn config(&self) -> HsmConfig {
        let mut config = self.token.config();
        let module = config.uri.module_path().display().to_string();
        config.uri = Pkcs11Uri::new("tillward-test", &tillward_fault_module::library_path(), &self.token.path("pin")).expect("a URI");
        config.environment.insert("TILLWARD_FAULT_MODULE".to_owned(), module);
        config.environment.insert("TILLWARD_FAULT_SCRIPT".to_owned(), self.token.path("faults").display().to_string());
        config.environment.insert("TILLWARD_FAULT_STATE".to_owned(), self.state().display().to_string());
        config
    }

    pub(crate) async fn start(&self) -> Hsm {
        Hsm::start(self.config()).await.expect("ready")
    }
}

/// The status of a host that works, as soon as there is one.
async fn recovered(hsm: &Hsm) -> HostStatus {
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if hsm.canary().await.is_ok()
                && let Ok(status) = hsm.status().await
                && status.is_ready()
            {
                return status;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("works again in time")
}

/// A signature that is given out verifies.
async fn sign(hsm: &Hsm) -> Result<(), HsmError> {
    use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
    use p256::pkcs8::DecodePublicKey as _;
    let digest = [0x17; 32];
    let spki = hsm.public_key(tillward_hsm::PublicKeyOf::Signing(SigningKey::Attestation)).await?;
    let signature = hsm.sign(SigningKey::Attestation, &digest).await?;
    let key = p256::ecdsa::VerifyingKey::from_public_key_der(&spki).expect("a key");
    key.verify_prehash(&digest, &p256::ecdsa::Signature::from_slice(&signature).expect("a signature")).expect("verifies");
    Ok(())
}
