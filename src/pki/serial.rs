//! Serial numbers: 126 random bits (RFC 5280 §4.1.2.2: positive, at most 20 octets; 64 random bits or more, so that a
//! certificate's content cannot be foreseen).

use std::fmt;

use x509_cert::serial_number::SerialNumber;

/// The serial number of a certificate issued here: 16 octets, the first from 40 to 7F.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial([u8; 16]);

/// Not a serial number made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a serial number is 16 octets, the first from 40 to 7F")]
pub struct NotASerial;

impl Serial {
    /// From 16 random bytes: the first bit is cleared (positive), the second set (no leading zero to be dropped).
    pub fn from_random(mut random: [u8; 16]) -> Self {
        let [first, ..] = &mut random;
        *first = (*first & 0x3f) | 0x40;
        Self(random)
    }

    /// The octets, as stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(super) fn to_x509(self) -> SerialNumber {
        SerialNumber::new(&self.0).expect("positive, 16 octets")
    }
}

impl TryFrom<&[u8]> for Serial {
    type Error = NotASerial;
    fn try_from(bytes: &[u8]) -> Result<Self, NotASerial> {
        match <[u8; 16]>::try_from(bytes) {
            Ok(octets) if (0x40..=0x7f).contains(&octets[0]) => Ok(Self(octets)),
            _ => Err(NotASerial),
        }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::wire::hex::encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::Encode;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_serial_is_a_positive_integer_of_16_octets(random: [u8; 16]) {
            let serial = Serial::from_random(random);
            let der = serial.to_x509().to_der().expect("encodes");
            prop_assert_eq!(&der[..2], &[2, 16]);
            prop_assert_eq!(&der[2..], serial.as_bytes());
            prop_assert_eq!(Serial::try_from(&der[2..]), Ok(serial));
        }

        #[test]
        fn no_bytes_panic_and_what_parses_is_itself(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(serial) = Serial::try_from(&bytes[..]) { prop_assert_eq!(serial.as_bytes().to_vec(), bytes); }
        }
    }
}
