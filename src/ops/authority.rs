//! The service's own certificates: root, issuing CA, and the keys that sign challenges, results and packages. Made once by `tillward init`,
//! kept in the database, compared at every start with the keys on the token.

use p256::ecdsa::VerifyingKey;
use tillward_hsm::{Hsm, HsmError, PublicKeyOf, SigningKey};

use crate::jose::Thumbprint;
use crate::pki::certificate::{Certificate, Issuer};
use crate::pki::key::PublicKey;
use crate::pki::names::Service;
use crate::store::{Store, StoreError};

/// The certificates by the name of their row, with the key on the token that they are for.
pub(super) const ROWS: [(&str, PublicKeyOf); 4] = [
    ("root", PublicKeyOf::RootCa),
    ("issuing", PublicKeyOf::Signing(SigningKey::IssuingCa)),
    ("attestation-signing", PublicKeyOf::Signing(SigningKey::Attestation)),
    ("personalization-signing", PublicKeyOf::Signing(SigningKey::Personalization)),
];

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The database has none.
    #[error("the database holds no certificate {0}: run `tillward init`")]
    Missing(&'static str),
    /// The row is not a certificate, or its signature does not verify.
    #[error("the certificate {0} in the database is not one of this service")]
    Broken(&'static str),
    /// The token has another key.
    #[error("the certificate {0} is for another key than the token's: database and token do not belong together")]
    OtherKey(&'static str),
    /// The HSM did not answer.
    #[error("asking the HSM for a public key")]
    Hsm(#[from] HsmError),
    /// The database did not answer.
    #[error("reading the certificates")]
    Store(#[from] StoreError),
}

/// The certificates, verified.
#[derive(Debug)]
pub struct Authorities {
    root: Certificate,
    issuing: Certificate,
    signing: [Certificate; 2],
    issuer: Issuer,
    attestation_key: VerifyingKey,
    attestation_kid: Thumbprint,
    personalization_kid: Thumbprint,
}

impl Authorities {
    /// Reads the certificates, verifies them up to the root, and compares each with its key on the token.
    ///
    /// # Errors
    /// [`AuthorityError`]: which certificate, and what to do.
    pub async fn load(store: &Store, hsm: &Hsm) -> Result<Self, AuthorityError> {
        let rows = store.read().await?.authorities().await?;
        let mut found = Vec::with_capacity(ROWS.len());
        for (name, key) in ROWS {
            let row = rows.iter().find(|row| row.name == name).ok_or(AuthorityError::Missing(name))?;
            let certificate = Certificate::parse(row.der.clone()).map_err(|_| AuthorityError::Broken(name))?;
            if certificate.key().to_der() != hsm.public_key(key).await? {
                return Err(AuthorityError::OtherKey(name));
            }
            found.push(certificate);
        }
        let Ok([root, issuing, attestation, personalization]) = <[Certificate; 4]>::try_from(found) else {
            return Err(AuthorityError::Missing("root"));
        };
        let root_issuer = Issuer::of(&root).map_err(|_| AuthorityError::Broken("root"))?;
        for (name, certificate) in
            [("root", &root), ("issuing", &issuing), ("attestation-signing", &attestation), ("personalization-signing", &personalization)]
        {
            certificate.verify(&root_issuer).map_err(|_| AuthorityError::Broken(name))?;
        }
        let signer = |certificate: &Certificate, service: Service, name: &'static str| match certificate.key() {
            PublicKey::P256(key) if certificate.uri() == Some(service.to_string()) => Ok(*key),
            _ => Err(AuthorityError::Broken(name)),
        };
        let attestation_key = signer(&attestation, Service::AttestationSigning, "attestation-signing")?;
        let personalization_key = signer(&personalization, Service::PersonalizationSigning, "personalization-signing")?;
        Ok(Self {
            issuer: Issuer::of(&issuing).map_err(|_| AuthorityError::Broken("issuing"))?,
            root,
            issuing,
            signing: [attestation, personalization],
            attestation_kid: Thumbprint::of(&attestation_key),
            personalization_kid: Thumbprint::of(&personalization_key),
            attestation_key,
        })
    }

    /// The keys that the certificates are for, by their `SubjectPublicKeyInfo`: what the token has to have.
    pub(crate) fn keys(&self) -> Vec<(PublicKeyOf, Vec<u8>)> {
        let [attestation, personalization] = &self.signing;
        let certificates = [&self.root, &self.issuing, attestation, personalization];
        ROWS.iter().zip(certificates).map(|((_, key), certificate)| (*key, certificate.key().to_der())).collect()
    }

    /// The root's DER.
    pub fn root_der(&self) -> &[u8] {
        self.root.der()
    }

    /// SHA-256 of the root's DER.
    pub fn root_pin(&self) -> [u8; 32] {
        self.root.fingerprint()
    }

    /// The issuing CA's certificate.
    pub fn issuing(&self) -> &Certificate {
        &self.issuing
    }

    /// The issuing CA's DER.
    pub fn issuing_der(&self) -> &[u8] {
        self.issuing.der()
    }

    /// The issuing CA as issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// DER of the signing certificates: attestation, personalization.
    pub fn signing_der(&self) -> [&[u8]; 2] {
        self.signing.each_ref().map(Certificate::der)
    }

    /// The public key that our own challenges verify with.
    pub fn attestation_key(&self) -> &VerifyingKey {
        &self.attestation_key
    }

    /// `kid` of challenges, parameters and results.
    pub fn attestation_kid(&self) -> &Thumbprint {
        &self.attestation_kid
    }

    /// `kid` of packages.
    pub fn personalization_kid(&self) -> &Thumbprint {
        &self.personalization_kid
    }

    /// When the first of the certificates ends.
    pub fn ends(&self) -> crate::clock::UnixTime {
        let [attestation, personalization] = &self.signing;
        [&self.issuing, attestation, personalization].map(|c| c.validity().to).into_iter().fold(self.root.validity().to, std::cmp::Ord::min)
    }
}
