//! What the phone gets: enrolment parameters (docs/protocol.md §3.2) and the personalization package (§3.6).

use std::collections::BTreeMap;

use serde::ser::Serializer;
use serde::{Serialize, ser::SerializeSeq};
use serde_json::{Map, Value};

use crate::attestation::evidence::{ClaimSet, Format};
use crate::attestation::level::{AppraisalPolicy, LevelName, LevelPolicy};
use crate::clock::UnixTime;
use crate::enrolment::transcript::Transcript;
use crate::id::{ActivationId, DeviceId, MerchantId, TerminalId};
use crate::jose::{JoseError, Thumbprint, Typ, Unsigned};
use crate::wire::{b64url, hex};

/// How the second secret is wrapped: RFC 8017 §7.1 with an empty label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TransportAlgorithm {
    /// SHA-1 and MGF1-SHA-1 (the only hash `SoftHSM` offers for OAEP).
    #[serde(rename = "RSA-OAEP")]
    RsaOaep,
    /// SHA-256 and MGF1-SHA-256.
    #[serde(rename = "RSA-OAEP-256")]
    RsaOaep256,
}

/// The transport key that phones wrap to.
#[derive(Debug, Clone, Serialize)]
pub struct TransportKey {
    /// SHA-256 of `spki`.
    #[serde(with = "b64url")]
    pub kid: [u8; 32],
    /// How.
    pub alg: TransportAlgorithm,
    /// SPKI in DER.
    #[serde(with = "b64url")]
    pub spki: Vec<u8>,
}

/// Enrolment parameters, to be signed by attestation-signing.
#[derive(Debug, Clone, Serialize)]
pub struct Parameters<'a> {
    iss: &'a str,
    iat: UnixTime,
    exp: UnixTime,
    transport: &'a TransportKey,
    levels: BTreeMap<&'a LevelName, Demand<'a>>,
}

/// What a level demands.
#[derive(Debug, Clone, Serialize)]
struct Demand<'a> {
    format: Format,
    claims: &'a ClaimSet,
    signature: bool,
}

impl<'a> Demand<'a> {
    fn of(level: &'a LevelPolicy) -> Self {
        Self { format: Format::Software, claims: level.claims(), signature: level.signature() }
    }
}

impl<'a> Parameters<'a> {
    /// The parameters at `now`, good for `validity` seconds.
    pub fn new(issuer: &'a str, now: UnixTime, validity: u32, transport: &'a TransportKey, policy: &'a AppraisalPolicy) -> Self {
        let levels = policy.levels().map(|level| (level.name(), Demand::of(level))).collect();
        Self { iss: issuer, iat: now, exp: now.plus(i64::from(validity)), transport, levels }
    }

    /// For the signer.
    ///
    /// # Errors
    /// [`JoseError::TooLong`] if the policy has very many levels.
    pub fn unsigned(&self, kid: &Thumbprint) -> Result<Unsigned, JoseError> {
        Unsigned::new(Typ::Parameters, kid, self)
    }
}

/// What an initial key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InitialKeyUsage {
    /// PIN blocks, for the acquirer's payment HSM.
    Pin,
    /// Account data and its MAC.
    Data,
}

/// The key's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum InitialKeyAlgorithm {
    /// 16 bytes.
    #[serde(rename = "AES-128")]
    Aes128,
    /// 32 bytes.
    #[serde(rename = "AES-256")]
    Aes256,
}

/// An AES DUKPT initial key, wrapped on the token under the phone's `K_kek`.
#[derive(Debug, Clone, Serialize)]
pub struct WrappedInitialKey {
    /// What for.
    pub usage: InitialKeyUsage,
    /// Initial key identifier.
    #[serde(with = "hex")]
    pub ikid: [u8; 8],
    /// What it is.
    pub algorithm: InitialKeyAlgorithm,
    /// RFC 5649.
    #[serde(with = "b64url")]
    pub wrapped: Vec<u8>,
    /// First five bytes of AES-CMAC(key, 16 zero bytes) (X9.24-1:2017).
    #[serde(with = "hex")]
    pub kcv: [u8; 5],
}

/// What a device is personalised with.
#[derive(Debug)]
pub struct Personalization<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `iat`.
    pub now: UnixTime,
    /// The new device.
    pub device: &'a DeviceId,
    /// T of its request: the package answers exactly that request.
    pub transcript: &'a Transcript,
    /// The activation it used.
    pub activation: &'a ActivationId,
    /// Its merchant.
    pub merchant: &'a MerchantId,
    /// Its terminal.
    pub terminal: &'a TerminalId,
    /// The terminal's configuration, the back end's to define.
    pub configuration: &'a Map<String, Value>,
    /// Leaf and issuing CA, DER.
    pub certificate_chain: [&'a [u8]; 2],
    /// PIN and data key.
    pub initial_keys: [&'a WrappedInitialKey; 2],
    /// How it will be attested.
    pub level: &'a LevelPolicy,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: UnixTime,
    sub: &'a DeviceId,
    #[serde(with = "b64url")]
    transcript: [u8; 32],
    activation: &'a ActivationId,
    merchant: &'a MerchantId,
    terminal: &'a TerminalId,
    configuration: &'a Map<String, Value>,
    #[serde(serialize_with = "chain")]
    certificate_chain: [&'a [u8]; 2],
    initial_keys: [&'a WrappedInitialKey; 2],
    attestation: Attestation<'a>,
}

#[derive(Serialize)]
struct Attestation<'a> {
    level: &'a LevelName,
    #[serde(flatten)]
    demand: Demand<'a>,
    period: u32,
    threshold: u32,
}

fn chain<S: Serializer>(chain: &[&[u8]; 2], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(chain.len()))?;
    for der in chain {
        list.serialize_element(&b64url::encode(der))?;
    }
    list.end()
}

impl Personalization<'_> {
    /// The personalization package, for the signer.
    ///
    /// # Errors
    /// [`JoseError::TooLong`] if the configuration is too big for a package.
    pub fn unsigned(&self, kid: &Thumbprint) -> Result<Unsigned, JoseError> {
        let claims = Claims {
            iss: self.issuer,
            iat: self.now,
            sub: self.device,
            transcript: *self.transcript.digest(),
            activation: self.activation,
            merchant: self.merchant,
            terminal: self.terminal,
            configuration: self.configuration,
            certificate_chain: self.certificate_chain,
            initial_keys: self.initial_keys,
            attestation: Attestation {
                level: self.level.name(),
                demand: Demand::of(self.level),
                period: self.level.period(),
                threshold: self.level.threshold(),
            },
        };
        Unsigned::new(Typ::Package, kid, &claims)
    }
}
