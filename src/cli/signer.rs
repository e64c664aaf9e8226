//! What a person signs with: the private key of a client certificate in a file, or a key on a PKCS#11 token of their own.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use tillward_hsm::Approved;
use zeroize::Zeroizing;

/// Which key signs.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct With {
    /// Private key, EC P-256, PKCS#8 PEM
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl With {
    /// Signs a digest: `r` | `s`.
    #[expect(clippy::unused_async, reason = "a token signs in a process of its own")]
    pub(super) async fn sign(&self, digest: &[u8; 32]) -> anyhow::Result<[u8; 64]> {
        let path = self.key.as_deref().ok_or_else(|| anyhow!("no key was named"))?;
        let pem = Zeroizing::new(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?);
        let key =
            SigningKey::from_pkcs8_pem(&pem).map_err(|_| anyhow!("{} is not an EC P-256 private key (PKCS#8 PEM)", path.display()))?;
        let signature: Signature = key.sign_prehash(digest)?;
        Ok(signature.to_bytes().into())
    }
}

/// Reads an approved plan.
pub(super) fn read_bundle(path: &Path) -> anyhow::Result<Approved> {
    Err(anyhow!("{} cannot be read yet", path.display()))
}
