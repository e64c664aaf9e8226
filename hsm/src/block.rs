//! Partner block: how a key travels to and from a partner under a KEK of the form `key-block`. Pure; docs/keyblock.md tells a partner how to open one.
//!
//! Text, so that it can be mailed: 16 characters of header in the manner of X9.143 §6.2, the label, the wrapped key and the MAC in upper-case
//! hexadecimal.
//!
//! | offset | characters | what |
//! |---|---|---|
//! | 0 | 1 | version `9`: X9.143 leaves digits to proprietary blocks |
//! | 1 | 4 | length of the whole block in characters, decimal |
//! | 5 | 2 | usage: `B0` base derivation key, `D0` data encryption, `M6` CMAC |
//! | 7 | 1 | algorithm: `A` AES |
//! | 8 | 1 | mode of use: `X` derive, `B` encrypt and decrypt, `C` make and verify MACs |
//! | 9 | 2 | version of the key, decimal; `00` where it has none or one above 99 |
//! | 11 | 1 | exportability: `N`, it goes no further |
//! | 12 | 2 | number of optional blocks: `00` or `01` |
//! | 14 | 2 | reserved, `00` |
//! | 16 | l | where there is one: optional block `LB` (X9.143 §6.3), two hexadecimal digits of its length, label of the key |
//! | 16 + l | 48 or 80 | key, AES-KWP (RFC 5649), hexadecimal: AES-128 or AES-256 |
//! | | 32 | AES-CMAC (RFC 4493) over all characters before it, hexadecimal |
//!
//! **It is not TR-31**: the MAC of a TR-31 block covers the clear key, which a general PKCS#11 token cannot do without showing it. PCI PIN 18-3 takes a MAC
//! over the clear header and the enciphered key as well.
//!
//! Both keys are derived from the KEK by [`crate::derivation`], as AES-256; the direction stands in usage and identifier, so that a block does not come back.

use std::fmt;

use data_encoding::HEXUPPER;

use crate::derivation::{Algorithm, Usage};
use crate::escrow::{travels_as, wrapped_bytes};
use crate::managed::{KeyRef, Purpose};

const VERSION: u8 = b'9';
const HEADER: usize = 16;
const MAC: usize = 16;

/// Which way a block goes: each has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Tillward made it.
    Export,
    /// The partner made it.
    Import,
}

impl Direction {
    /// What both derivations have for identifier.
    pub fn identifier(self) -> [u8; 8] {
        match self {
            Self::Export => *b"TWEXPORT",
            Self::Import => *b"TWIMPORT",
        }
    }

    /// Usage of the key that wraps and unwraps: X9.24-3 0002.
    pub fn wrapping(self) -> Usage {
        Usage::KeyEncryption
    }

    /// Usage of the key of the MAC, as Tillward sees it: 2000 generation, 2001 verification.
    pub fn mac(self) -> Usage {
        match self {
            Self::Export => Usage::MacGeneration,
            Self::Import => Usage::MacVerification,
        }
    }
}

/// Why a text is not a partner block. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a partner block: {0}")]
pub struct BlockError(pub &'static str);

/// A key on its way. Holds ciphertext only.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    purpose: Purpose,
    algorithm: Algorithm,
    version: u8,
    label: Option<String>,
    wrapped: Vec<u8>,
    mac: [u8; MAC],
}

/// Usage and mode of X9.143 §6.2 for what a key is for.
fn codes(purpose: Purpose) -> Option<(&'static str, char)> {
    match purpose {
        Purpose::Derive => Some(("B0", 'X')),
        Purpose::Encrypt => Some(("D0", 'B')),
        Purpose::Mac => Some(("M6", 'C')),
        Purpose::Sign | Purpose::Wrap | Purpose::Ca => None,
    }
}

impl Block {
    /// Reads a block. Its MAC is not verified here.
    ///
    /// # Errors
    /// [`BlockError`] names the field.
    pub fn parse(text: &[u8]) -> Result<Self, BlockError> {
        let (header, rest) = text.split_first_chunk::<HEADER>().ok_or(BlockError("it is too short"))?;
        let [letter, l0, l1, l2, l3, u0, u1, kind, mode, v0, v1, exportability, o0, o1, r0, r1] = *header;
        if letter != VERSION {
            return Err(BlockError("version"));
        }
        if decimal(&[l0, l1, l2, l3]) != Some(text.len()) {
            return Err(BlockError("length"));
        }
        let purpose = [Purpose::Derive, Purpose::Encrypt, Purpose::Mac]
            .into_iter()
            .find(|purpose| codes(*purpose).is_some_and(|(usage, of)| usage.as_bytes() == [u0, u1] && u32::from(of) == u32::from(mode)));
        let purpose = purpose.ok_or(BlockError("usage or mode of use"))?;
        if kind != b'A' {
            return Err(BlockError("algorithm"));
        }
        let version = decimal(&[v0, v1]).and_then(|version| u8::try_from(version).ok()).ok_or(BlockError("key version"))?;
        if exportability != b'N' {
            return Err(BlockError("exportability"));
        }
        if [r0, r1] != *b"00" {
            return Err(BlockError("reserved characters"));
        }
        let (label, rest) = match &[o0, o1] {
            b"00" => (None, rest),
            b"01" => labelled(rest)?,
            _ => return Err(BlockError("number of optional blocks")),
        };
        let (wrapped, mac) = rest.split_at_checked(rest.len().saturating_sub(2 * MAC)).ok_or(BlockError("it is too short"))?;
        let hex = |digits: &[u8]| HEXUPPER.decode(digits).map_err(|_| BlockError("upper-case hexadecimal digits"));
        let (wrapped, mac) = (hex(wrapped)?, hex(mac)?.try_into().map_err(|_| BlockError("it is too short"))?);
        let algorithm = [Algorithm::Aes128, Algorithm::Aes256].into_iter().find(|algorithm| wrapped_bytes(*algorithm) == wrapped.len());
        let algorithm = algorithm.ok_or(BlockError("length of the wrapped key"))?;
        Ok(Self { purpose, algorithm, version, label, wrapped, mac })
    }

