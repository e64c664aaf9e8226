//! An enrolled phone: attestation, certificate renewal, payments (docs/protocol.md §4, §7, §8).

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::challenge::{ChallengeClaims, ChallengeError};
use crate::counter::{Counter, CounterError};
use crate::derivation::Usage;
use crate::dukpt::InitialKey;
use crate::encoding::Base64Url;
use crate::enrolment::PENDING;
use crate::evidence::{EvidenceError, Findings};
use crate::id::{DeviceId, DeviceIdentity, MerchantId, TerminalId};
use crate::json;
use crate::jws::Typ;
use crate::key::{AesKey, Algorithm};
use crate::ksn::{Ikid, TransactionCounter};
use crate::merchant_key::MerchantKey;
use crate::message::{AttestationRequest, CertificateAnswer, ChallengeAnswer, Purpose, RenewalRequest, ResultAnswer};
use crate::package::{AttestationPolicy, ChainError, Opened, check_chain};
use crate::payment::{self, PaymentError, PaymentMessage, PinMessage};
use crate::payment_request::{self, Amount, Currency, PaymentRequestClaims};
use crate::pin_block::{self, PinBlockError};
use crate::random::{self, RandomError};
use crate::result::{PROFILE, ResultClaims};
use crate::secret::SecondSecret;
use crate::store::{Store, StoreError};
use crate::transcript;
use crate::trust::{StatementError, Trust};

