//! Certificate revocation lists, version 2 (RFC 5280 §5), signed by the issuing CA.

use der::asn1::{OctetString, Uint};
use der::{Decode, Encode};
use x509_cert::certificate::Version;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber, CrlReason};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;

use super::certificate::Issuer;
use super::key::{Digest, PublicKey, SignatureError};
use super::serial::Serial;
use super::signed::{assemble, unix_time, x509_time};
use crate::clock::UnixTime;

/// Why a certificate is revoked (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is said: the entry has no reason code, as §5.3.1 recommends.
    Unspecified,
    /// The phone's key may be in other hands.
    KeyCompromise,
    /// Another certificate took its place.
    Superseded,
    /// The phone was retired.
    CessationOfOperation,
    /// The operator took the merchant's right away.
    PrivilegeWithdrawn,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Unspecified, Self::KeyCompromise, Self::Superseded, Self::CessationOfOperation, Self::PrivilegeWithdrawn];

    /// The name used on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    /// Reads [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    fn code(self) -> Option<CrlReason> {
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(CrlReason::KeyCompromise),
            Self::Superseded => Some(CrlReason::Superseded),
            Self::CessationOfOperation => Some(CrlReason::CessationOfOperation),
            Self::PrivilegeWithdrawn => Some(CrlReason::PrivilegeWithdrawn),
        }
    }
}

/// A revoked certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// Which.
    pub serial: Serial,
    /// When.
    pub at: UnixTime,
    /// Why.
    pub reason: Reason,
}

/// What a list says beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issue {
    /// cRLNumber: grows with every list of the issuer (§5.2.3).
    pub number: u64,
    /// thisUpdate.
    pub this_update: UnixTime,
    /// nextUpdate: a consumer's device refuses the list from then on.
    pub next_update: UnixTime,
}

/// A list that must not be signed, or is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Ends before it begins, or cannot be encoded.
    #[error("the revocation list's times are not in order")]
    Times,
    /// Twice in the list.
    #[error("a certificate is in the revocation list twice")]
    Twice,
    /// Not a version 2 list of the form made here.
    #[error("not a revocation list of this issuer's form")]
    Form,
    /// Signed by somebody else.
    #[error("the revocation list's signature does not verify")]
    Signature,
}

/// A list that waits for its signature.
#[derive(Debug)]
pub struct TbsCrl {
    tbs: Vec<u8>,
    issuer: Issuer,
}

impl TbsCrl {
    /// The list of `revoked` by `issuer`, ordered by serial number.
    ///
    /// # Errors
    /// [`CrlError::Times`], [`CrlError::Twice`].
    pub fn new(issuer: &Issuer, issue: Issue, mut revoked: Vec<Revoked>) -> Result<Self, CrlError> {
        if issue.this_update >= issue.next_update {
            return Err(CrlError::Times);
        }
        revoked.sort_by_key(|entry| entry.serial);
        if revoked.windows(2).any(|pair| matches!(pair, [a, b] if a.serial == b.serial)) {
            return Err(CrlError::Twice);
        }
        let entries = revoked.iter().map(entry).collect::<Option<Vec<_>>>().ok_or(CrlError::Times)?;
        let list = TbsCertList {
            version: Version::V2,
            signature: issuer.key().algorithm(),
            issuer: issuer.name().clone(),
            this_update: x509_time(issue.this_update).ok_or(CrlError::Times)?,
            next_update: Some(x509_time(issue.next_update).ok_or(CrlError::Times)?),
            // §5.1.2.6: absent, not empty.
            revoked_certificates: (!entries.is_empty()).then_some(entries),
            crl_extensions: Some(extensions(issuer, issue.number).map_err(|_| CrlError::Form)?),
        };
        let tbs = list.to_der().map_err(|_| CrlError::Form)?;
        Ok(Self { tbs, issuer: issuer.clone() })
    }

    /// What the signer signs.
    pub fn digest(&self) -> Digest {
        self.issuer.key().digest(&self.tbs)
    }

    /// The list with the signer's `r ‖ s`, parsed and verified again before it is handed out.
    ///
    /// # Errors
    /// [`CrlError::Signature`].
    pub fn attach(self, signature: &[u8]) -> Result<Crl, CrlError> {
        let der = assemble(&self.tbs, self.issuer.key(), signature).map_err(|SignatureError| CrlError::Signature)?;
        Crl::parse(der, &self.issuer)
    }
}

fn entry(revoked: &Revoked) -> Option<RevokedCert> {
    let reason = revoked.reason.code().map(|code| (false, &code).to_extension(&Name::default(), &[]));
    Some(RevokedCert {
        serial_number: revoked.serial.to_x509(),
        revocation_date: x509_time(revoked.at)?,
        crl_entry_extensions: reason.transpose().ok()?.map(|reason| vec![reason]),
    })
}

