//! `SEQUENCE { tbs, signatureAlgorithm, signature }`: the shape of certificates and revocation lists (RFC 5280 §4.1.1, §5.1.1).

use std::time::Duration;

use der::asn1::{AnyRef, BitString};
use der::{DateTime, Decode, Encode, Sequence};
use spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

use super::key::{PublicKey, SignatureError};
use crate::clock::UnixTime;

#[derive(Sequence)]
struct Signed<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// The signed object: exactly the bytes of `tbs`, and the signer's `r ‖ s`, verified, in DER.
pub(super) fn assemble(tbs: &[u8], signer: &PublicKey, raw: &[u8]) -> Result<Vec<u8>, SignatureError> {
    let signature = signer.verify_raw(tbs, raw)?;
    let whole = Signed {
        tbs: AnyRef::from_der(tbs).expect("encoded here"),
        algorithm: signer.algorithm(),
        signature: BitString::from_bytes(&signature).expect("about a hundred bytes"),
    };
    Ok(whole.to_der().expect("some kilobytes"))
}

/// RFC 5280 §4.1.2.5: `UTCTime` until 2049, `GeneralizedTime` from 2050. `None` before 1970 or after 9999.
pub(super) fn x509_time(time: UnixTime) -> Option<Time> {
    let seconds = u64::try_from(time.0).ok()?;
    DateTime::from_unix_duration(Duration::from_secs(seconds)).ok().map(Time::from)
}

/// Seconds; a time that is out of range is the end of all time.
pub(super) fn unix_time(time: Time) -> UnixTime {
    UnixTime(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}
