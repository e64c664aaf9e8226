//! Certificates, and the issuers that they make of CAs.

use der::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};
use x509_cert::name::Name;

use super::key::{PublicKey, SignatureError};
use super::serial::Serial;
use super::signed::unix_time;
use crate::clock::UnixTime;

/// Largest certificate that is read.
const MAX_CERTIFICATE: usize = 8192;

/// From and to, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// notBefore.
    pub from: UnixTime,
    /// notAfter.
    pub to: UnixTime,
}

/// A certificate with a P-256 or P-384 key. Parsing it verifies nothing; one that was made here is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    inner: x509_cert::Certificate,
    key: PublicKey,
}

/// Not a certificate of this PKI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate in DER with an EC key")]
pub struct NotACertificate;

impl Certificate {
    /// Parses the whole input; the algorithms inside and outside the signed part are equal (RFC 5280 §4.1.1.2).
    ///
    /// # Errors
    /// [`NotACertificate`].
    pub fn parse(der: Vec<u8>) -> Result<Self, NotACertificate> {
        if der.len() > MAX_CERTIFICATE {
            return Err(NotACertificate);
        }
        let inner = x509_cert::Certificate::from_der(&der).map_err(|_| NotACertificate)?;
        let same = inner.signature_algorithm() == inner.tbs_certificate().signature();
        if !same || inner.to_der().ok().as_deref() != Some(&der) {
            return Err(NotACertificate);
        }
        let key = PublicKey::from_spki(inner.tbs_certificate().subject_public_key_info()).map_err(|_| NotACertificate)?;
        Ok(Self { der, inner, key })
    }

    /// Verifies that `issuer` signed it.
    ///
    /// # Errors
    /// [`SignatureError`], also if names or algorithm do not fit.
    pub fn verify(&self, issuer: &Issuer) -> Result<(), SignatureError> {
        let tbs = self.inner.tbs_certificate();
        if tbs.issuer() != issuer.name() || *self.inner.signature_algorithm() != issuer.key().algorithm() {
            return Err(SignatureError);
        }
        let signature = self.inner.signature().as_bytes().ok_or(SignatureError)?;
        issuer.key().verify(&tbs.to_der().map_err(|_| SignatureError)?, signature)
    }

    /// DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER: of the root, the pin.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    /// The certified key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The serial number, if it is one made here.
    pub fn serial(&self) -> Option<Serial> {
        Serial::try_from(self.inner.tbs_certificate().serial_number().as_bytes()).ok()
    }

    /// From and to.
    pub fn validity(&self) -> Validity {
        let validity = self.inner.tbs_certificate().validity();
        Validity { from: unix_time(validity.not_before), to: unix_time(validity.not_after) }
    }

    /// The only subjectAltName, if it is a URI.
    pub fn uri(&self) -> Option<String> {
        let names = self.inner.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten()?.1.0;
        match names.as_slice() {
            [GeneralName::UniformResourceIdentifier(uri)] => Some(uri.as_str().to_owned()),
            _ => None,
        }
    }
}

/// Who signs: name, key, validity and path length of a CA certificate.
#[derive(Debug, Clone)]
pub struct Issuer {
    name: Name,
    key: PublicKey,
    validity: Validity,
    path_length: u8,
}

/// The certificate is not one of a CA of this PKI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the certificate of a CA")]
pub struct NotAnIssuer;

impl Issuer {
    /// The root, before it has a certificate.
    pub(super) fn root(name: &Name, key: p384::ecdsa::VerifyingKey, validity: Validity) -> Self {
        Self { name: name.clone(), key: key.into(), validity, path_length: 1 }
    }

