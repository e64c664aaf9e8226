//! What is signed to make a certificate: built from a profile, a key, a serial number and a validity, and linted.

use der::asn1::BitString;
use der::{Encode, Sequence};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Validity as X509Validity;

use super::certificate::{Certificate, Issuer, Validity};
use super::key::{Digest, PublicKey, SignatureError};
use super::lint::{LintError, lint};
use super::profile::{Kind, Profile};
use super::request::VouchedRequest;
use super::serial::Serial;
use super::signed::{assemble, x509_time};

/// `TBSCertificate` (RFC 5280 §4.1) for encoding; the lints parse it with x509-cert's own type.
#[derive(Clone, Sequence)]
pub(super) struct Tbs {
    #[asn1(context_specific = "0", default = "Default::default")]
    pub(super) version: Version,
    pub(super) serial_number: SerialNumber,
    pub(super) signature: AlgorithmIdentifierOwned,
    pub(super) issuer: Name,
    pub(super) validity: X509Validity,
    pub(super) subject: Name,
    pub(super) subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) issuer_unique_id: Option<BitString>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) subject_unique_id: Option<BitString>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) extensions: Option<Vec<Extension>>,
}

impl Tbs {
    pub(super) fn new(profile: &Profile, issuer: &Issuer, key: &PublicKey, serial: Serial, validity: Validity) -> Option<Self> {
        Some(Self {
            version: Version::V3,
            serial_number: serial.to_x509(),
            signature: issuer.key().algorithm(),
            issuer: issuer.name().clone(),
            validity: X509Validity::new(x509_time(validity.from)?, x509_time(validity.to)?),
            subject: profile.subject().clone(),
            subject_public_key_info: key.to_spki(),
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(profile.extensions(key.identifier(), issuer.key().identifier()).ok()?),
        })
    }
}

/// What will be signed; every lint has passed.
#[derive(Debug)]
pub struct LintedTbs {
    tbs: Vec<u8>,
    signer: PublicKey,
}

impl LintedTbs {
    /// The root: signs itself.
    ///
    /// # Errors
    /// [`LintError`].
    pub fn root(profile: &Profile, key: p384::ecdsa::VerifyingKey, serial: Serial, validity: Validity) -> Result<Self, LintError> {
        if profile.kind() != Kind::Root {
            return Err(LintError { rule: "only the root signs itself", clause: "protocol §2" });
        }
        let issuer = Issuer::root(profile.subject(), key, validity);
        Self::new(profile, &issuer, &key.into(), serial, validity)
    }

    /// A key of the service, on the token: an issuing CA or a signing key.
    ///
    /// # Errors
    /// [`LintError`].
    pub fn service(
        profile: &Profile,
        issuer: &Issuer,
        key: p256::ecdsa::VerifyingKey,
        serial: Serial,
        validity: Validity,
    ) -> Result<Self, LintError> {
        if !matches!(profile.kind(), Kind::IssuingCa | Kind::Service) {
            return Err(LintError { rule: "a key of the service", clause: "protocol §2" });
        }
        Self::new(profile, issuer, &key.into(), serial, validity)
    }

    /// A phone's key: possession proven, and sent by the holder of the second secret.
    ///
    /// # Errors
    /// [`LintError`].
    pub fn merchant(
        profile: &Profile,
        issuer: &Issuer,
        request: VouchedRequest,
        serial: Serial,
        validity: Validity,
    ) -> Result<Self, LintError> {
        if profile.kind() != Kind::Merchant {
            return Err(LintError { rule: "a phone gets a merchant certificate", clause: "protocol §2" });
        }
        Self::new(profile, issuer, &request.into_key().into(), serial, validity)
    }

    pub(super) fn new(profile: &Profile, issuer: &Issuer, key: &PublicKey, serial: Serial, validity: Validity) -> Result<Self, LintError> {
        let unencodable = LintError { rule: "times and names can be encoded", clause: "§4.1" };
        let tbs = Tbs::new(profile, issuer, key, serial, validity).and_then(|tbs| tbs.to_der().ok()).ok_or(unencodable)?;
        lint(&tbs, profile, issuer, key)?;
        Ok(Self { tbs, signer: *issuer.key() })
    }

    /// What the signer signs.
    pub fn digest(&self) -> Digest {
        self.signer.digest(&self.tbs)
    }

    /// The certificate with the signer's `r ‖ s`, handed out only if the signature verifies.
    ///
    /// # Errors
    /// [`SignatureError`].
    ///
    /// # Panics
    /// Never: a linted certificate parses.
    pub fn attach(self, signature: &[u8]) -> Result<Certificate, SignatureError> {
        let der = assemble(&self.tbs, &self.signer, signature)?;
        Ok(Certificate::parse(der).expect("linted and assembled here"))
    }
}
