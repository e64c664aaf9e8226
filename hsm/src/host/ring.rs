//! The keys of the token, found once at start and held by handle. What is not exactly as designed is not put on the ring.

use std::collections::{BTreeMap, HashMap};

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use sha2::{Digest, Sha256};

use super::fault::{self, Fault};
use super::managed::shelf::Shelf;
use super::object;
use super::pool::{Handle, Session};
use super::public::{self, PublicKey};
use super::templates::{self, Design};
use crate::derivation::Algorithm;
use crate::error::Refusal;
use crate::ksn::BdkId;
use crate::managed::is_managed;
use crate::model::{AcquirerKeys, Finding, KeyKind, KeyPurpose, KeyRecord};

/// A long-lived key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) design: Design,
    /// Secret key or private half: the token object.
    pub(super) handle: Handle,
    /// The handle to work with: a session copy where there is one.
    pub(super) working: Handle,
    /// Public half.
    pub(super) public: Option<(Handle, PublicKey)>,
}

/// A base derivation key.
#[derive(Debug, Clone)]
pub(super) struct Bdk {
    pub(super) id: BdkId,
    pub(super) purpose: KeyPurpose,
    pub(super) acquirer: String,
    pub(super) handle: Handle,
    pub(super) algorithm: Algorithm,
}

/// All keys of the token that are as designed.
#[derive(Debug, Default)]
pub(super) struct Ring {
    keys: BTreeMap<String, Key>,
    bdks: HashMap<BdkId, Bdk>,
    /// Those that come and go while hosts run.
    pub(super) shelf: Shelf,
}

/// The token objects of one label.
pub(super) type Objects = Vec<Found>;

/// A token object of one of our labels.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) handle: ObjectHandle,
    class: ObjectClass,
    id: Option<Vec<u8>>,
}

impl Ring {
    /// The key of that label.
    pub(super) fn get(&self, label: &str) -> Result<&Key, Fault> {
        self.keys.get(label).ok_or_else(|| Refusal::UnknownKey { label: label.to_owned() }.into())
    }

    /// All keys.
    pub(super) fn keys_mut(&mut self) -> impl Iterator<Item = &mut Key> {
        self.keys.values_mut()
    }

    /// All keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// All base derivation keys.
    pub(super) fn bdks(&self) -> impl Iterator<Item = &Bdk> {
        self.bdks.values()
    }

    /// The BDK of that id and purpose.
    pub(super) fn bdk(&self, id: BdkId, purpose: KeyPurpose) -> Result<&Bdk, Fault> {
        self.bdks.get(&id).filter(|bdk| bdk.purpose == purpose).ok_or(Refusal::UnknownBdk.into())
    }

    /// The BDK of an acquirer.
    pub(super) fn bdk_of(&self, acquirer: &str, purpose: KeyPurpose) -> Result<&Bdk, Fault> {
        self.bdks().find(|bdk| bdk.purpose == purpose && bdk.acquirer == acquirer).ok_or(Refusal::UnknownBdk.into())
    }

    /// Acquirers with both BDKs, by name.
    pub(super) fn acquirers(&self) -> Vec<AcquirerKeys> {
        let mut acquirers: Vec<_> = self
            .bdks()
            .filter(|bdk| bdk.purpose == KeyPurpose::Data)
            .filter_map(|data| {
                let pin = self.bdk_of(&data.acquirer, KeyPurpose::Pin).ok()?;
                Some(AcquirerKeys { name: data.acquirer.clone(), bdk_pin: pin.id, bdk_data: data.id, bits: data.algorithm.bits() })
            })
            .collect();
        acquirers.sort_by(|a, b| a.name.cmp(&b.name));
        acquirers
    }

    fn insert(&mut self, key: Key) -> Result<(), &'static str> {
        if let Some((purpose, acquirer, id)) = templates::parse_bdk(&key.design.label) {
            let Some(algorithm) = Algorithm::of_bits(key.design.bits) else { return Err("its length is not that of an AES key") };
            if self.bdks.contains_key(&id) {
                return Err("another base derivation key has its id");
            }
            if self.bdk_of(acquirer, purpose).is_ok() {
                return Err("the acquirer has another base derivation key of this purpose");
            }
            let acquirer = acquirer.to_owned();
            self.bdks.insert(id, Bdk { id, purpose, acquirer, handle: key.handle, algorithm });
        }
        self.keys.insert(key.design.label.clone(), key);
        Ok(())
    }
}

