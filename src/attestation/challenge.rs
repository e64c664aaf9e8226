//! Challenges: signed, bound to one subject and purpose, single use by their nonce (docs/protocol.md §3.3, §4).

use p256::ecdsa::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::attestation::claim::ClaimSet;
use crate::attestation::evidence::Format;
use crate::attestation::level::{LevelName, LevelPolicy};
use crate::clock::UnixTime;
use crate::id::{ActivationId, DeviceId};
use crate::jose::{Compact, JoseError, Payload, Thumbprint, Typ, Unsigned};
use crate::wire::{b64url, hex};

/// How far in the future `iat` may lie: the nodes of one service have clocks of their own.
const SKEW_SECONDS: i64 = 60;

/// What a challenge may be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// An enrolment.
    Enrol,
    /// An attestation.
    Attest,
    /// A certificate renewal.
    Renew,
}

/// Whom a challenge is for, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// The phone that will use this activation.
    Enrol(&'a ActivationId),
    /// This device, to attest.
    Attest(&'a DeviceId),
    /// This device, to renew its certificate.
    Renew(&'a DeviceId),
}

impl Target<'_> {
    /// `purpose`.
    pub fn purpose(&self) -> Purpose {
        match self {
            Self::Enrol(_) => Purpose::Enrol,
            Self::Attest(_) => Purpose::Attest,
            Self::Renew(_) => Purpose::Renew,
        }
    }

    /// `sub`.
    pub fn subject(&self) -> &str {
        match self {
            Self::Enrol(activation) => activation.as_str(),
            Self::Attest(device) | Self::Renew(device) => device.as_str(),
        }
    }
}

/// A challenge to be made.
#[derive(Debug)]
pub struct Challenge<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// For whom.
    pub target: Target<'a>,
    /// From the HSM's random generator.
    pub nonce: [u8; 32],
    /// `iat`.
    pub now: UnixTime,
    /// The data key's IKID: reserved by the activation, or the device's.
    pub ikid: [u8; 8],
    /// What is demanded, and for how long the challenge can be used.
    pub level: &'a LevelPolicy,
}

impl Challenge<'_> {
    /// `exp`.
    pub fn expires(&self) -> UnixTime {
        self.now.plus(i64::from(self.level.challenge_validity()))
    }

    /// For the signer.
    ///
    /// # Errors
    /// [`JoseError::TooLong`] if the issuer's name is absurd.
    pub fn unsigned(&self, kid: &Thumbprint) -> Result<Unsigned, JoseError> {
        let claims = Claims {
            iss: self.issuer.to_owned(),
            sub: self.target.subject().to_owned(),
            purpose: self.target.purpose(),
            nonce: self.nonce,
            iat: self.now,
            exp: self.expires(),
            ikid: self.ikid,
            level: self.level.name().clone(),
            format: Format::Software,
            demanded: self.level.claims().clone(),
            signature: self.level.signature(),
        };
        Unsigned::new(Typ::Challenge, kid, &claims)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    sub: String,
    purpose: Purpose,
    #[serde(with = "b64url")]
    nonce: [u8; 32],
    iat: UnixTime,
    exp: UnixTime,
    #[serde(with = "hex")]
    ikid: [u8; 8],
    level: LevelName,
    format: Format,
    #[serde(rename = "claims")]
    demanded: ClaimSet,
    signature: bool,
}

/// Why a challenge is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Not signed by us, or for another subject or purpose.
    #[error("the challenge's signature, issuer, subject or purpose is wrong")]
    Invalid,
    /// Too late.
    #[error("the challenge has expired")]
    Expired,
}

fn ours(jws: &str, key: &VerifyingKey, issuer: &str, target: Target<'_>, now: UnixTime) -> Result<Claims, ChallengeError> {
    let claims: Claims = Compact::parse(jws)
        .and_then(|jws| jws.verify(Typ::Challenge, key))
        .and_then(Payload::claims)
        .map_err(|_| ChallengeError::Invalid)?;
    let ours = claims.iss == issuer
        && claims.sub == target.subject()
        && claims.purpose == target.purpose()
        && claims.iat <= now.plus(SKEW_SECONDS);
    if ours { Ok(claims) } else { Err(ChallengeError::Invalid) }
}

/// A challenge that this service signed for this target and that has not expired. Whether it was answered before is
/// for the store to say, by its nonce.
#[derive(Debug)]
pub struct VerifiedChallenge {
    text: String,
    claims: Claims,
}

