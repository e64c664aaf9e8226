//! What the phone gets: enrolment parameters (docs/protocol.md §3.2) and the personalization package (§3.6).

use std::collections::BTreeMap;

use serde::ser::Serializer;
use serde::{Serialize, ser::SerializeSeq};
use serde_json::{Map, Value};

use crate::attestation::claim::ClaimSet;
use crate::attestation::evidence::Format;
use crate::attestation::level::{AppraisalPolicy, LevelName, LevelPolicy};
use crate::clock::UnixTime;
use crate::enrolment::transcript::Transcript;
use crate::enrolment::transport::{TransportKey, TransportKeys};
use crate::id::{ActivationId, DeviceId, MerchantId, TerminalId};
use crate::jose::{JoseError, Thumbprint, Typ, Unsigned};
use crate::wire::{b64url, hex};

/// How the parameters name the transport keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParametersForm {
    /// The first version: the RSA key alone.
    One,
    /// A list, in the service's order of preference.
    List,
}

/// Enrolment parameters, to be signed by attestation-signing.
#[derive(Debug, Clone, Serialize)]
pub struct Parameters<'a> {
    iss: &'a str,
    iat: UnixTime,
    exp: UnixTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'a TransportKey>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    transports: Vec<&'a TransportKey>,
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
    pub fn new(
        issuer: &'a str,
        now: UnixTime,
        validity: u32,
        form: ParametersForm,
        keys: &'a TransportKeys,
        policy: &'a AppraisalPolicy,
    ) -> Self {
        let levels = policy.levels().map(|level| (level.name(), Demand::of(level))).collect();
        let (transport, transports) = match form {
            ParametersForm::One => (Some(keys.rsa()), Vec::new()),
            ParametersForm::List => (None, keys.offered().collect()),
        };
        Self { iss: issuer, iat: now, exp: now.plus(i64::from(validity)), transport, transports, levels }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attestation::challenge::tests::{DEVICE, verified};
    use crate::attestation::claim::Claim;
    use crate::attestation::level::tests::example;
    use crate::enrolment::transport::TransportAlgorithm;
    use crate::jose::tests::key;
    use serde_json::json;

    fn claims(unsigned: &Unsigned) -> Value {
        let (_, claims) = unsigned.signing_input().split_once('.').expect("two parts");
        serde_json::from_slice(&b64url::decode(claims).expect("base64url")).expect("JSON")
    }

    #[test]
    fn the_parameters_are_those_of_the_protocol() {
        let policy = example();
        let transport = |kid, alg| TransportKey { kid: [kid; 32], alg, spki: vec![kid + 1; 4] };
        let keys = TransportKeys::new(transport(1, TransportAlgorithm::RsaOaep), Some(transport(2, TransportAlgorithm::Ecdh)));
        let of_form = |form| {
            let parameters = Parameters::new("https://t.example", UnixTime(1_763_823_600), 3600, form, &keys, &policy);
            claims(&parameters.unsigned(&Thumbprint::of(key(1).verifying_key())).expect("short"))
        };
        let all = json!(["app_digest", "os_version", "patch_level", "debugger", "root", "emulator"]);
        let rsa = json!({"kid": b64url::encode(&[1; 32]), "alg": "RSA-OAEP", "spki": "AgICAg"});
        let mut expected = json!({
            "iss": "https://t.example", "iat": 1_763_823_600, "exp": 1_763_827_200,
            "transport": rsa,
            "levels": {
                "basic": {"format": "software", "claims": ["app_digest", "debugger", "root"], "signature": false},
                "standard": {"format": "software", "claims": all, "signature": true},
                "full": {"format": "software", "claims": all, "signature": true}}});
        assert_eq!(of_form(ParametersForm::One), expected);
        let ecdh = json!({"kid": b64url::encode(&[2; 32]), "alg": "ECDH-X963-SHA256-A256KWP", "spki": "AwMDAw"});
        expected.as_object_mut().expect("an object").remove("transport");
        expected["transports"] = json!([ecdh, rsa]);
        assert_eq!(of_form(ParametersForm::List), expected);
    }

    #[test]
    fn the_package_is_that_of_the_protocol() {
        let policy = example();
        let configuration = json!({"currency": "EUR"});
        let initial_key = |usage, algorithm| WrappedInitialKey { usage, ikid: [0xab; 8], algorithm, wrapped: vec![3; 2], kcv: [0xcd; 5] };
        let transcript = Transcript::renewal(&verified("standard", &[Claim::Root], false), b"");
        let package = Personalization {
            issuer: "https://t.example",
            now: UnixTime(1_763_823_600),
            device: &DEVICE.parse().expect("an id"),
            transcript: &transcript,
            activation: &"000G40R".parse().expect("an id"),
            merchant: &"m-1".parse().expect("an id"),
            terminal: &"T.1".parse().expect("an id"),
            configuration: configuration.as_object().expect("an object"),
            certificate_chain: [&[1], &[2]],
            initial_keys: [
                &initial_key(InitialKeyUsage::Pin, InitialKeyAlgorithm::Aes256),
                &initial_key(InitialKeyUsage::Data, InitialKeyAlgorithm::Aes128),
            ],
            level: policy.level(&"basic".parse().expect("a name")).expect("there"),
        };
        let claims = claims(&package.unsigned(&Thumbprint::of(key(1).verifying_key())).expect("short"));
        let expected = json!({
            "iss": "https://t.example", "iat": 1_763_823_600, "sub": DEVICE, "transcript": b64url::encode(transcript.digest()),
            "activation": "000G40R", "merchant": "m-1", "terminal": "T.1", "configuration": {"currency": "EUR"},
            "certificate_chain": ["AQ", "Ag"],
            "initial_keys": [
                {"usage": "pin", "ikid": "ABABABABABABABAB", "algorithm": "AES-256", "wrapped": "AwM", "kcv": "CDCDCDCDCD"},
                {"usage": "data", "ikid": "ABABABABABABABAB", "algorithm": "AES-128", "wrapped": "AwM", "kcv": "CDCDCDCDCD"}],
            "attestation": {"level": "basic", "format": "software", "claims": ["app_digest", "debugger", "root"],
                "signature": false, "period": 900, "threshold": 1800}});
        assert_eq!(claims, expected);
    }
}
