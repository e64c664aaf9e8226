//! Enrolment from the phone's side (docs/protocol.md §3): code, then a request that is kept, then a phone.
//!
//! ```text
//! Enrolment --(parameters, challenge, findings)--> PendingEnrolment --(package)--> Phone
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::challenge::{ChallengeClaims, ChallengeError, ParametersClaims};
use crate::code::ActivationCode;
use crate::encoding::Base64Url;
use crate::evidence::{EvidenceError, Findings};
use crate::id::ActivationId;
use crate::json::{self, BODY_LIMIT};
use crate::ksn::Ikid;
use crate::merchant_key::MerchantKey;
use crate::message::{ChallengeAnswer, EnrolmentChallengeRequest, EnrolmentRequest, PackageAnswer, ParametersAnswer, Purpose};
use crate::package::{self, Expected, PackageError};
use crate::phone::{MERCHANT_KEY, Phone, SECOND_SECRET};
use crate::random::RandomError;
use crate::secret::SecondSecret;
use crate::store::{Store, StoreError};
use crate::transcript;
use crate::transport_key::TransportError;
use crate::trust::Trust;

/// Why no enrolment request was made.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// Parameters or challenge are not acceptable.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// The evidence that is demanded cannot be given.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The second secret could not be encrypted.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// A phone that has a code and nothing else.
#[derive(Debug)]
pub struct Enrolment {
    code: ActivationCode,
}

impl Enrolment {
    /// Begins with the code that the merchant typed.
    pub fn new(code: ActivationCode) -> Self {
        Self { code }
    }

    /// What to ask a challenge with. Only the public part of the code is in it.
    pub fn challenge_request(&self) -> EnrolmentChallengeRequest {
        EnrolmentChallengeRequest { activation: self.code.id() }
    }

    /// Makes key pair, second secret, evidence and MAC: §3.4.
    ///
    /// # Errors
    /// [`EnrolmentError`] if the service's statements do not verify or cannot be met.
    pub fn respond(
        self,
        trust: &Trust,
        parameters: &ParametersAnswer,
        challenge: &ChallengeAnswer,
        findings: &Findings,
        now: i64,
    ) -> Result<PendingEnrolment, EnrolmentError> {
        let activation = self.code.id();
        let (_, transport) = ParametersClaims::verify(trust, &parameters.parameters, now)?;
        let claims = ChallengeClaims::verify(trust, &challenge.challenge, activation.as_str(), Purpose::Enrol, now)?;
        let secret = SecondSecret::generate()?;
        let key = MerchantKey::generate()?;
        let mut request = EnrolmentRequest {
            code: self.code.expose_symbols().to_owned(),
            challenge: challenge.challenge.clone(),
            transport_kid: transport.kid().to_owned(),
            wrapped_secret: transport.wrap(&secret)?.into(),
            csr: key.certificate_request().into(),
            evidence: claims.evidence(findings)?,
            mac: Base64Url::default(),
        };
        request.mac = secret.mac_key(claims.ikid).cmac(&[&transcript::enrolment(&request)]).into();
        Ok(PendingEnrolment { request, activation, ikid: claims.ikid, secret, key })
    }
}

/// A request that may have reached the service. It is kept until its answer has come: sent again, byte for byte the same,
/// it gets the same package.
#[derive(Debug)]
pub struct PendingEnrolment {
    request: EnrolmentRequest,
    activation: ActivationId,
    ikid: Ikid,
    secret: SecondSecret,
    key: MerchantKey,
}

/// What [`PendingEnrolment::save`] writes beside the two secrets.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingFile {
    activation: ActivationId,
    ikid: Ikid,
    request: EnrolmentRequest,
}

/// The file of an enrolment that has no answer yet.
pub(crate) const PENDING: &str = "pending.json";

impl PendingEnrolment {
    /// The request to send.
    pub fn request(&self) -> &EnrolmentRequest {
        &self.request
    }

    /// The body to send: the same bytes every time.
    pub fn body(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec(&self.request).expect("plain members are JSON"))
    }

    /// The second secret, for a test that looks for it in other processes.
    pub fn expose_second_secret(&self) -> &SecondSecret {
        &self.secret
    }

    /// Verifies the answer and becomes a phone.
    ///
    /// # Errors
    /// The refused package's error together with this enrolment, which can be tried again.
    pub fn complete(self, trust: &Trust, answer: &PackageAnswer, now: i64) -> Result<Phone, (Box<Self>, PackageError)> {
        let kek = self.secret.personalization_kek(self.ikid);
        let expected = Expected {
            transcript: transcript::enrolment(&self.request),
            activation: &self.activation,
            ikid: self.ikid,
            key: &self.key,
            kek: &kek,
        };
        match package::open(trust, &answer.package, &expected, now) {
            Ok(opened) => Ok(Phone::personalised(opened, self.secret, self.key)),
            Err(error) => Err((Box::new(self), error)),
        }
    }

    /// Keeps the request and its secrets in a directory, so that a crash before the answer costs nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save(&self, directory: &Path) -> Result<(), StoreError> {
        let store = Store::open(directory)?;
        store.write_secret(SECOND_SECRET, self.secret.expose_bytes())?;
        store.write_secret(MERCHANT_KEY, &self.key.expose_bytes())?;
        let file = PendingFile { activation: self.activation.clone(), ikid: self.ikid, request: self.request.clone() };
        store.write(PENDING, &Zeroizing::new(serde_json::to_vec(&file).expect("plain members are JSON")))
    }

    /// Reads what [`Self::save`] kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(directory: &Path) -> Result<Self, StoreError> {
        let store = Store::open(directory)?;
        let PendingFile { activation, ikid, request } =
            json::parse(&store.require(PENDING)?, BODY_LIMIT * 2).map_err(|_| store.damaged(PENDING))?;
        let secret = store.require_secret(SECOND_SECRET)?;
        let secret = secret.as_slice().try_into().map_err(|_| store.damaged(SECOND_SECRET))?;
        let key = MerchantKey::from_bytes(&store.require_secret(MERCHANT_KEY)?).map_err(|_| store.damaged(MERCHANT_KEY))?;
        Ok(Self { request, activation, ikid, secret: SecondSecret::from_bytes(secret), key })
    }
}