    /// The issuer that `certificate` is of.
    ///
    /// # Errors
    /// [`NotAnIssuer`] if it may not sign certificates and revocation lists (RFC 5280 §4.2.1.3, §4.2.1.9).
    pub fn of(certificate: &Certificate) -> Result<Self, NotAnIssuer> {
        let tbs = certificate.inner.tbs_certificate();
        let constraints = tbs.get_extension::<BasicConstraints>().ok().flatten().ok_or(NotAnIssuer)?.1;
        let usage = tbs.get_extension::<KeyUsage>().ok().flatten().ok_or(NotAnIssuer)?.1;
        match constraints {
            BasicConstraints { ca: true, path_len_constraint: Some(path_length) } if usage.key_cert_sign() && usage.crl_sign() => {
                Ok(Self { name: tbs.subject().clone(), key: certificate.key, validity: certificate.validity(), path_length })
            }
            _ => Err(NotAnIssuer),
        }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Its key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    pub(super) fn validity(&self) -> (UnixTime, UnixTime) {
        (self.validity.from, self.validity.to)
    }

    pub(super) fn path_length(&self) -> u8 {
        self.path_length
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::jose::tests::{key, sign};
    use crate::pki::names::{DeviceUri, Service};
    use crate::pki::profile::{DOCUMENT_SIGNING, Profile};
    use crate::pki::tbs::LintedTbs;
    use p384::ecdsa::signature::hazmat::PrehashSigner;
    use proptest::prelude::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// 2025-11-22T15:00:00Z.
    pub(crate) const NOW: UnixTime = UnixTime(1_763_823_600);
    const DAY: i64 = 86_400;

    /// Runs openssl on files of the given names and contents. `None`, loudly, where there is no openssl.
    pub(crate) fn openssl(arguments: &[&str], files: &[(&str, &[u8])]) -> Option<Vec<u8>> {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).expect("written");
        }
        let run = Command::new("openssl").args(arguments).current_dir(directory.path()).stdin(Stdio::null()).output();
        let Ok(output) = run else {
            // Straight to the descriptor: a passing test's output is swallowed otherwise.
            let skipped = writeln!(std::io::stderr(), "SKIPPED: openssl is not installed, its part of this test did not run");
            skipped.expect("standard error");
            return None;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        Some(if output.status.success() { output.stdout } else { format!("FAILED: {said}").into_bytes() })
    }

    pub(crate) fn pem(label: &str, der: &[u8]) -> Vec<u8> {
        let base64 = data_encoding::BASE64.encode(der);
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
    }

    fn root_key() -> p384::ecdsa::SigningKey {
        p384::ecdsa::SigningKey::from_slice(&[11; 48]).expect("in range")
    }

    fn root_signs(tbs: &LintedTbs) -> Vec<u8> {
        let signature: p384::ecdsa::Signature = root_key().sign_prehash(tbs.digest().as_ref()).expect("48 bytes");
        signature.to_bytes().to_vec()
    }

    pub(crate) fn days(from: i64, to: i64) -> Validity {
        Validity { from: NOW.plus(from * DAY), to: NOW.plus(to * DAY) }
    }

    pub(crate) fn serial(seed: u8) -> Serial {
        Serial::from_random([seed; 16])
    }

    pub(crate) fn uri() -> DeviceUri {
        DeviceUri {
            merchant: "m-1".parse().expect("an id"),
            terminal: "T.1".parse().expect("an id"),
            device: "dev_0123456789abcdefghjkmnpqrs".parse().expect("an id"),
        }
    }

    pub(crate) fn merchant_profile() -> Profile {
        Profile::merchant(&uri(), DOCUMENT_SIGNING, Some("http://t.example/crl".parse().expect("a URL")))
    }

    /// Root and issuing CA with software keys in the place of the HSM's: the issuing CA's is `key(12)`.
    pub(crate) fn authorities() -> (Certificate, Certificate) {
        let profile = Profile::root(&"Tillward Root CA".parse().expect("a name"));
        let tbs = LintedTbs::root(&profile, *root_key().verifying_key(), serial(1), days(-1, 9000)).expect("lints");
        let signature = root_signs(&tbs);
        let root = tbs.attach(&signature).expect("verifies");
        let profile = Profile::issuing_ca(&"Tillward Issuing CA".parse().expect("a name"));
        let issuer = Issuer::of(&root).expect("a CA");
        let tbs = LintedTbs::service(&profile, &issuer, *key(12).verifying_key(), serial(2), days(-1, 3000)).expect("lints");
        let signature = root_signs(&tbs);
        (root, tbs.attach(&signature).expect("verifies"))
    }

    fn merchant_tbs(issuer: &Issuer) -> LintedTbs {
        LintedTbs::new(&merchant_profile(), issuer, &(*key(13).verifying_key()).into(), serial(3), days(0, 30)).expect("lints")
    }

    pub(crate) fn merchant(issuing: &Certificate) -> Certificate {
        let tbs = merchant_tbs(&Issuer::of(issuing).expect("a CA"));
        let signature = sign(&key(12), tbs.digest().as_ref());
        tbs.attach(&signature).expect("verifies")
    }

    #[test]
    fn every_certificate_verifies_under_its_issuer_and_no_other() {
        let (root, issuing) = authorities();
        let leaf = merchant(&issuing);
        let (root_ca, issuing_ca) = (Issuer::of(&root).expect("a CA"), Issuer::of(&issuing).expect("a CA"));
        for (certificate, right, wrong) in
            [(&root, &root_ca, &issuing_ca), (&issuing, &root_ca, &issuing_ca), (&leaf, &issuing_ca, &root_ca)]
        {
            assert_eq!(certificate.verify(right), Ok(()));
            assert_eq!(certificate.verify(wrong), Err(SignatureError));
        }
        assert!(Issuer::of(&leaf).is_err());
    }

    #[test]
    fn a_merchant_certificate_says_what_the_protocol_says() {
        let (_, issuing) = authorities();
        let leaf = merchant(&issuing);
        assert_eq!(leaf.uri().as_deref(), Some("urn:tillward:device:m-1:T.1:dev_0123456789abcdefghjkmnpqrs"));
        assert_eq!(leaf.serial(), Some(serial(3)));
        assert_eq!(leaf.validity(), days(0, 30));
        assert_eq!(leaf.key(), &PublicKey::P256(*key(13).verifying_key()));
        assert_eq!(leaf.inner.tbs_certificate().subject().to_string(), "CN=T.1");
    }

    #[test]
    fn openssl_accepts_the_chain_strictly() {
        let (root, issuing) = authorities();
        let leaf = merchant(&issuing);
        let files: [(&str, &[u8]); 3] = [
            ("root", &pem("CERTIFICATE", root.der())),
            ("issuing", &pem("CERTIFICATE", issuing.der())),
            ("leaf", &pem("CERTIFICATE", leaf.der())),
        ];
        let at = NOW.plus(60).0.to_string();
        let verify = |at: &str| {
            openssl(&["verify", "-x509_strict", "-check_ss_sig", "-attime", at, "-CAfile", "root", "-untrusted", "issuing", "leaf"], &files)
        };
        let Some(said) = verify(&at) else { return };
        assert_eq!(String::from_utf8_lossy(&said), "leaf: OK\n");
        let late = verify(&NOW.plus(31 * DAY).0.to_string()).expect("it is there");
        assert!(String::from_utf8_lossy(&late).contains("certificate has expired"));
        let text = openssl(&["x509", "-in", "leaf", "-noout", "-text"], &files).expect("it is there");
        let text = String::from_utf8_lossy(&text);
        for line in [
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "X509v3 Subject Alternative Name: \n                URI:urn:tillward:device:m-1:T.1:dev_0123456789abcdefghjkmnpqrs\n",
            "URI:http://t.example/crl",
            "1.3.6.1.5.5.7.3.36",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(!text.contains("Basic Constraints"));
    }

    #[test]
    fn service_certificates_are_signed_by_the_root() {
        let (root, issuing) = authorities();
        for service in Service::ALL {
            let profile = Profile::service(&"Tillward Service".parse().expect("a name"), service);
            let by = |issuer: &Certificate| {
                LintedTbs::service(&profile, &Issuer::of(issuer).expect("a CA"), *key(14).verifying_key(), serial(4), days(0, 700))
            };
            assert!(by(&issuing).is_err());
            let tbs = by(&root).expect("lints");
            let signature = root_signs(&tbs);
            assert_eq!(tbs.attach(&signature).expect("verifies").uri(), Some(service.to_string()));
        }
    }

    #[test]
    fn each_kind_has_its_own_door() {
        let (root, issuing) = authorities();
        let root = Issuer::of(&root).expect("a CA");
        let service = |profile: &Profile| LintedTbs::service(profile, &root, *key(14).verifying_key(), serial(4), days(0, 700)).is_err();
        assert!(service(&merchant_profile()));
        assert!(service(&Profile::root(&"Other Root".parse().expect("a name"))));
        assert!(LintedTbs::root(&merchant_profile(), *root_key().verifying_key(), serial(4), days(0, 10)).is_err());
        assert!(Issuer::of(&issuing).is_ok());
    }

    #[test]
    fn a_signature_that_does_not_verify_gives_no_certificate() {
        let (_, issuing) = authorities();
        let issuer = Issuer::of(&issuing).expect("a CA");
        let attach = |signature: &[u8]| merchant_tbs(&issuer).attach(signature).err();
        let digest = merchant_tbs(&issuer).digest();
        assert_eq!(attach(&sign(&key(12), digest.as_ref())), None);
        assert_eq!(attach(&sign(&key(13), digest.as_ref())), Some(SignatureError));
        assert_eq!(attach(&sign(&key(12), &[0; 32])), Some(SignatureError));
        assert_eq!(attach(&[0; 64]), Some(SignatureError));
        assert_eq!(attach(&sign(&key(12), digest.as_ref())[..63]), Some(SignatureError));
    }

    proptest! {
        #[test]
        fn no_changed_certificate_verifies_and_what_parses_encodes_to_itself(at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let (_, issuing) = authorities();
            let issuer = Issuer::of(&issuing).expect("a CA");
            let leaf = merchant(&issuing);
            let mut der = leaf.der().to_vec();
            let at = at.index(der.len());
            der[at] = with;
            prop_assert!(Certificate::parse(der[..at].to_vec()).is_err());
            if let Ok(parsed) = Certificate::parse(der.clone()) {
                prop_assert_eq!(parsed.inner.to_der().expect("encodes"), der.clone());
                prop_assert_eq!(parsed.verify(&issuer).is_ok(), der == leaf.der());
            }
        }
    }
}