impl VerifiedChallenge {
    /// Verifies the challenge that a phone sent back. With several keys, [`Compact::kid`] tells which.
    ///
    /// # Errors
    /// [`ChallengeError`]; the signature is looked at before the time.
    pub fn verify(jws: String, key: &VerifyingKey, issuer: &str, target: Target<'_>, now: UnixTime) -> Result<Self, ChallengeError> {
        let claims = ours(&jws, key, issuer, target, now)?;
        // RFC 7519 §4.1.4: not on or after `exp`.
        if now >= claims.exp { Err(ChallengeError::Expired) } else { Ok(Self { text: jws, claims }) }
    }

    /// The JWS: part of every transcript.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Good for one answer.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.claims.nonce
    }

    /// Until when its nonce has to be remembered.
    pub fn expires(&self) -> UnixTime {
        self.claims.exp
    }

    /// The data key's IKID.
    pub fn ikid(&self) -> &[u8; 8] {
        &self.claims.ikid
    }

    /// What it may be answered with.
    pub fn purpose(&self) -> Purpose {
        self.claims.purpose
    }

    /// The level it demands.
    pub fn level(&self) -> &LevelName {
        &self.claims.level
    }

    /// The claims it demands.
    pub fn claims(&self) -> &ClaimSet {
        &self.claims.demanded
    }

    /// Whether it demands a signature with the merchant key.
    pub fn signature(&self) -> bool {
        self.claims.signature
    }
}

/// An enrolment challenge that this service signed, however long ago. A phone that lost the answer sends its request
/// again, perhaps much later, and gets its package: this serves to recognise the request
/// ([`recognise`](crate::enrolment::transcript::recognise)) and nothing else.
#[derive(Debug)]
pub struct ExpiredChallenge {
    text: String,
    claims: ClaimSet,
}