/// Why the phone does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// The challenge is not acceptable.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// The evidence that is demanded cannot be given.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The attestation result is not signed by the service.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The attestation result answers another challenge, or is for another device.
    #[error("the attestation result answers something else")]
    OtherResult,
    /// The renewed certificate.
    #[error(transparent)]
    Certificate(#[from] ChainError),
    /// There is no counter for a transaction.
    #[error(transparent)]
    Counter(#[from] CounterError),
    /// The account data cannot be sent.
    #[error(transparent)]
    Payment(#[from] PaymentError),
    /// The PIN block cannot be made.
    #[error(transparent)]
    PinBlock(#[from] PinBlockError),
    /// The phone was never attested.
    #[error("the phone has no attestation result to show")]
    NotAttested,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A file of the phone.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is not secret about a phone, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    issuer: String,
    device: DeviceId,
    merchant: MerchantId,
    terminal: TerminalId,
    configuration: Map<String, Value>,
    attestation: AttestationPolicy,
    certificate_chain: Vec<Base64Url>,
    pin: KeyProfile,
    data: KeyProfile,
    result: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyProfile {
    ikid: Ikid,
    algorithm: Algorithm,
}

impl KeyProfile {
    fn of(key: &InitialKey) -> Self {
        Self { ikid: key.ikid(), algorithm: key.expose_key().algorithm() }
    }
}

const PROFILE_FILE: &str = "phone.json";
const PIN_KEY: &str = "pin-key";
const DATA_KEY: &str = "data-key";
pub(crate) const SECOND_SECRET: &str = "second-secret";
pub(crate) const MERCHANT_KEY: &str = "merchant-key";

/// An attestation on its way: the request, and what its result must answer.
#[derive(Debug)]
pub struct Attestation {
    /// What to send.
    pub request: AttestationRequest,
    nonce: Base64Url,
}

/// A personalised phone.
#[derive(Debug)]
pub struct Phone {
    profile: Profile,
    key: MerchantKey,
    secret: SecondSecret,
    pin: InitialKey,
    data: InitialKey,
    counter: Counter,
    store: Option<Store>,
}

impl Phone {
    pub(crate) fn personalised(opened: Opened, secret: SecondSecret, key: MerchantKey) -> Self {
        let Opened { claims, pin, data } = opened;
        let profile = Profile {
            issuer: claims.iss,
            device: claims.sub,
            merchant: claims.merchant,
            terminal: claims.terminal,
            configuration: claims.configuration,
            attestation: claims.attestation,
            certificate_chain: claims.certificate_chain,
            pin: KeyProfile::of(&pin),
            data: KeyProfile::of(&data),
            result: None,
        };
        Self { profile, key, secret, pin, data, counter: Counter::new(), store: None }
    }

    /// The device id.
    pub fn device(&self) -> &DeviceId {
        &self.profile.device
    }

    /// Merchant, terminal and device.
    pub fn identity(&self) -> DeviceIdentity {
        DeviceIdentity {
            merchant: self.profile.merchant.clone(),
            terminal: self.profile.terminal.clone(),
            device: self.profile.device.clone(),
        }
    }

    /// What the back end has configured for the terminal.
    pub fn configuration(&self) -> &Map<String, Value> {
        &self.profile.configuration
    }

    /// How the phone is attested.
    pub fn attestation_policy(&self) -> &AttestationPolicy {
        &self.profile.attestation
    }

    /// Leaf and issuing CA.
    pub fn certificate_chain(&self) -> &[Base64Url] {
        &self.profile.certificate_chain
    }

    /// The latest attestation result as received.
    pub fn attestation_result(&self) -> Option<&str> {
        self.profile.result.as_deref()
    }

    /// Identifier of the data key.
    pub fn data_ikid(&self) -> Ikid {
        self.data.ikid()
    }

    /// Identifier of the PIN key.
    pub fn pin_ikid(&self) -> Ikid {
        self.pin.ikid()
    }

    /// The counter that was used last.
    pub fn last_counter(&self) -> Option<TransactionCounter> {
        self.counter.last()
    }

    /// Answers an attestation challenge: §4.
    ///
    /// # Errors
    /// [`PhoneError`] if the challenge is not the service's for this phone and purpose.
    pub fn attest(&self, trust: &Trust, challenge: &ChallengeAnswer, findings: &Findings, now: i64) -> Result<Attestation, PhoneError> {
        let claims = ChallengeClaims::verify(trust, &challenge.challenge, self.device().as_str(), Purpose::Attest, now)?;
        let evidence = claims.evidence(findings)?;
        let message = transcript::attestation(&challenge.challenge, &evidence.digest());
        let request = AttestationRequest {
            challenge: challenge.challenge.clone(),
            evidence,
            mac: self.mac(&message),
            signature: claims.signature.then(|| self.key.sign(&message).into()),
        };
        Ok(Attestation { request, nonce: claims.nonce })
    }

    /// Takes the result of an attestation, whatever the verdict, and keeps it to show to consumers.
    ///
    /// # Errors
    /// [`PhoneError`] if it is not the service's answer to this attestation.
    pub fn take_result(
        &mut self,
        trust: &Trust,
        attestation: &Attestation,
        answer: &ResultAnswer,
        now: i64,
    ) -> Result<ResultClaims, PhoneError> {
        let claims: ResultClaims = trust.statement(&answer.result, Typ::Result, now)?;
        let ours = claims.iss == trust.issuer()
            && claims.sub == *self.device()
            && claims.eat_nonce == attestation.nonce
            && claims.eat_profile == PROFILE;
        if !ours {
            return Err(PhoneError::OtherResult);
        }
        self.profile.result = Some(answer.result.clone());
        self.write_profile()?;
        Ok(claims)
    }

    /// Asks for a new certificate over the same key.
    ///
    /// # Errors
    /// [`PhoneError`] if the challenge is not the service's for this phone and purpose.
    pub fn renew(&self, trust: &Trust, challenge: &ChallengeAnswer, now: i64) -> Result<RenewalRequest, PhoneError> {
        ChallengeClaims::verify(trust, &challenge.challenge, self.device().as_str(), Purpose::Renew, now)?;
        let csr = self.key.certificate_request();
        let mac = self.mac(&transcript::renewal(&challenge.challenge, &csr));
        Ok(RenewalRequest { challenge: challenge.challenge.clone(), csr: csr.into(), mac })
    }

    /// Takes the renewed certificate.
    ///
    /// # Errors
    /// [`PhoneError::Certificate`] if it is not this phone's under the trust bundle.
    pub fn take_certificate(&mut self, trust: &Trust, answer: CertificateAnswer, now: i64) -> Result<(), PhoneError> {
        check_chain(trust, &answer.certificate_chain, &self.key, &self.identity(), now)?;
        self.profile.certificate_chain = answer.certificate_chain;
        Ok(self.write_profile()?)
    }

    /// AES-CMAC(K_mac, SHA-256(message)).
    fn mac(&self, message: &[u8]) -> Base64Url {
        self.secret.mac_key(self.data.ikid()).cmac(&[&Sha256::digest(message)]).into()
    }

    /// Encrypts account data for the back end under the next counter: §7.
    ///
    /// # Errors
    /// [`PhoneError`] if the data is too long (no counter is spent), or there is no counter.
    pub fn pay(&mut self, account_data: &[u8], aad: &[u8]) -> Result<PaymentMessage, PhoneError> {
        payment::check_lengths(account_data, aad)?;
        let iv = random::bytes()?;
        let counter = self.counter.take(self.store.as_ref())?;
        Ok(payment::encrypt(&self.data, counter, iv, account_data, aad))
    }

    /// Encrypts a PIN block for the acquirer under the next counter.
    ///
    /// # Errors
    /// [`PhoneError`] if PIN or account number are not digits of an allowed number, or there is no counter.
    pub fn pin_block(&mut self, pin: &str, account_number: &str) -> Result<PinMessage, PhoneError> {
        let fields = pin_block::Fields::new(pin, account_number, random::bytes()?)?;
        let counter = self.counter.take(self.store.as_ref())?;
        let block = fields.encrypt(&self.pin.working_key(Usage::Pin, counter));
        Ok(PinMessage { ksn: self.pin.ksn(counter), pin_block: block.into() })
    }

    /// Signs a payment request for the consumer's device, with the latest attestation result in it: §8.
    ///
    /// # Errors
    /// [`PhoneError::NotAttested`] if there is no result to show.
    pub fn payment_request(&self, amount: Amount, currency: Currency, now: i64) -> Result<String, PhoneError> {
        let DeviceIdentity { merchant, terminal, device } = self.identity();
        let attestation = self.profile.result.clone().ok_or(PhoneError::NotAttested)?;
        let nonce = random::bytes::<16>()?.into();
        Ok(self.sign_payment_request(&PaymentRequestClaims { merchant, terminal, device, amount, currency, nonce, iat: now, attestation }))
    }

    /// Signs any claims as a payment request, honest or not.
    pub fn sign_payment_request(&self, claims: &PaymentRequestClaims) -> String {
        payment_request::sign(&self.key, &self.profile.certificate_chain, claims)
    }

    /// Keeps the phone in a directory from now on: each further counter is stored there before it is used. The directory
    /// is held until the phone is dropped.
    ///
    /// A phone whose files are copied counts twice from the same place. That is what a thief does; nobody else should.
    ///
    /// # Errors
    /// [`StoreError`], [`StoreError::InUse`] too if the phone is kept already.
    pub fn save(&mut self, directory: &Path) -> Result<(), StoreError> {
        if let Some(store) = &self.store {
            return Err(StoreError::InUse(store.directory().to_owned()));
        }
        let store = Store::open(directory)?;
        store.write_secret(SECOND_SECRET, self.secret.expose_bytes())?;
        store.write_secret(MERCHANT_KEY, &self.key.expose_bytes())?;
        store.write_secret(PIN_KEY, self.pin.expose_key().expose_bytes())?;
        store.write_secret(DATA_KEY, self.data.expose_key().expose_bytes())?;
        self.counter.save(&store)?;
        // The profile last: a directory with a profile has everything else.
        store.write(PROFILE_FILE, &profile_json(&self.profile))?;
        store.remove(PENDING)?;
        self.store = Some(store);
        Ok(())
    }

    /// Reads a phone that was kept, and holds its directory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(directory: &Path) -> Result<Self, StoreError> {
        let store = Store::open(directory)?;
        let profile: Profile = json::parse(&store.require(PROFILE_FILE)?, json::TRUST_LIMIT).map_err(|_| store.damaged(PROFILE_FILE))?;
        let initial_key = |name: &str, profile: KeyProfile| {
            let key = AesKey::new(profile.algorithm, store.require_secret(name)?).map_err(|_| store.damaged(name))?;
            Ok::<_, StoreError>(InitialKey::new(profile.ikid, key))
        };
        let (pin, data) = (initial_key(PIN_KEY, profile.pin)?, initial_key(DATA_KEY, profile.data)?);
        let secret = store.require_secret(SECOND_SECRET)?;
        let secret = SecondSecret::from_bytes(secret.as_slice().try_into().map_err(|_| store.damaged(SECOND_SECRET))?);
        let key = MerchantKey::from_bytes(&store.require_secret(MERCHANT_KEY)?).map_err(|_| store.damaged(MERCHANT_KEY))?;
        let counter = Counter::load(&store)?;
        Ok(Self { profile, key, secret, pin, data, counter, store: Some(store) })
    }

    fn write_profile(&self) -> Result<(), StoreError> {
        self.store.as_ref().map_or(Ok(()), |store| store.write(PROFILE_FILE, &profile_json(&self.profile)))
    }

    /// Every secret that this phone knows, by name, for the test that searches the service's memory for them: initial
    /// keys, second secret, what is derived from it, the merchant key, and the intermediate and working keys of the last
    /// transactions. Working keys are derived again here; the phone keeps none.
    pub fn expose_known_secrets(&self) -> Vec<(String, Zeroizing<Vec<u8>>)> {
        let ikid = self.data.ikid();
        let bytes = |key: &AesKey| Zeroizing::new(key.expose_bytes().to_vec());
        let mut secrets = vec![
            ("second secret".to_owned(), Zeroizing::new(self.secret.expose_bytes().to_vec())),
            ("K_mac".to_owned(), bytes(&self.secret.mac_key(ikid))),
            ("K_kek".to_owned(), bytes(&self.secret.personalization_kek(ikid))),
            ("merchant key".to_owned(), self.key.expose_bytes()),
        ];
        for (tree, key, usages) in [
            ("data", &self.data, &[("data", Usage::DataEncryption), ("MAC", Usage::MacGeneration)][..]),
            ("PIN", &self.pin, &[("PIN", Usage::Pin)]),
        ] {
            secrets.push((format!("{tree} initial key"), bytes(key.expose_key())));
            for counter in std::iter::successors(self.counter.last(), |counter| counter.previous()).take(RECENT) {
                let ksn = key.ksn(counter);
                secrets.extend(
                    key.path(counter.get())
                        .iter()
                        .enumerate()
                        .map(|(depth, key)| (format!("{tree} intermediate key {depth} of {ksn}"), bytes(key))),
                );
                secrets.extend(
                    usages.iter().map(|(name, usage)| (format!("{name} working key of {ksn}"), bytes(&key.working_key(*usage, counter)))),
                );
            }
        }
        secrets
    }
}

/// How many transactions back [`Phone::expose_known_secrets`] goes.
const RECENT: usize = 16;

fn profile_json(profile: &Profile) -> Vec<u8> {
    serde_json::to_vec_pretty(profile).expect("plain members are JSON")
}