    /// The text that [`Self::parse`] reads.
    pub fn to_text(&self) -> String {
        let mut text = self.authenticated();
        text.push_str(&HEXUPPER.encode(&self.mac));
        text
    }

    /// Whether the header is that of this key: purpose and algorithm always, version and label where the block says them.
    pub fn is_of(&self, key: &KeyRef) -> bool {
        self.purpose == key.purpose
            && travels_as(key) == Some(self.algorithm)
            && (self.version == 0 || u32::from(self.version) == key.version)
            && self.label.as_ref().is_none_or(|label| *label == key.label())
    }

    /// The label that it carries.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// A block around a wrapped key, once `authenticate` has made the MAC over everything before it.
    ///
    /// # Errors
    /// What `authenticate` fails with; [`BlockError`] where such a key does not travel.
    pub(crate) fn seal<E: From<BlockError>>(
        key: &KeyRef,
        label: &str,
        wrapped: Vec<u8>,
        authenticate: impl FnOnce(&[u8]) -> Result<[u8; MAC], E>,
    ) -> Result<Self, E> {
        let algorithm = travels_as(key).filter(|algorithm| wrapped_bytes(*algorithm) == wrapped.len());
        let algorithm = algorithm.ok_or(BlockError("such a key does not travel"))?;
        if label.is_empty() || label.len() > LONGEST_LABEL || !label.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BlockError("label").into());
        }
        let version = u8::try_from(key.version).ok().filter(|version| *version <= 99).unwrap_or(0);
        let mut block = Self { purpose: key.purpose, algorithm, version, label: Some(label.to_owned()), wrapped, mac: [0; MAC] };
        block.mac = authenticate(block.authenticated().as_bytes())?;
        Ok(block)
    }

    pub(crate) fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn mac(&self) -> &[u8; MAC] {
        &self.mac
    }

    /// What the MAC covers: the text before it.
    pub(crate) fn authenticated(&self) -> String {
        let (usage, mode) = codes(self.purpose).unwrap_or(("", ' '));
        let (count, label) = match &self.label {
            Some(label) => (1, format!("LB{:02X}{label}", label.len().saturating_add(4))),
            None => (0, String::new()),
        };
        let key = HEXUPPER.encode(&self.wrapped);
        let length = [HEADER, label.len(), key.len(), 2 * MAC].into_iter().fold(0, usize::saturating_add);
        let (version, letter) = (self.version, char::from(VERSION));
        format!("{letter}{length:04}{usage}A{mode}{version:02}N{count:02}00{label}{key}")
    }
}

/// Two hexadecimal digits count the whole optional block.
const LONGEST_LABEL: usize = 0xFF - 4;

/// The optional block of the label, and what follows it.
fn labelled(text: &[u8]) -> Result<(Option<String>, &[u8]), BlockError> {
    let refused = BlockError("optional block");
    let ([id0, id1, h0, h1], _) = text.split_first_chunk::<4>().ok_or(refused)?;
    let length = HEXUPPER.decode(&[*h0, *h1]).ok().and_then(|byte| byte.first().copied()).ok_or(refused)?;
    let (block, rest) = text.split_at_checked(usize::from(length)).ok_or(refused)?;
    let label = block.get(4..).filter(|label| !label.is_empty()).ok_or(refused)?;
    if [*id0, *id1] != *b"LB" || !label.iter().all(u8::is_ascii_graphic) {
        return Err(refused);
    }
    Ok((Some(label.iter().copied().map(char::from).collect()), rest))
}