fn extensions(issuer: &Issuer, number: u64) -> der::Result<Vec<Extension>> {
    let authority = AuthorityKeyIdentifier { key_identifier: Some(OctetString::new(issuer.key().identifier())?), ..Default::default() };
    Ok(vec![
        (false, &authority).to_extension(issuer.name(), &[])?,
        (false, &CrlNumber(Uint::try_from(number)?)).to_extension(issuer.name(), &[])?,
    ])
}

/// A list whose signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    issue: Issue,
    serials: Vec<Serial>,
}

impl Crl {
    /// Parses the whole input and verifies that `issuer` signed it.
    ///
    /// # Errors
    /// [`CrlError::Form`], [`CrlError::Signature`].
    pub fn parse(der: Vec<u8>, issuer: &Issuer) -> Result<Self, CrlError> {
        let list = CertificateList::from_der(&der).map_err(|_| CrlError::Form)?;
        if list.to_der().ok().as_deref() != Some(&der) {
            return Err(CrlError::Form);
        }
        verify(&list, issuer.key()).map_err(|SignatureError| CrlError::Signature)?;
        let list = list.tbs_cert_list;
        if list.version != Version::V2 || list.issuer != *issuer.name() {
            return Err(CrlError::Form);
        }
        let number = number(list.crl_extensions.as_deref().unwrap_or_default(), issuer).ok_or(CrlError::Form)?;
        let issue =
            Issue { number, this_update: unix_time(list.this_update), next_update: list.next_update.map(unix_time).ok_or(CrlError::Form)? };
        let revoked = list.revoked_certificates.unwrap_or_default();
        let serials: Result<Vec<_>, _> = revoked.iter().map(|entry| Serial::try_from(entry.serial_number.as_bytes())).collect();
        Ok(Self { der, issue, serials: serials.map_err(|_| CrlError::Form)? })
    }

    /// DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Number and times.
    pub fn issue(&self) -> &Issue {
        &self.issue
    }

    /// thisUpdate <= now < nextUpdate.
    pub fn is_current(&self, now: UnixTime) -> bool {
        self.issue.this_update <= now && now < self.issue.next_update
    }

    /// Whether the certificate is revoked.
    pub fn contains(&self, serial: &Serial) -> bool {
        self.serials.contains(serial)
    }
}

fn verify(list: &CertificateList, key: &PublicKey) -> Result<(), SignatureError> {
    let algorithm = key.algorithm();
    if list.signature_algorithm != algorithm || list.tbs_cert_list.signature != algorithm {
        return Err(SignatureError);
    }
    let tbs = list.tbs_cert_list.to_der().map_err(|_| SignatureError)?;
    key.verify(&tbs, list.signature.as_bytes().ok_or(SignatureError)?)
}

