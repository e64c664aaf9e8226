//! X.509 certificates, read strictly (RFC 5280): one encoding, known algorithms, no unknown critical extension.

use const_oid::AssociatedOid;
use p256::ecdsa::signature::Verifier;
use x509_cert::Version;
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::Time;

/// ecdsa-with-SHA256 (RFC 5758 §3.2).
pub(crate) const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// ecdsa-with-SHA384 (RFC 5758 §3.2).
pub(crate) const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");

/// id-kp-documentSigning (RFC 9336): what a merchant certificate is for, unless the operator configured another purpose.
pub const DOCUMENT_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.36");

/// Why a certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not one certificate in DER, version 3, without trailing bytes.
    #[error("not a certificate in DER")]
    NotDer,
    /// The key is not on the curve that this certificate must have.
    #[error("the key of the certificate is of another kind")]
    Key,
    /// The issuer's name is another.
    #[error("the certificate has another issuer")]
    Issuer,
    /// Signed with another algorithm, or the signature does not verify.
    #[error("the signature of the certificate does not verify")]
    Signature,
    /// Its time has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
    /// An extension is missing, not allowed, unknown and critical, or there twice.
    #[error("the extension {0} of the certificate is not as it must be")]
    Extension(&'static str),
    /// The subject is not the one that the certificate's URI names.
    #[error("the subject of the certificate is not the one of its URI")]
    Subject,
}

/// A certificate that was read, and not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

/// Extensions that this code looks at and that may therefore be critical.
const UNDERSTOOD: [ObjectIdentifier; 4] = [BasicConstraints::OID, KeyUsage::OID, SubjectAltName::OID, ExtendedKeyUsage::OID];

impl Certificate {
    /// Reads one certificate.
    ///
    /// # Errors
    /// [`CertificateError::NotDer`] if it is anything else, or not the one encoding that DER allows;
    /// [`CertificateError::Extension`] if an extension is there twice, or is critical and unknown.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = x509_cert::Certificate::from_der(der).map_err(|_| CertificateError::NotDer)?;
        let tbs = parsed.tbs_certificate();
        let canonical = parsed.to_der().is_ok_and(|encoded| encoded == der);
        if !canonical || tbs.version() != Version::V3 || tbs.signature() != parsed.signature_algorithm() {
            return Err(CertificateError::NotDer);
        }
        check_extensions(tbs.extensions().map_or(&[], Vec::as_slice), &UNDERSTOOD)?;
        Ok(Self { der: der.to_vec(), parsed })
    }

    /// The encoding.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Serial number, big endian.
    pub fn serial(&self) -> &[u8] {
        self.parsed.tbs_certificate().serial_number().as_bytes()
    }

    pub(crate) fn subject(&self) -> &Name {
        self.parsed.tbs_certificate().subject()
    }

    pub(crate) fn issuer(&self) -> &Name {
        self.parsed.tbs_certificate().issuer()
    }

    pub(crate) fn p256_key(&self) -> Result<p256::ecdsa::VerifyingKey, CertificateError> {
        read_key(self.parsed.tbs_certificate().subject_public_key_info())
    }

    pub(crate) fn p384_key(&self) -> Result<p384::ecdsa::VerifyingKey, CertificateError> {
        read_key(self.parsed.tbs_certificate().subject_public_key_info())
    }

    /// RFC 5280 §4.1.2.5: both ends belong to the time of validity.
    pub(crate) fn check_time(&self, now: i64) -> Result<(), CertificateError> {
        let validity = self.parsed.tbs_certificate().validity();
        if now < seconds(validity.not_before) {
            return Err(CertificateError::NotYetValid);
        }
        if now > seconds(validity.not_after) { Err(CertificateError::Expired) } else { Ok(()) }
    }

    /// Name and signature under an issuer's key.
    pub(crate) fn check_issued_by(&self, issuer: &Name, key: IssuerKey<'_>) -> Result<(), CertificateError> {
        if self.issuer() != issuer {
            return Err(CertificateError::Issuer);
        }
        let tbs = self.parsed.tbs_certificate().to_der().map_err(|_| CertificateError::NotDer)?;
        if key.verifies(&tbs, self.parsed.signature_algorithm(), self.parsed.signature()) {
            Ok(())
        } else {
            Err(CertificateError::Signature)
        }
    }

    /// A CA certificate with `path_length`, whose key may sign certificates.
    pub(crate) fn check_is_ca(&self, path_length: Option<u8>) -> Result<(), CertificateError> {
        let constraints = self.extension::<BasicConstraints>("basicConstraints")?;
        let is_ca = constraints.is_some_and(|(critical, constraints)| {
            critical && constraints.ca && (path_length.is_none() || constraints.path_len_constraint == path_length)
        });
        if !is_ca {
            return Err(CertificateError::Extension("basicConstraints"));
        }
        let may_sign = self.extension::<KeyUsage>("keyUsage")?.is_none_or(|(_, usage)| usage.key_cert_sign());
        if may_sign { Ok(()) } else { Err(CertificateError::Extension("keyUsage")) }
    }

    /// Not a CA certificate, and the key may sign.
    pub(crate) fn check_is_end_entity(&self) -> Result<(), CertificateError> {
        if self.extension::<BasicConstraints>("basicConstraints")?.is_some_and(|(_, constraints)| constraints.ca) {
            return Err(CertificateError::Extension("basicConstraints"));
        }
        let may_sign = self
            .extension::<KeyUsage>("keyUsage")?
            .is_some_and(|(critical, usage)| critical && usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
        if may_sign { Ok(()) } else { Err(CertificateError::Extension("keyUsage")) }
    }

    /// The only name in subjectAltName, which must be a URI.
    pub(crate) fn uri(&self) -> Result<String, CertificateError> {
        let names = self.extension::<SubjectAltName>("subjectAltName")?.map(|(_, names)| names.0);
        match names.as_deref() {
            Some([GeneralName::UniformResourceIdentifier(uri)]) => Ok(uri.as_str().to_owned()),
            _ => Err(CertificateError::Extension("subjectAltName")),
        }
    }

    /// The only purpose in extendedKeyUsage.
    pub(crate) fn purpose(&self) -> Result<ObjectIdentifier, CertificateError> {
        let purposes = self.extension::<ExtendedKeyUsage>("extendedKeyUsage")?.map(|(_, purposes)| purposes.0);
        match purposes.as_deref() {
            Some([purpose]) => Ok(*purpose),
            _ => Err(CertificateError::Extension("extendedKeyUsage")),
        }
    }

    fn extension<'a, T: Decode<'a> + AssociatedOid>(&'a self, name: &'static str) -> Result<Option<(bool, T)>, CertificateError> {
        self.parsed.tbs_certificate().get_extension().map_err(|_| CertificateError::Extension(name))
    }
}

