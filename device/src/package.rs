//! The personalization package (docs/protocol.md §3.6): verified, and its keys unwrapped.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use crate::dukpt::InitialKey;
use crate::encoding::Base64Url;
use crate::id::{ActivationId, DeviceId, DeviceIdentity, MerchantId, TerminalId};
use crate::jws::Typ;
use crate::key::{AesKey, Algorithm, UnwrapError};
use crate::ksn::Ikid;
use crate::merchant_key::MerchantKey;
use crate::trust::{MerchantCertificateError, StatementError, Trust};

/// Why a package is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// Not signed by the service.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// `iss` is another service.
    #[error("the package is from another service")]
    Issuer,
    /// `transcript` or `activation` are not this phone's.
    #[error("the package answers another request")]
    Transcript,
    /// The certificate chain.
    #[error(transparent)]
    Certificate(#[from] ChainError),
    /// Not one PIN key and one data key, or their identifiers do not belong together, or not to the challenge.
    #[error("the initial keys of the package are not one PIN key and one data key of this enrolment")]
    Keys,
    /// A key does not unwrap.
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
    /// A key unwraps to another one than its check value says.
    #[error("the check value of an initial key does not fit")]
    CheckValue,
}

/// Why a certificate chain is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The leaf.
    #[error(transparent)]
    Leaf(#[from] MerchantCertificateError),
    /// Not two certificates, or the second is not the first one's issuer in the trust bundle.
    #[error("the certificate chain is not a leaf and its issuing CA")]
    Shape,
    /// The leaf holds another key.
    #[error("the certificate holds another key than this phone's")]
    OtherKey,
    /// The leaf names another device.
    #[error("the certificate is another device's")]
    OtherDevice,
}

/// Claims of the package.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageClaims {
    /// The service.
    pub iss: String,
    /// When it was made.
    pub iat: i64,
    /// The device id.
    pub sub: DeviceId,
    /// T of the request that it answers.
    pub transcript: Base64Url,
    /// The activation that was used.
    pub activation: ActivationId,
    /// The merchant.
    pub merchant: MerchantId,
    /// The terminal.
    pub terminal: TerminalId,
    /// What the back end has configured for the terminal.
    pub configuration: Map<String, Value>,
    /// Leaf, issuing CA.
    pub certificate_chain: Vec<Base64Url>,
    /// The wrapped initial keys.
    pub initial_keys: Vec<WrappedKey>,
    /// How this phone is attested.
    pub attestation: AttestationPolicy,
}

/// A wrapped initial key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKey {
    /// Which of the two.
    pub usage: KeyUse,
    /// Its identifier.
    pub ikid: Ikid,
    /// Its algorithm: AES-128 or AES-256.
    pub algorithm: Algorithm,
    /// AES-KWP(`K_kek`, key).
    pub wrapped: Base64Url,
    /// Check value, upper-case hexadecimal.
    pub kcv: String,
}

/// Which initial key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyUse {
    /// For PIN blocks; the acquirer has its base key.
    Pin,
    /// For account data; Tillward has its base key.
    Data,
}

/// How the phone is attested from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationPolicy {
    /// Security level.
    pub level: String,
    /// Evidence format.
    pub format: String,
    /// Names of the claims.
    pub claims: Vec<String>,
    /// A signature of the merchant key is demanded too.
    pub signature: bool,
    /// Seconds between two attestations.
    pub period: u32,
    /// Seconds after which a result is stale.
    pub threshold: u32,
}

/// What a package must fit to.
pub(crate) struct Expected<'a> {
    pub(crate) transcript: [u8; 32],
    pub(crate) activation: &'a ActivationId,
    pub(crate) ikid: Ikid,
    pub(crate) key: &'a MerchantKey,
    pub(crate) kek: &'a AesKey,
}

/// A package that was verified, with its keys in clear.
pub(crate) struct Opened {
    pub(crate) claims: PackageClaims,
    pub(crate) pin: InitialKey,
    pub(crate) data: InitialKey,
}

pub(crate) fn open(trust: &Trust, jws: &str, expected: &Expected<'_>, now: i64) -> Result<Opened, PackageError> {
    let claims: PackageClaims = trust.statement(jws, Typ::Package, now)?;
    if claims.iss != trust.issuer() {
        return Err(PackageError::Issuer);
    }
    if claims.transcript.0 != expected.transcript || claims.activation != *expected.activation {
        return Err(PackageError::Transcript);
    }
    let identity = DeviceIdentity { merchant: claims.merchant.clone(), terminal: claims.terminal.clone(), device: claims.sub.clone() };
    check_chain(trust, &claims.certificate_chain, expected.key, &identity, now)?;
    let (pin, data) = match claims.initial_keys.as_slice() {
        [pin, data] | [data, pin] if (pin.usage, data.usage) == (KeyUse::Pin, KeyUse::Data) => (pin, data),
        _ => return Err(PackageError::Keys),
    };
    // One derivation id, two base keys: the same IKID twice would be the same key for two uses.
    if data.ikid != expected.ikid || pin.ikid.derivation_id() != data.ikid.derivation_id() || pin.ikid == data.ikid {
        return Err(PackageError::Keys);
    }
    let (pin, data) = (unwrap(pin, expected.kek)?, unwrap(data, expected.kek)?);
    Ok(Opened { claims, pin, data })
}

fn unwrap(wrapped: &WrappedKey, kek: &AesKey) -> Result<InitialKey, PackageError> {
    if wrapped.algorithm == Algorithm::Aes192 {
        return Err(PackageError::Keys);
    }
    let key = kek.unwrap_key(&wrapped.wrapped.0, wrapped.algorithm)?;
    let check_value = data_encoding::HEXUPPER.encode(&key.check_value());
    if bool::from(check_value.as_bytes().ct_eq(wrapped.kcv.as_bytes())) {
        Ok(InitialKey::new(wrapped.ikid, key))
    } else {
        Err(PackageError::CheckValue)
    }
}

/// Leaf and issuing CA, the leaf with this phone's key and name. The phone's own certificate is not looked up in the
/// revocation list: whether it is revoked is for others to ask.
pub(crate) fn check_chain(
    trust: &Trust,
    chain: &[Base64Url],
    key: &MerchantKey,
    identity: &DeviceIdentity,
    now: i64,
) -> Result<(), ChainError> {
    let [leaf, issuing] = chain else { return Err(ChainError::Shape) };
    let certificate = trust.merchant(&leaf.0, now)?;
    if !trust.is_issuer(&issuing.0, &certificate) {
        return Err(ChainError::Shape);
    }
    if certificate.key() != key.public() {
        return Err(ChainError::OtherKey);
    }
    if certificate.identity() == identity { Ok(()) } else { Err(ChainError::OtherDevice) }
}
