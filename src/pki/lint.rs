//! Lints: what is about to be signed, parsed again from its bytes by another path than made it, is what the profile says.
//!
//! Every rule stands beside its clause of RFC 5280 (or of docs/protocol.md §2, for ours).

use const_oid::{AssociatedOid, ObjectIdentifier};
use der::{Decode, Encode};
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, SubjectAltName, SubjectKeyIdentifier,
};

use super::certificate::Issuer;
use super::key::PublicKey;
use super::names::{DeviceUri, Service};
use super::profile::{Kind, Profile, distribution_point};
use super::signed::unix_time;

/// anyExtendedKeyUsage, RFC 5280 §4.2.1.12.
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// A certificate that must not be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is not as its profile says: {rule} ({clause})")]
pub struct LintError {
    /// The rule that is broken.
    pub rule: &'static str,
    /// Where it is written.
    pub clause: &'static str,
}

fn rule(holds: bool, rule: &'static str, clause: &'static str) -> Result<(), LintError> {
    if holds { Ok(()) } else { Err(LintError { rule, clause }) }
}

/// Lints the encoded `tbs` of a certificate for `key` by `issuer`.
pub(super) fn lint(tbs: &[u8], profile: &Profile, issuer: &Issuer, key: &PublicKey) -> Result<(), LintError> {
    let unparsed = LintError { rule: "parses as DER", clause: "§4.1" };
    let parsed = TbsCertificate::from_der(tbs).map_err(|_| unparsed)?;
    rule(parsed.to_der().ok().as_deref() == Some(tbs), "is DER", "§4.1")?;
    issuer_fits(profile, issuer, key)?;
    fields(&parsed, profile, issuer, key)?;
    validity(&parsed, profile, issuer)?;
    extension_set(&parsed, profile)?;
    usages(&parsed, profile)?;
    identifiers(&parsed, profile, issuer, key)
}

fn issuer_fits(profile: &Profile, issuer: &Issuer, key: &PublicKey) -> Result<(), LintError> {
    let (curve, path_length) = profile.issuer();
    rule(issuer.key().curve() == curve, "the issuer's key is on the profile's curve", "protocol §2")?;
    rule(issuer.path_length() == path_length, "the issuer's path length fits the profile", "§4.2.1.9")?;
    let itself = issuer.key() == key;
    rule(itself == (profile.kind() == Kind::Root), "the root signs itself, nobody else does", "protocol §2")?;
    rule(key.curve() == profile.curve(), "the key is on the profile's curve", "protocol §2")
}

fn fields(tbs: &TbsCertificate, profile: &Profile, issuer: &Issuer, key: &PublicKey) -> Result<(), LintError> {
    rule(tbs.version() == Version::V3, "version 3", "§4.1.2.1")?;
    let serial = tbs.serial_number().as_bytes();
    let positive = serial.first().is_some_and(|first| *first < 0x80);
    rule(positive && (9..=20).contains(&serial.len()), "a positive serial number of 9 to 20 octets", "§4.1.2.2")?;
    rule(*tbs.signature() == issuer.key().algorithm(), "the issuer's signature algorithm", "§4.1.2.3")?;
    rule(!tbs.issuer().is_empty() && tbs.issuer() == issuer.name(), "the issuer's name", "§4.1.2.4")?;
    rule(!tbs.subject().is_empty() && tbs.subject() == profile.subject(), "the profile's subject name", "§4.1.2.6")?;
    let other_name = (tbs.subject() == tbs.issuer()) == (profile.kind() == Kind::Root);
    rule(other_name, "only the root is self-issued", "§6.1")?;
    rule(PublicKey::from_spki(tbs.subject_public_key_info()) == Ok(*key), "the subject's key", "§4.1.2.7")?;
    let unique = tbs.issuer_unique_id().is_some() || tbs.subject_unique_id().is_some();
    rule(!unique, "no unique identifiers", "§4.1.2.8")
}

fn validity(tbs: &TbsCertificate, profile: &Profile, issuer: &Issuer) -> Result<(), LintError> {
    let validity = tbs.validity();
    // UTCTime until 2049, GeneralizedTime from 2050 (§4.1.2.5): another form does not survive the check for DER above,
    // because x509-cert encodes only this one.
    let (from, to) = (unix_time(validity.not_before), unix_time(validity.not_after));
    rule(from < to, "it begins before it ends", "§4.1.2.5")?;
    // Both ends belong to the period.
    rule(to.since(from) < profile.longest(), "no longer than the profile's longest validity", "protocol §2")?;
    let (outer_from, outer_to) = issuer.validity();
    rule(outer_from <= from && to <= outer_to, "within the issuer's validity", "protocol §2")
}