fn decimal(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}, {}, {:?})", self.purpose.name(), self.algorithm.name(), self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivation::derivation_data;
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use cmac::Mac;
    use proptest::prelude::*;

    fn key(label: &str) -> KeyRef {
        KeyRef::parse(label).expect("a label")
    }

    fn sealed(label: &str, wrapped: usize) -> Block {
        Block::seal(&key(label), label, vec![0xAB; wrapped], |_| Ok::<_, BlockError>([0x11; 16])).expect("a block")
    }

    /// X9.24-3 as a partner's software does it: AES-ECB of the KEK over both blocks of derivation data.
    fn derive(kek: &[u8; 32], usage: Usage, direction: Direction) -> [u8; 32] {
        let mut key: [u8; 32] = derivation_data(usage, Algorithm::Aes256, direction.identifier()).try_into().expect("two blocks");
        let cipher = aes::Aes256::new(kek.into());
        for half in key.chunks_exact_mut(16) {
            cipher.encrypt_block(half.try_into().expect("a block"));
        }
        key
    }

    fn cmac(key: &[u8], message: &[u8]) -> [u8; 16] {
        let mut mac = cmac::Cmac::<aes::Aes256>::new_from_slice(key).expect("32 bytes");
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// The example of docs/keyblock.md: KEK 00 01 .. 1F, key 20 21 .. 3F.
    #[test]
    fn the_example_of_the_documentation_is_this_one() {
        let kek: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).expect("small"));
        let material: [u8; 32] = std::array::from_fn(|at| u8::try_from(at + 32).expect("small"));
        let wrapping = derive(&kek, Direction::Export.wrapping(), Direction::Export);
        let authenticating = derive(&kek, Direction::Export.mac(), Direction::Export);
        let mut wrapped = vec![0; 40];
        aes_kw::KwpAes256::new(&wrapping.into()).wrap_key(&material, &mut wrapped).expect("wraps");
        let label = "key:acme-receipts:3:mac:aes-256";
        let block = Block::seal(&key(label), label, wrapped, |message| Ok::<_, BlockError>(cmac(&authenticating, message)));
        let text = block.expect("a block").to_text();
        let documented = include_str!("../../docs/keyblock.md");
        for figure in [
            text.as_str(),
            &HEXUPPER.encode(&wrapping),
            &HEXUPPER.encode(&authenticating),
            &HEXUPPER.encode(&cmac(&material, &[0; 16])[..5]),
        ] {
            assert!(documented.contains(figure), "{figure}");
        }
        assert_eq!(Block::parse(text.as_bytes()).map(|block| block.is_of(&key(label))), Ok(true));
    }

    #[test]
    fn each_direction_has_keys_of_its_own() {
        let kek = [7; 32];
        let all = [Direction::Export, Direction::Import]
            .map(|direction| [direction.wrapping(), direction.mac()].map(|usage| derive(&kek, usage, direction)));
        let mut all = all.concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_block_parses_to_itself() {
        for (label, wrapped) in [("key:a:1:mac:aes-128", 24), ("key:a:99:encrypt:aes-256", 40), ("key:a:100:derive:aes-256", 40)] {
            let block = sealed(label, wrapped);
            let text = block.to_text();
            assert_eq!(Block::parse(text.as_bytes()), Ok(block), "{text}");
        }
    }

    #[test]
    fn a_block_is_of_the_key_of_its_header_and_of_no_other() {
        let block = sealed("key:a:1:mac:aes-256", 40);
        assert!(block.is_of(&key("key:a:1:mac:aes-256")));
        for other in
            ["key:a:2:mac:aes-256", "key:b:1:mac:aes-256", "key:a:1:encrypt:aes-256", "key:a:1:mac:aes-128", "key:a:1:wrap:aes-256"]
        {
            assert!(!block.is_of(&key(other)), "{other}");
        }
        let bare = Block { label: None, version: 0, ..block };
        assert!(bare.is_of(&key("key:b:7:mac:aes-256")) && !bare.is_of(&key("key:b:7:encrypt:aes-256")));
        assert_eq!(Block::parse(bare.to_text().as_bytes()), Ok(bare));
    }

    #[test]
    fn a_header_of_any_other_form_is_refused() {
        let good = sealed("key:a:1:mac:aes-256", 40).to_text();
        // Version, length, usage, algorithm, mode, exportability, optional blocks, reserved characters.
        for at in (0..9).chain(11..16) {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'5' { b'6' } else { b'5' };
            assert!(Block::parse(&bad).is_err(), "character {at}");
        }
        for cut in 0..good.len() {
            assert!(Block::parse(&good.as_bytes()[..cut]).is_err(), "{cut}");
        }
        assert!(Block::parse(format!("{good}00").as_bytes()).is_err());
        assert!(Block::parse(good.to_lowercase().as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn what_parses_is_written_back_as_it_was(at in 0_usize..170, byte: u8, more in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut text = sealed("key:a:1:mac:aes-256", 40).to_text().into_bytes();
            let length = text.len();
            text[at % length] = byte;
            for bytes in [text, more] {
                if let Ok(block) = Block::parse(&bytes) { prop_assert_eq!(block.to_text().into_bytes(), bytes); }
            }
        }
    }
}
