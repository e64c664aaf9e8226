//! What a person signs with: the private key of a client certificate in a file, or a key on a PKCS#11 token of their own. It stays where the person is;
//! the service sees the signature only.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tillward_hsm::trial::{KeyUri, Target, sign_plan};
use tillward_hsm::{Approved, Plan};

use super::failure::{Advice, advise};
use crate::ops::bundle::Bundle;
use crate::store::PlanId;

const DISTRUST: &str = "do not sign: tell those who run the service, and show them this.";
const KEY: &str = "name the EC P-256 private key in PEM that the officers' file has the public key of.";

/// Which key signs.
#[derive(Debug, Args)]
pub(super) struct With {
    /// Private key in a file: EC P-256, PEM; as a rule that of the client certificate
    #[arg(long, value_name = "FILE", required_unless_present = "uri", conflicts_with = "uri")]
    key: Option<PathBuf>,
    /// Private key on a token of your own: pkcs11:token=LABEL;object=LABEL?module-path=/lib.so&pin-source=file:/pin
    #[arg(long)]
    uri: Option<KeyUri>,
    /// What the module needs in its environment, with --uri; may stand several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::target::pair, requires = "uri")]
    environment: Vec<(String, String)>,
}

impl With {
    /// Signs a digest: `r` | `s`.
    pub(super) async fn sign(&self, digest: &[u8; 32]) -> anyhow::Result<[u8; 64]> {
        match (&self.key, &self.uri) {
            (Some(path), None) => sign(&key_of(path)?, digest),
            (None, Some(uri)) => {
                let environment = self.environment.iter().cloned().collect();
                let target = Target { executable: super::this_program()?, uri: uri.token.clone(), environment };
                let signed = sign_plan(&target, &uri.object, *digest).await?;
                believe(&signed.public_key, digest, &signed.signature)
            }
            _ => bail!("no key was named: --key or --uri"),
        }
    }
}

/// Reads an approved plan: the bundle that `tillward plan bundle` writes. Nothing in it is verified yet.
pub(super) fn read_bundle(path: &Path) -> anyhow::Result<Approved> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Bundle::parse(&bytes).and_then(|bundle| bundle.approved()).with_context(|| format!("{} is no approved plan", path.display()))
}

/// A key in a file: PEM, PKCS#8 or SEC 1, EC P-256.
///
/// # Errors
/// The file cannot be read, or holds no such key.
pub fn key_of(path: &Path) -> anyhow::Result<SigningKey> {
    let unreadable = || Advice::new(format!("cannot read an EC P-256 private key (PEM) from {}", path.display()), KEY);
    match PrivateKeyDer::from_pem_file(path).with_context(unreadable)? {
        PrivateKeyDer::Pkcs8(der) => SigningKey::from_pkcs8_der(der.secret_pkcs8_der()).with_context(unreadable),
        PrivateKeyDer::Sec1(der) => Ok(p256::SecretKey::from_sec1_der(der.secret_sec1_der()).with_context(unreadable)?.into()),
        _ => Err(advise(format!("{} holds no EC key", path.display()), KEY)),
    }
}

/// The plan that was shown, parsed here.
///
/// # Errors
/// The text is not a plan, is about another id, or the service gave another hash.
pub fn plan_of(text: &str, id: PlanId, hash: &str) -> anyhow::Result<Plan> {
    let plan = Plan::parse(text.as_bytes())?;
    if PlanId(plan.id) != id {
        return Err(advise(format!("the service showed another plan than {id}: nothing was signed"), DISTRUST));
    }
    if data_encoding::HEXLOWER.encode(&plan.hash()) != hash {
        return Err(advise("the hash that the service gave is not that of the plan that it showed: nothing was signed", DISTRUST));
    }
    Ok(plan)
}

/// Signs a hash with a key of this process.
///
/// # Errors
/// None that is known of.
pub fn sign(key: &SigningKey, hash: &[u8; 32]) -> anyhow::Result<[u8; 64]> {
    let signature: Signature = key.sign_prehash(hash)?;
    Ok(signature.to_bytes().into())
}

/// A signature made elsewhere, as `r` | `s`: openssl writes DER.
///
/// # Errors
/// It is neither.
pub fn signature_of(bytes: &[u8]) -> anyhow::Result<[u8; 64]> {
    let signature = Signature::from_slice(bytes).or_else(|_| Signature::from_der(bytes));
    Ok(signature.context("neither 64 bytes nor DER of an ECDSA P-256 signature")?.to_bytes().into())
}

/// Verifies what a token signed before it is believed.
fn believe(spki: &[u8], hash: &[u8; 32], signature: &[u8]) -> anyhow::Result<[u8; 64]> {
    let key = VerifyingKey::from_public_key_der(spki).context("the token's public key is not EC P-256")?;
    let signature = Signature::from_slice(signature).context("the token's signature has another form")?;
    key.verify_prehash(hash, &signature).context("the token's signature does not verify with its public key")?;
    Ok(signature.to_bytes().into())
}