/// Every key object of the token that bears a label of ours. One that goes while it is looked at is not there.
pub(super) fn list(session: &Session) -> Result<BTreeMap<String, Objects>, Error> {
    let mut found: BTreeMap<String, Objects> = BTreeMap::new();
    session.saw(session.find_objects(&[Attribute::Token(true)])?.len());
    for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        for handle in session.find_objects(&[Attribute::Class(class), Attribute::Token(true)])? {
            let label = match object::bytes(session, handle, AttributeType::Label) {
                Err(error) if fault::is_stale(&error) => continue,
                label => label?.unwrap_or_default(),
            };
            let Ok(label) = String::from_utf8(label) else { continue };
            if templates::designs(&label).is_empty() {
                continue;
            }
            match object::bytes(session, handle, AttributeType::Id) {
                Err(error) if fault::is_stale(&error) => {}
                id => found.entry(label).or_default().push(Found { handle, class, id: id? }),
            }
        }
    }
    Ok(found)
}

/// The key objects of one label.
pub(super) fn find(session: &Session, label: &str) -> Result<Objects, Error> {
    let mut found = Vec::new();
    for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let wanted = [Attribute::Class(class), Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec())];
        for handle in session.find_objects(&wanted)? {
            match object::bytes(session, handle, AttributeType::Id) {
                Err(error) if fault::is_stale(&error) => {}
                id => found.push(Found { handle, class, id: id? }),
            }
        }
    }
    Ok(found)
}

/// Looks at every key object of the token once. Gives the ring and a finding for each key that a token must have, missing ones too.
pub(super) fn load(session: &Session) -> Result<(Ring, Vec<Finding>), Error> {
    let (managed, found): (BTreeMap<_, _>, BTreeMap<_, _>) = list(session)?.into_iter().partition(|(label, _)| is_managed(label));
    let (mut ring, mut findings) = (Ring { shelf: Shelf::of(managed), ..Ring::default() }, Vec::new());
    for label in templates::FIXED {
        if !found.contains_key(label) {
            findings.push(Finding::failed(format!("key:{label}"), None, "the token does not have it: `tillward init` makes it"));
        }
    }
    for (label, objects) in found {
        let name = format!("key:{label}");
        findings.push(match recognise(session, &label, &objects) {
            Ok(key) => match ring.insert(key) {
                Ok(()) => Finding::passed(name, "present, as designed"),
                Err(problem) => Finding::failed(name, None, problem),
            },
            Err(Fault::Refused(refusal)) => Finding::failed(name, None, refusal.to_string()),
            Err(Fault::Token(error)) => Finding::failed(name, Some(fault::code(&error)), "the key cannot be read: it may be half made"),
        });
    }
    Ok((ring, findings))
}

/// The key that these objects of one label are, if they are exactly one key as designed.
pub(super) fn recognise(session: &Session, label: &str, objects: &[Found]) -> Result<Key, Fault> {
    let differs = |difference: &str| Fault::from(Refusal::KeyDiffers { label: label.to_owned(), difference: difference.to_owned() });
    let one = |class: ObjectClass| {
        let mut of_class = objects.iter().filter(|object| object.class == class);
        (of_class.next(), of_class.next().is_none())
    };
    let (secret, (private, one_private), (public, one_public)) =
        (one(ObjectClass::SECRET_KEY), one(ObjectClass::PRIVATE_KEY), one(ObjectClass::PUBLIC_KEY));
    let (handle, public) = match (secret, private, public) {
        ((Some(secret), true), None, None) => (secret.handle, None),
        ((None, _), Some(private), Some(public)) if one_private && one_public => {
            if private.id.is_none() || private.id != public.id {
                return Err(differs("private and public half have different ids"));
            }
            (private.handle, Some(public.handle))
        }
        _ => return Err(differs("not exactly one secret key, or one private and one public half")),
    };
    let (kind, bits) = kind(session, handle, public)?.ok_or_else(|| differs("its type is not known"))?;
    let mut designs = templates::designs(label).into_iter().filter(|design| design.kind == kind && design.bits == bits);
    let mut design = designs.next().ok_or_else(|| differs("its type or length is another"))?;
    while let Err(difference) = check(session, &design, handle, public) {
        design = designs.next().ok_or(difference)?;
    }
    let public = match public {
        None => None,
        Some(public) => {
            let key = public::read(session, public, kind)?.ok_or_else(|| differs("its public half is not a key"))?;
            Some((session.handle(public), key))
        }
    };
    let handle = session.handle(handle);
    Ok(Key { design, handle, working: handle, public })
}