/// Exactly the profile's extensions, none twice (§4.2), each critical or not as RFC 5280 has it.
fn extension_set(tbs: &TbsCertificate, profile: &Profile) -> Result<(), LintError> {
    let mut expected: Vec<(ObjectIdentifier, bool)> =
        vec![(KeyUsage::OID, true), (SubjectKeyIdentifier::OID, false), (AuthorityKeyIdentifier::OID, false)];
    if profile.path_length().is_some() {
        expected.push((BasicConstraints::OID, true));
    }
    if profile.purpose().is_some() {
        expected.push((ExtendedKeyUsage::OID, false));
    }
    if profile.uri().is_some() {
        expected.push((SubjectAltName::OID, false));
    }
    if profile.crl().is_some() {
        expected.push((CrlDistributionPoints::OID, false));
    }
    let mut there: Vec<_> = tbs.extensions().into_iter().flatten().map(|extension| (extension.extn_id, extension.critical)).collect();
    expected.sort_unstable();
    there.sort_unstable();
    rule(there == expected, "exactly the profile's extensions, with their criticality", "§4.2")
}

/// The only extension of its kind.
fn extension<T: AssociatedOid + for<'a> Decode<'a, Error = der::Error>>(tbs: &TbsCertificate) -> Result<Option<T>, LintError> {
    let found = tbs.get_extension::<T>().map_err(|_| LintError { rule: "every extension parses", clause: "§4.2" })?;
    Ok(found.map(|(_, value)| value))
}

fn usages(tbs: &TbsCertificate, profile: &Profile) -> Result<(), LintError> {
    let usage = extension::<KeyUsage>(tbs)?.map(|usage| usage.0);
    rule(usage == Some(profile.key_usage()), "exactly the profile's key usage", "§4.2.1.3")?;
    let constraints = extension::<BasicConstraints>(tbs)?.map(|constraints| (constraints.ca, constraints.path_len_constraint));
    rule(constraints == profile.path_length().map(|length| (true, Some(length))), "a CA exactly if the profile is one", "§4.2.1.9")?;
    let purposes = extension::<ExtendedKeyUsage>(tbs)?.map(|purposes| purposes.0);
    rule(purposes == profile.purpose().map(|purpose| vec![purpose]), "exactly the profile's purpose", "§4.2.1.12")?;
    rule(profile.purpose() != Some(ANY_PURPOSE), "a purpose that says something", "§4.2.1.12")
}

