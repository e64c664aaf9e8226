//! ISO 9564-1:2017 format 4 PIN blocks, for the acquirer's payment HSM. Tillward never opens one.

use zeroize::Zeroizing;

use crate::key::AesKey;

/// Why no PIN block can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinBlockError {
    /// ISO 9564-1 §8.1: 4 to 12 digits.
    #[error("a PIN has 4 to 12 digits")]
    Pin,
    /// ISO/IEC 7812: up to 19 digits; format 4 has a place for 1 to 19.
    #[error("an account number has 1 to 19 digits")]
    AccountNumber,
}

/// The two fields of a block in clear: made before a transaction key is spent on them.
pub struct Fields {
    pin: Zeroizing<[u8; 16]>,
    account: Zeroizing<[u8; 16]>,
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fields(not shown)")
    }
}

impl Fields {
    /// The fields for a PIN of an account.
    ///
    /// # Errors
    /// [`PinBlockError`] if the PIN or the account number are not digits of an allowed number.
    pub fn new(pin: &str, account_number: &str, random: [u8; 8]) -> Result<Self, PinBlockError> {
        Ok(Self { pin: pin_field(pin, random)?, account: account_field(account_number)? })
    }

    /// E(K, E(K, PIN field) xor PAN field): ISO 9564-1:2017 §9.4.2.
    pub fn encrypt(&self, key: &AesKey) -> [u8; 16] {
        let mut block = Zeroizing::new(key.encrypt_block(*self.pin));
        for (byte, other) in block.iter_mut().zip(self.account.iter()) {
            *byte ^= other;
        }
        key.encrypt_block(*block)
    }
}

/// `4` ‖ length ‖ PIN digits ‖ `A` up to 16 digits ‖ 8 random bytes.
fn pin_field(pin: &str, random: [u8; 8]) -> Result<Zeroizing<[u8; 16]>, PinBlockError> {
    let length = u8::try_from(pin.len()).ok().filter(|length| (4..=12).contains(length)).ok_or(PinBlockError::Pin)?;
    let digits = digits(pin).ok_or(PinBlockError::Pin)?;
    let mut nibbles = Zeroizing::new(vec![4, length]);
    nibbles.extend_from_slice(&digits);
    nibbles.resize(16, 0xA);
    nibbles.extend(random.iter().flat_map(|byte| [byte >> 4, byte & 0xF]));
    Ok(pack(&nibbles))
}

/// `M` = digits beyond twelve ‖ PAN ‖ `0`; a shorter PAN is filled with zeros on the left up to twelve digits.
fn account_field(account_number: &str) -> Result<Zeroizing<[u8; 16]>, PinBlockError> {
    let length = u8::try_from(account_number.len()).ok().filter(|length| (1..=19).contains(length)).ok_or(PinBlockError::AccountNumber)?;
    let digits = digits(account_number).ok_or(PinBlockError::AccountNumber)?;
    let mut nibbles = Zeroizing::new(vec![length.saturating_sub(12)]);
    nibbles.extend(std::iter::repeat_n(0, 12_usize.saturating_sub(digits.len())));
    nibbles.extend_from_slice(&digits);
    nibbles.resize(32, 0);
    Ok(pack(&nibbles))
}

fn digits(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    text.bytes().map(|byte| byte.is_ascii_digit().then(|| byte - b'0')).collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

fn pack(nibbles: &[u8]) -> Zeroizing<[u8; 16]> {
    let mut field = Zeroizing::new([0; 16]);
    for (byte, pair) in field.iter_mut().zip(nibbles.as_chunks::<2>().0) {
        let [high, low] = pair;
        *byte = high << 4 | low;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{aes_key, hex, vectors};
    use proptest::prelude::*;

    #[test]
    fn every_block_of_the_vectors() {
        let Some(file) = vectors("aes-dukpt.json") else { return };
        let section = &file["pin_block_format4"];
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let random = hex(&text(&section["pin_field"])[16..]).try_into().expect("8 bytes");
        let (pin, account) = (text(&section["pin"]), text(&section["pan"]));
        assert_eq!(pin_field(&pin, random).expect("field").to_vec(), hex(&text(&section["pin_field"])));
        assert_eq!(account_field(&account).expect("field").to_vec(), hex(&text(&section["pan_field"])));
        let blocks = section["vectors"].as_array().expect("vectors");
        assert_eq!(blocks.len(), 24);
        for block in blocks {
            let key = aes_key(&text(&block["pin_key"]));
            let made = Fields::new(&pin, &account, random).expect("digits").encrypt(&key);
            assert_eq!(made.to_vec(), hex(&text(&block["encrypted_pin_block"]["value"])));
        }
    }

    #[test]
    fn account_numbers_of_every_length_have_their_place() {
        let field = |number: &str| data_encoding::HEXUPPER.encode(account_field(number).expect("field").as_slice());
        assert_eq!(field("1"), "00000000000010000000000000000000");
        assert_eq!(field("123456789012"), "01234567890120000000000000000000");
        assert_eq!(field("1234567890123456789"), "71234567890123456789000000000000");
    }

    proptest! {
        #[test]
        fn only_digits_of_an_allowed_number_are_taken(pin in "[0-9a:/ ]{0,14}", account in "[0-9a:/ ]{0,21}") {
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            let allowed = digits(&pin) && (4..=12).contains(&pin.len()) && digits(&account) && (1..=19).contains(&account.len());
            prop_assert_eq!(Fields::new(&pin, &account, [0; 8]).is_ok(), allowed);
        }
    }
}