/// Reads the attributes back and compares them with the design.
pub(super) fn check(session: &Session, design: &Design, handle: ObjectHandle, public: Option<ObjectHandle>) -> Result<(), Fault> {
    let halves = [(Some(handle), design.private_flags()), (public, design.public_flags())];
    for (object, expected) in halves {
        let Some(object) = object else { continue };
        if let Some(difference) = object::difference(&object::read_flags(session, object, &expected)?, &expected) {
            return Err(Refusal::KeyDiffers { label: design.label.clone(), difference }.into());
        }
    }
    Ok(())
}

fn kind(session: &Session, handle: ObjectHandle, public: Option<ObjectHandle>) -> Result<Option<(KeyKind, u16)>, Error> {
    let (mut key_type, mut length) = (None, None);
    for attribute in session.get_attributes(handle, &[AttributeType::KeyType])? {
        if let Attribute::KeyType(found) = attribute {
            key_type = Some(found);
        }
    }
    let Some(public) = public else {
        for attribute in session.get_attributes(handle, &[AttributeType::ValueLen])? {
            if let Attribute::ValueLen(found) = attribute {
                length = u16::try_from(*found).ok().and_then(|bytes| bytes.checked_mul(8)).filter(|bits| *bits > 0);
            }
        }
        if length.is_none() {
            length = object::bytes(session, handle, AttributeType::Id)?.as_deref().and_then(bits_of);
        }
        return Ok(match (key_type, length) {
            (Some(KeyType::AES), Some(bits)) => Some((KeyKind::Aes, bits)),
            (Some(KeyType::GENERIC_SECRET), Some(bits)) => Some((KeyKind::GenericSecret, bits)),
            _ => None,
        });
    };
    let parameters = object::bytes(session, public, AttributeType::EcParams)?;
    let modulus = object::bytes(session, public, AttributeType::Modulus)?;
    Ok(match (key_type, parameters.as_deref(), modulus) {
        (Some(KeyType::EC), Some(templates::P256), _) => Some((KeyKind::P256, 256)),
        (Some(KeyType::EC), Some(templates::P384), _) => Some((KeyKind::P384, 384)),
        (Some(KeyType::EC_EDWARDS), _, _) => Some((KeyKind::Ed25519, 256)),
        (Some(KeyType::RSA), _, Some(modulus)) => {
            u16::try_from(modulus.len()).ok().and_then(|bytes| bytes.checked_mul(8)).map(|bits| (KeyKind::Rsa, bits))
        }
        _ => None,
    })
}

/// `CKA_ID` of a key that is unwrapped on the token: SoftHSM 2.6.1 keeps no length of such a key, so it stands behind the random part.
pub(super) fn id_with_bits(random: &[u8], bits: u16) -> Vec<u8> {
    [random, &bits.to_be_bytes()].concat()
}

/// The length in an id of [`id_with_bits`]: an id of a key that was generated is 16 bytes long.
fn bits_of(id: &[u8]) -> Option<u16> {
    let (_, bits) = id.split_first_chunk::<16>()?;
    Some(u16::from_be_bytes(bits.try_into().ok()?))
}

/// The key of that label as the token has it now. `None` where there is none.
pub(super) fn present(session: &Session, label: &str) -> Result<Option<Key>, Fault> {
    let objects = find(session, label)?;
    if objects.is_empty() { Ok(None) } else { recognise(session, label, &objects).map(Some) }
}

/// A key as it is told to the service, read back from the token now.
pub(super) fn record(session: &Session, key: &Key, created: bool) -> Result<KeyRecord, Error> {
    let mut wanted = key.design.private_flags();
    wanted.extend(Design::provenance());
    let kcv = match (key.design.kind, key.design.usage.sign) {
        (KeyKind::Aes, true) => Some(object::check_value(session, key.handle.on(session)?)?),
        _ => None,
    };
    let check_value = if key.design.is_pair() {
        None
    } else {
        object::bytes(session, key.handle.on(session)?, AttributeType::CheckValue)?.filter(|value| !value.is_empty())
    };
    let spki = key.public.as_ref().map(|(_, public)| public.spki.clone());
    Ok(KeyRecord {
        label: key.design.label.clone(),
        kind: key.design.kind,
        bits: key.design.bits,
        kcv,
        check_value,
        fingerprint: spki.as_ref().map(|spki| Sha256::digest(spki).into()),
        spki,
        attributes: object::read_flags(session, key.handle.on(session)?, &wanted)?,
        created,
    })
}