fn identifiers(tbs: &TbsCertificate, profile: &Profile, issuer: &Issuer, key: &PublicKey) -> Result<(), LintError> {
    let names = extension::<SubjectAltName>(tbs)?.map(|names| names.0);
    let uri = match names.as_deref() {
        None => None,
        Some([GeneralName::UniformResourceIdentifier(uri)]) => Some(uri.as_str()),
        Some(_) => return Err(LintError { rule: "one URI and no other alternative name", clause: "protocol §2" }),
    };
    rule(uri == profile.uri(), "the profile's URI", "protocol §2")?;
    let known = match profile.kind() {
        Kind::Root | Kind::IssuingCa => uri.is_none(),
        Kind::Service => uri.is_some_and(|uri| uri.parse::<Service>().is_ok()),
        Kind::Merchant => uri.is_some_and(|uri| uri.parse::<DeviceUri>().is_ok()),
    };
    rule(known, "a URI of the kind's form", "protocol §2")?;

    let subject_key = extension::<SubjectKeyIdentifier>(tbs)?;
    let fits = subject_key.is_some_and(|id| id.0.as_bytes() == key.identifier());
    rule(fits, "the subject key identifier is that of the key", "§4.2.1.2")?;
    let authority = extension::<AuthorityKeyIdentifier>(tbs)?;
    let fits = authority.is_some_and(|id| {
        id.key_identifier.is_some_and(|id| id.as_bytes() == issuer.key().identifier())
            && id.authority_cert_issuer.is_none()
            && id.authority_cert_serial_number.is_none()
    });
    rule(fits, "the authority key identifier is that of the issuer's key", "§4.2.1.1")?;
    let points = extension::<CrlDistributionPoints>(tbs)?.map(|points| points.0);
    let expected = profile.crl().map(distribution_point).transpose().ok().flatten().map(|point| vec![point]);
    rule(points == expected, "the profile's distribution point", "§4.2.1.13")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::tests::key;
    use crate::pki::certificate::Validity;
    use crate::pki::certificate::tests::{NOW, authorities, days, merchant_profile, serial, uri};
    use crate::pki::key::Curve;
    use crate::pki::profile::DOCUMENT_SIGNING;
    use crate::pki::tbs::Tbs;
    use der::asn1::{BitString, Ia5String, OctetString};
    use std::str::FromStr;
    use x509_cert::ext::{Extension, ToExtension};
    use x509_cert::name::Name;
    use x509_cert::serial_number::SerialNumber;

    fn subject() -> PublicKey {
        PublicKey::P256(*key(13).verifying_key())
    }

    fn issuer() -> Issuer {
        Issuer::of(&authorities().1).expect("a CA")
    }

    fn merchant(validity: Validity) -> Tbs {
        Tbs::new(&merchant_profile(), &issuer(), &subject(), serial(3), validity).expect("encodes")
    }

    fn broken(tbs: &Tbs) -> Option<&'static str> {
        lint(&tbs.to_der().expect("encodes"), &merchant_profile(), &issuer(), &subject()).err().map(|error| error.rule)
    }

    fn changed(change: impl FnOnce(&mut Tbs)) -> Option<&'static str> {
        let mut tbs = merchant(days(0, 30));
        change(&mut tbs);
        broken(&tbs)
    }

    fn with_extension<T: ToExtension<Error = der::Error>>(oid: ObjectIdentifier, value: T) -> Option<&'static str> {
        changed(|tbs| {
            let list = tbs.extensions.as_mut().expect("there");
            list.retain(|extension| extension.extn_id != oid);
            list.push(value.to_extension(&tbs.subject, &[]).expect("encodes"));
        })
    }

    #[test]
    fn what_the_profile_makes_passes() {
        assert_eq!(changed(|_| ()), None);
    }

    #[test]
    fn each_changed_field_breaks_its_rule() {
        assert_eq!(changed(|tbs| tbs.version = Version::V1), Some("version 3"));
        let serial = Some("a positive serial number of 9 to 20 octets");
        assert_eq!(changed(|tbs| tbs.serial_number = SerialNumber::new(&[1; 8]).expect("short")), serial);
        assert_eq!(
            changed(|tbs| tbs.signature.oid = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3")),
            Some("the issuer's signature algorithm")
        );
        let other = Name::from_str("CN=other").expect("a name");
        assert_eq!(changed(|tbs| tbs.issuer = other.clone()), Some("the issuer's name"));
        assert_eq!(changed(|tbs| tbs.subject = other), Some("the profile's subject name"));
        let key = PublicKey::P256(*key(14).verifying_key());
        assert_eq!(changed(|tbs| tbs.subject_public_key_info = key.to_spki()), Some("the subject's key"));
        let unique = BitString::from_bytes(&[1]).expect("short");
        assert_eq!(changed(|tbs| tbs.issuer_unique_id = Some(unique.clone())), Some("no unique identifiers"));
        assert_eq!(changed(|tbs| tbs.subject_unique_id = Some(unique)), Some("no unique identifiers"));
    }

    #[test]
    fn the_validity_is_in_order_short_and_within_the_issuers() {
        assert_eq!(broken(&merchant(days(0, 0))), Some("it begins before it ends"));
        assert_eq!(broken(&merchant(days(1, 0))), Some("it begins before it ends"));
        assert_eq!(broken(&merchant(days(0, 366))), Some("no longer than the profile's longest validity"));
        assert_eq!(broken(&merchant(Validity { from: NOW, to: NOW.plus(366 * 86_400 - 1) })), None);
        assert_eq!(broken(&merchant(days(-2, 30))), Some("within the issuer's validity"));
        assert_eq!(broken(&merchant(days(2990, 3001))), Some("within the issuer's validity"));
    }

    #[test]
    fn each_changed_extension_breaks_its_rule() {
        let set = Some("exactly the profile's extensions, with their criticality");
        assert_eq!(changed(|tbs| tbs.extensions = None), set);
        assert_eq!(changed(|tbs| tbs.extensions.as_mut().expect("there").iter_mut().for_each(|e| e.critical = true)), set);
        let twice = |tbs: &mut Tbs| {
            let list = tbs.extensions.as_mut().expect("there");
            let first = list.first().expect("there").clone();
            list.push(first);
        };
        assert_eq!(changed(twice), set);
        let unknown = Extension {
            extn_id: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1"),
            critical: false,
            extn_value: OctetString::new([5, 0]).expect("short"),
        };
        assert_eq!(changed(|tbs| tbs.extensions.as_mut().expect("there").push(unknown)), set);
        let ca = BasicConstraints { ca: true, path_len_constraint: None };
        assert_eq!(with_extension(BasicConstraints::OID, (true, &ca)), set);

        let usage = KeyUsage(x509_cert::ext::pkix::KeyUsages::KeyCertSign.into());
        assert_eq!(with_extension(KeyUsage::OID, (true, &usage)), Some("exactly the profile's key usage"));
        let purposes = ExtendedKeyUsage(vec![DOCUMENT_SIGNING, ANY_PURPOSE]);
        assert_eq!(with_extension(ExtendedKeyUsage::OID, (false, &purposes)), Some("exactly the profile's purpose"));
        let uri = |text: &str| GeneralName::UniformResourceIdentifier(Ia5String::new(text).expect("ASCII"));
        let names = |names: Vec<GeneralName>| with_extension(SubjectAltName::OID, (false, &SubjectAltName(names)));
        assert_eq!(names(vec![uri("urn:other")]), Some("the profile's URI"));
        assert_eq!(names(vec![uri(&uri_text()), uri("urn:other")]), Some("one URI and no other alternative name"));
        assert_eq!(names(vec![GeneralName::DnsName(Ia5String::new("a").expect("ASCII"))]), Some("one URI and no other alternative name"));
        let id = OctetString::new([1; 20]).expect("short");
        let found = with_extension(SubjectKeyIdentifier::OID, (false, &SubjectKeyIdentifier(id.clone())));
        assert_eq!(found, Some("the subject key identifier is that of the key"));
        let authority = AuthorityKeyIdentifier { key_identifier: Some(id), ..Default::default() };
        let found = with_extension(AuthorityKeyIdentifier::OID, (false, &authority));
        assert_eq!(found, Some("the authority key identifier is that of the issuer's key"));
        let url = "http://other.example/".parse().expect("a URL");
        let points = CrlDistributionPoints(vec![distribution_point(&url).expect("encodes")]);
        assert_eq!(with_extension(CrlDistributionPoints::OID, (false, &points)), Some("the profile's distribution point"));
        let garbage = Extension { extn_id: KeyUsage::OID, critical: true, extn_value: OctetString::new([1, 2]).expect("short") };
        assert_eq!(with_extension(KeyUsage::OID, garbage), Some("every extension parses"));
    }

    fn uri_text() -> String {
        uri().to_string()
    }

    #[test]
    fn a_purpose_that_allows_anything_is_refused() {
        let profile = Profile::merchant(&uri(), ANY_PURPOSE, None);
        let tbs = Tbs::new(&profile, &issuer(), &subject(), serial(3), days(0, 30)).expect("encodes");
        let error = lint(&tbs.to_der().expect("encodes"), &profile, &issuer(), &subject()).expect_err("refused");
        assert_eq!(error.rule, "a purpose that says something");
    }

    #[test]
    fn a_profile_and_its_issuer_and_key_have_to_fit() {
        let root = Issuer::of(&authorities().0).expect("a CA");
        let rule = |issuer: &Issuer, profile: &Profile, key: &PublicKey| {
            let tbs = Tbs::new(profile, issuer, key, serial(3), days(0, 30)).expect("encodes");
            lint(&tbs.to_der().expect("encodes"), profile, issuer, key).err().map(|error| error.rule)
        };
        assert_eq!(rule(&root, &merchant_profile(), &subject()), Some("the issuer's key is on the profile's curve"));
        let ca = Profile::issuing_ca(&"Another CA".parse().expect("a name"));
        assert_eq!(rule(&issuer(), &ca, &subject()), Some("the issuer's key is on the profile's curve"));
        assert_eq!(rule(&root, &ca, &subject()), None);
        assert_eq!(rule(&issuer(), &merchant_profile(), issuer().key()), Some("the root signs itself, nobody else does"));
        assert_eq!(root.key().curve(), Curve::P384);
        assert_eq!(rule(&root, &ca, root.key()), Some("the root signs itself, nobody else does"));
        let same_name = Profile::issuing_ca(&"Tillward Root CA".parse().expect("a name"));
        assert_eq!(rule(&root, &same_name, &subject()), Some("only the root is self-issued"));
    }

    #[test]
    fn a_time_in_the_wrong_form_is_not_signed() {
        // 2025-11-22T15:00:00Z as UTCTime; the same length of GeneralizedTime does not exist, so two bytes and the lengths grow.
        let der = merchant(days(0, 30)).to_der().expect("encodes");
        let utc = b"\x17\x0d251122150000Z";
        let at = der.windows(utc.len()).position(|window| window == utc).expect("notBefore");
        let mut longer = [&der[..at], b"\x18\x0f20251122150000Z", &der[at + utc.len()..]].concat();
        // Validity is the SEQUENCE right before it; the whole is a SEQUENCE with a length of two bytes.
        longer[at - 1] += 2;
        let whole = u16::from_be_bytes([longer[2], longer[3]]) + 2;
        longer[2..4].copy_from_slice(&whole.to_be_bytes());
        let rule = |der: &[u8]| lint(der, &merchant_profile(), &issuer(), &subject()).err().map(|error| error.rule);
        assert_eq!(rule(&longer), Some("is DER"));
        assert_eq!(rule(&der), None);
    }

    #[test]
    fn trailing_bytes_are_not_signed() {
        let tbs = [merchant(days(0, 30)).to_der().expect("encodes"), vec![0]].concat();
        assert_eq!(lint(&tbs, &merchant_profile(), &issuer(), &subject()).err().map(|error| error.rule), Some("parses as DER"));
    }
}
