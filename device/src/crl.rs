//! The certificate revocation list of the issuing CA (RFC 5280 §5).

use std::collections::HashSet;

use x509_cert::Version;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, Encode};
use x509_cert::name::Name;

use crate::certificate::{IssuerKey, check_extensions, seconds};

/// Why a revocation list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not one list in DER, version 2, with a nextUpdate, without trailing bytes or unknown critical extensions.
    #[error("not a revocation list in DER")]
    NotDer,
    /// Signed by nobody who may.
    #[error("the revocation list is not signed by an issuing CA of the bundle")]
    Signature,
    /// thisUpdate <= now < nextUpdate does not hold.
    #[error("the revocation list is not current")]
    NotCurrent,
}

/// A list that was read, and not yet verified.
#[derive(Debug)]
pub struct Crl {
    parsed: CertificateList,
    revoked: HashSet<Vec<u8>>,
}

impl Crl {
    /// Reads one list.
    ///
    /// # Errors
    /// [`CrlError::NotDer`]. A critical extension of the list narrows what it covers (RFC 5280 §5.2.5), so none is allowed.
    pub fn parse(der: &[u8]) -> Result<Self, CrlError> {
        let parsed = CertificateList::from_der(der).map_err(|_| CrlError::NotDer)?;
        let list = &parsed.tbs_cert_list;
        let entries = list.revoked_certificates.as_deref().unwrap_or(&[]);
        let extensions = entries.iter().map(|entry| &entry.crl_entry_extensions).chain([&list.crl_extensions]);
        let plain = extensions.flatten().all(|extensions| check_extensions(extensions, &[]).is_ok());
        let canonical = parsed.to_der().is_ok_and(|encoded| encoded == der);
        if !plain || !canonical || list.version != Version::V2 || list.next_update.is_none() || list.signature != parsed.signature_algorithm
        {
            return Err(CrlError::NotDer);
        }
        let revoked = entries.iter().map(|entry| entry.serial_number.as_bytes().to_vec()).collect();
        Ok(Self { parsed, revoked })
    }

    pub(crate) fn is_signed_by(&self, issuer: &Name, key: IssuerKey<'_>) -> bool {
        let list = &self.parsed.tbs_cert_list;
        let signed = list.to_der().is_ok_and(|tbs| key.verifies(&tbs, &self.parsed.signature_algorithm, &self.parsed.signature));
        signed && list.issuer == *issuer
    }

    pub(crate) fn check_current(&self, now: i64) -> Result<(), CrlError> {
        let list = &self.parsed.tbs_cert_list;
        let current = seconds(list.this_update) <= now && list.next_update.is_some_and(|next| now < seconds(next));
        if current { Ok(()) } else { Err(CrlError::NotCurrent) }
    }

    /// The list has the certificate with this serial number.
    pub fn is_revoked(&self, serial: &[u8]) -> bool {
        self.revoked.contains(serial)
    }
}