/// No extension twice (RFC 5280 §4.2), none critical that is not `understood`.
pub(crate) fn check_extensions(extensions: &[Extension], understood: &[ObjectIdentifier]) -> Result<(), CertificateError> {
    for (place, extension) in extensions.iter().enumerate() {
        if extensions.iter().skip(place + 1).any(|other| other.extn_id == extension.extn_id) {
            return Err(CertificateError::Extension("that is there twice"));
        }
        if extension.critical && !understood.contains(&extension.extn_id) {
            return Err(CertificateError::Extension("that is critical and unknown"));
        }
    }
    Ok(())
}

fn read_key<K>(spki: &SubjectPublicKeyInfoOwned) -> Result<K, CertificateError>
where
    K: for<'a> TryFrom<x509_cert::spki::SubjectPublicKeyInfoRef<'a>>,
{
    use x509_cert::der::referenced::OwnedToRef;
    K::try_from(spki.owned_to_ref()).map_err(|_| CertificateError::Key)
}

/// Seconds since 1970. The type holds no time before.
pub(crate) fn seconds(time: Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

/// The key of a CA, with the one algorithm that it signs with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IssuerKey<'a> {
    /// P-256 with SHA-256.
    P256(&'a p256::ecdsa::VerifyingKey),
    /// P-384 with SHA-384.
    P384(&'a p384::ecdsa::VerifyingKey),
}

impl IssuerKey<'_> {
    /// RFC 5758 §3.2: the parameters are absent.
    pub(crate) fn verifies(self, message: &[u8], algorithm: &AlgorithmIdentifierOwned, signature: &BitString) -> bool {
        let Some(bytes) = signature.as_bytes().filter(|_| algorithm.parameters.is_none()) else { return false };
        match self {
            Self::P256(key) => {
                algorithm.oid == ECDSA_WITH_SHA256
                    && p256::ecdsa::DerSignature::try_from(bytes).is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
            Self::P384(key) => {
                algorithm.oid == ECDSA_WITH_SHA384
                    && p384::ecdsa::DerSignature::try_from(bytes).is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
        }
    }
}