/// cRLNumber; the extensions are exactly the two made here, so that no critical one is overlooked.
fn number(extensions: &[Extension], issuer: &Issuer) -> Option<u64> {
    let [_, second] = extensions else { return None };
    let number = CrlNumber::from_der(second.extn_value.as_bytes()).ok()?;
    let bytes = number.0.as_bytes();
    let mut octets = [0_u8; 8];
    octets.get_mut(8_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    let number = u64::from_be_bytes(octets);
    (self::extensions(issuer, number).ok()? == extensions).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::tests::{key, sign};
    use crate::pki::certificate::tests::{NOW, authorities, merchant, openssl, pem, serial};
    use proptest::prelude::*;

    fn issuer() -> Issuer {
        Issuer::of(&authorities().1).expect("a CA")
    }

    fn issue(number: u64) -> Issue {
        Issue { number, this_update: NOW, next_update: NOW.plus(86_400) }
    }

    fn revoked(seed: u8, reason: Reason) -> Revoked {
        Revoked { serial: serial(seed), at: NOW.plus(-60), reason }
    }

    fn list(number: u64, entries: Vec<Revoked>) -> Crl {
        let tbs = TbsCrl::new(&issuer(), issue(number), entries).expect("in order");
        let signature = sign(&key(12), tbs.digest().as_ref());
        tbs.attach(&signature).expect("verifies")
    }

    #[test]
    fn a_list_says_who_is_revoked_and_until_when_it_counts() {
        let crl = list(7, vec![revoked(9, Reason::Superseded), revoked(3, Reason::Unspecified)]);
        assert!(crl.contains(&serial(3)) && crl.contains(&serial(9)) && !crl.contains(&serial(4)));
        assert_eq!(crl.issue(), &issue(7));
        let current = [-1, 0, 86_399, 86_400].map(|offset| crl.is_current(NOW.plus(offset)));
        assert_eq!(current, [false, true, true, false]);
    }

    #[test]
    fn an_empty_list_has_no_list() {
        let der = list(1, vec![]).der().to_vec();
        let parsed: CertificateList = CertificateList::from_der(&der).expect("parses");
        assert_eq!(parsed.tbs_cert_list.revoked_certificates, None);
        assert_eq!(Crl::parse(der, &issuer()).expect("verifies").serials, []);
    }

    #[test]
    fn an_unspecified_reason_is_left_out() {
        let der = list(1, vec![revoked(3, Reason::Unspecified), revoked(4, Reason::KeyCompromise)]).der().to_vec();
        let list: CertificateList = CertificateList::from_der(&der).expect("parses");
        let entries = list.tbs_cert_list.revoked_certificates.expect("two");
        let reasons: Vec<_> = entries.iter().map(|entry| entry.crl_entry_extensions.as_ref().map(Vec::len)).collect();
        assert_eq!(reasons, [None, Some(1)]);
    }

    #[test]
    fn times_out_of_order_and_repeated_entries_are_refused() {
        let backwards = Issue { next_update: NOW, ..issue(1) };
        assert_eq!(TbsCrl::new(&issuer(), backwards, vec![]).err(), Some(CrlError::Times));
        let twice = vec![revoked(3, Reason::Superseded), revoked(3, Reason::Unspecified)];
        assert_eq!(TbsCrl::new(&issuer(), issue(1), twice).err(), Some(CrlError::Twice));
        let early = Revoked { at: UnixTime(-1), ..revoked(3, Reason::Superseded) };
        assert_eq!(TbsCrl::new(&issuer(), issue(1), vec![early]).err(), Some(CrlError::Times));
    }

    #[test]
    fn a_signature_by_another_key_gives_no_list() {
        let tbs = TbsCrl::new(&issuer(), issue(1), vec![]).expect("in order");
        let signature = sign(&key(13), tbs.digest().as_ref());
        assert_eq!(tbs.attach(&signature), Err(CrlError::Signature));
        let root = Issuer::of(&authorities().0).expect("a CA");
        assert_eq!(Crl::parse(list(1, vec![]).der().to_vec(), &root), Err(CrlError::Signature));
    }

    #[test]
    fn reasons_have_names_that_are_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.name()), Some(reason));
        }
        assert_eq!(Reason::parse("other"), None);
    }

    #[test]
    fn openssl_finds_the_revoked_certificate_and_only_that() {
        let (root, issuing) = authorities();
        let leaf = merchant(&issuing);
        let verify = |crl: &Crl| {
            let files: [(&str, &[u8]); 4] = [
                ("root", &pem("CERTIFICATE", root.der())),
                ("issuing", &pem("CERTIFICATE", issuing.der())),
                ("leaf", &pem("CERTIFICATE", leaf.der())),
                ("crl", &pem("X509 CRL", crl.der())),
            ];
            let at = NOW.plus(60).0.to_string();
            let arguments = [
                "verify",
                "-x509_strict",
                "-crl_check",
                "-CRLfile",
                "crl",
                "-attime",
                &at,
                "-CAfile",
                "root",
                "-untrusted",
                "issuing",
                "leaf",
            ];
            openssl(&arguments, &files).map(|said| String::from_utf8_lossy(&said).into_owned())
        };
        let Some(said) = verify(&list(1, vec![revoked(4, Reason::CessationOfOperation)])) else { return };
        assert_eq!(said, "leaf: OK\n");
        let said = verify(&list(2, vec![revoked(3, Reason::CessationOfOperation)])).expect("it is there");
        assert!(said.contains("certificate revoked"), "{said}");
    }

    proptest! {
        #[test]
        fn every_number_and_set_of_serials_comes_back(number: u64, seeds in proptest::collection::btree_set(0_u8..64, 0..8)) {
            let crl = list(number, seeds.iter().map(|seed| revoked(*seed, Reason::PrivilegeWithdrawn)).collect());
            prop_assert_eq!(crl.issue().number, number);
            prop_assert_eq!(crl.serials, seeds.iter().map(|seed| serial(*seed)).collect::<Vec<_>>());
        }

        #[test]
        fn no_changed_list_is_accepted(at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let good = list(7, vec![revoked(3, Reason::Superseded)]);
            let mut der = good.der().to_vec();
            let at = at.index(der.len());
            der[at] = with;
            prop_assert!(Crl::parse(der[..at].to_vec(), &issuer()).is_err());
            prop_assert_eq!(Crl::parse(der.clone(), &issuer()).is_ok(), der == good.der());
        }
    }
}