impl ExpiredChallenge {
    /// Verifies everything but the time.
    ///
    /// # Errors
    /// [`ChallengeError::Invalid`].
    pub fn verify(jws: String, key: &VerifyingKey, issuer: &str, activation: &ActivationId, now: UnixTime) -> Result<Self, ChallengeError> {
        let claims = ours(&jws, key, issuer, Target::Enrol(activation), now)?;
        Ok(Self { text: jws, claims: claims.demanded })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn claims(&self) -> &ClaimSet {
        &self.claims
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::attestation::claim::Claim;
    use crate::jose::tests::{key, sign};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const NOW: UnixTime = UnixTime(1_763_823_600);
    pub(crate) const DEVICE: &str = "dev_0123456789abcdefghjkmnpqrs";

    fn device() -> DeviceId {
        DEVICE.parse().expect("a device id")
    }

    fn signed(claims: &Value, seed: u8) -> String {
        let unsigned = Unsigned::new(Typ::Challenge, &Thumbprint::of(key(seed).verifying_key()), claims).expect("short");
        let signature = sign(&key(seed), &unsigned.digest());
        unsigned.attach(&signature).expect("in range").into_string()
    }

    fn claims() -> Value {
        json!({"iss": "https://t.example", "sub": DEVICE, "purpose": "attest", "nonce": b64url::encode(&[9; 32]),
            "iat": NOW.0, "exp": NOW.0 + 300, "ikid": "0123456789ABCDEF", "level": "standard", "format": "software",
            "claims": ["root"], "signature": false})
    }

    /// A verified challenge of the given demands, as other tests need it.
    pub(crate) fn verified(level: &str, demanded: &[Claim], signature: bool) -> VerifiedChallenge {
        let mut claims = claims();
        claims["level"] = json!(level);
        claims["claims"] = json!(demanded);
        claims["signature"] = json!(signature);
        verify(signed(&claims, 1), Target::Attest(&device()), NOW).expect("verifies")
    }

    /// The same for an enrolment.
    pub(crate) fn verified_for_enrolment(level: &str, demanded: &[Claim]) -> VerifiedChallenge {
        let mut claims = claims();
        claims["level"] = json!(level);
        claims["claims"] = json!(demanded);
        claims["purpose"] = json!("enrol");
        claims["sub"] = json!("000G40R");
        let activation = "000G40R".parse().expect("an id");
        verify(signed(&claims, 1), Target::Enrol(&activation), NOW).expect("verifies")
    }

    /// The same challenge, much later.
    pub(crate) fn expired(challenge: &VerifiedChallenge) -> ExpiredChallenge {
        let (jws, late) = (challenge.text().to_owned(), NOW.plus(1_000_000));
        let activation = "000G40R".parse().expect("an id");
        ExpiredChallenge::verify(jws, key(1).verifying_key(), "https://t.example", &activation, late).expect("verifies")
    }

    fn verify(jws: String, target: Target<'_>, now: UnixTime) -> Result<VerifiedChallenge, ChallengeError> {
        VerifiedChallenge::verify(jws, key(1).verifying_key(), "https://t.example", target, now)
    }

    #[test]
    fn a_made_challenge_is_that_of_the_protocol_and_verifies() {
        let policy = crate::attestation::level::tests::example();
        let level = policy.level(&"full".parse().expect("a name")).expect("there");
        let device = device();
        let challenge = Challenge {
            issuer: "https://t.example",
            target: Target::Attest(&device),
            nonce: [9; 32],
            now: NOW,
            ikid: [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef],
            level,
        };
        let unsigned = challenge.unsigned(&Thumbprint::of(key(1).verifying_key())).expect("short");
        let text = unsigned.signing_input().split_once('.').and_then(|(_, claims)| b64url::decode(claims)).expect("base64url");
        let expected = json!({"iss": "https://t.example", "sub": DEVICE, "purpose": "attest", "nonce": b64url::encode(&[9; 32]),
            "iat": NOW.0, "exp": challenge.expires().0, "ikid": "0123456789ABCDEF", "level": "full", "format": "software",
            "claims": ["app_digest", "os_version", "patch_level", "debugger", "root", "emulator"], "signature": true});
        assert_eq!(serde_json::from_slice::<Value>(&text).expect("JSON"), expected);

        let signature = sign(&key(1), &unsigned.digest());
        let jws = unsigned.attach(&signature).expect("in range").into_string();
        let verified = verify(jws, Target::Attest(&device), NOW).expect("verifies");
        assert_eq!((verified.nonce(), verified.signature(), verified.expires()), (&[9; 32], true, challenge.expires()));
    }

    #[test]
    fn subject_purpose_issuer_and_key_are_bound() {
        let (device, activation) = (device(), "000G40R".parse().expect("an id"));
        assert!(verify(signed(&claims(), 1), Target::Attest(&device), NOW).is_ok());
        assert_eq!(verify(signed(&claims(), 1), Target::Renew(&device), NOW).err(), Some(ChallengeError::Invalid));
        assert_eq!(verify(signed(&claims(), 1), Target::Enrol(&activation), NOW).err(), Some(ChallengeError::Invalid));
        assert_eq!(verify(signed(&claims(), 2), Target::Attest(&device), NOW).err(), Some(ChallengeError::Invalid));
        for (member, wrong) in [("sub", "dev_0000000000000000000000000a"), ("iss", "https://other.example"), ("purpose", "enrol")] {
            let mut claims = claims();
            claims[member] = json!(wrong);
            assert_eq!(verify(signed(&claims, 1), Target::Attest(&device), NOW).err(), Some(ChallengeError::Invalid), "{member}");
        }
    }

    #[test]
    fn time_ends_at_exp_and_does_not_begin_in_the_future() {
        let device = device();
        let at = |offset| verify(signed(&claims(), 1), Target::Attest(&device), NOW.plus(offset)).err();
        assert_eq!(at(0), None);
        assert_eq!(at(299), None);
        assert_eq!(at(300), Some(ChallengeError::Expired));
        assert_eq!(at(-SKEW_SECONDS), None);
        assert_eq!(at(-SKEW_SECONDS - 1), Some(ChallengeError::Invalid));
    }

    #[test]
    fn an_expired_challenge_serves_only_to_recognise_an_enrolment() {
        let mut claims = claims();
        claims["purpose"] = json!("enrol");
        claims["sub"] = json!("000G40R");
        let activation: ActivationId = "000G40R".parse().expect("an id");
        let verify = |claims: &Value, seed, activation: &ActivationId| {
            let late = NOW.plus(1_000_000);
            ExpiredChallenge::verify(signed(claims, seed), key(1).verifying_key(), "https://t.example", activation, late).err()
        };
        assert_eq!(verify(&claims, 1, &activation), None);
        assert_eq!(verify(&claims, 2, &activation), Some(ChallengeError::Invalid));
        assert_eq!(verify(&claims, 1, &"000G40S".parse().expect("an id")), Some(ChallengeError::Invalid));
        claims["purpose"] = json!("attest");
        assert_eq!(verify(&claims, 1, &activation), Some(ChallengeError::Invalid));
    }

    #[test]
    fn claims_of_another_shape_are_invalid() {
        let device = device();
        for (member, bad) in [
            ("extra", json!(1)),
            ("claims", json!([])),
            ("claims", json!(["root", "root"])),
            ("claims", json!(["other"])),
            ("nonce", json!("AA")),
            ("ikid", json!("0123456789abcdef")),
            ("level", json!("Two words")),
            ("format", json!("android")),
        ] {
            let mut claims = claims();
            claims[member] = bad.clone();
            assert_eq!(verify(signed(&claims, 1), Target::Attest(&device), NOW).err(), Some(ChallengeError::Invalid), "{member} {bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~]{0,200}") {
            prop_assert!(verify(text, Target::Attest(&device()), NOW).is_err());
        }
    }
}
