//! What the token itself stops of what travels: partners' KEKs, keys that may be exported and their escrow blocks.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};

use super::{Attacker, readable, with};
use crate::block::Direction;
use crate::derivation::Algorithm;
use crate::escrow::Escrow;
use crate::host::context::Context;
use crate::host::keeper::Host;
use crate::host::object::{self, Ephemeral};
use crate::host::templates::{self, Use};
use crate::host::{ffi, managed, ring};
use crate::ksn::BdkId;
use crate::managed::KekRef;
use crate::managed_op::{Exchange, Generated, ManagedAnswer};
use crate::model::AcquirerKeys;
use crate::op::Answer;

const BLOCK: &str = "kek:bank:1:key-block";
const BARE: &str = "kek:bank:1:kwp";
const BDK: &str = "bdk-data:x:04040404";

/// A modulus of 3072 bits that nobody has the factors of at hand, in a `SubjectPublicKeyInfo`.
fn partner() -> Vec<u8> {
    let algorithm = [0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 5, 0];
    let mut modulus: Vec<u8> = (0..384_u32).map(|at| u8::try_from(at * 151 % 251).expect("small")).collect();
    (modulus[0], modulus[383]) = (0xC5, 0x3B);
    let key = [&[0x30, 0x82, 1, 0x8A, 2, 0x82, 1, 0x81, 0][..], &modulus, &[2, 3, 1, 0, 1]].concat();
    [&[0x30, 0x82, 1, 0xA2][..], &algorithm, &[3, 0x82, 1, 0x8F, 0], &key].concat()
}

impl Attacker<'_> {
    pub(super) fn exchanges(&self, host: &Host, context: &Context) {
        for label in [BLOCK, BARE] {
            let kek = KekRef::parse(label).expect("a label");
            let asked = Exchange::MakeKek { kek, partner: partner() };
            managed::exchange(host, context, self.session, &asked).map(drop).expect("makes the KEK");
        }
        let acquirer = AcquirerKeys { name: "x".to_owned(), bdk_pin: BdkId([3; 4]), bdk_data: BdkId([4; 4]), bits: 256 };
        let made = managed::exchange(host, context, self.session, &Exchange::MakeBdks { acquirer });
        let Ok(Answer::Managed(ManagedAnswer::Bdks(made))) = made else { panic!("makes the keys") };
        self.uses_keks_otherwise();
        self.wraps_then_decrypts();
        self.derives_below_a_kek();
        self.opens_an_escrow_block(&made);
    }

    pub(super) fn there(&self, label: &str) -> ObjectHandle {
        let key = ring::present(self.session, label).expect("as designed").expect("it is there");
        key.handle.on(self.session).expect("its generation")
    }

    pub(super) fn kwp(&self) -> Mechanism<'static> {
        ffi::plain(self.profile.kwp.expect("a module of the suite has it"))
    }

    /// Neither KEK nor exportable key leaves as an object, can be changed, or be copied into something else.
    fn uses_keks_otherwise(&self) {
        let export_kek = self.key(templates::EXPORT_KEK);
        for label in [BLOCK, BARE, BDK] {
            let handle = self.there(label);
            assert_eq!(object::bytes(self.session, handle, AttributeType::Value).expect("answers"), None, "{label} is read");
            for kek in [export_kek, self.key(templates::STORAGE_KEK), self.there(BARE)] {
                assert!(self.session.wrap_key(&self.kwp(), kek, handle).is_err(), "{label} leaves the token");
            }
            for changed in
                [Attribute::Modifiable(true), Attribute::Decrypt(true), Attribute::Extractable(true), Attribute::Sensitive(false)]
            {
                assert!(self.session.update_attributes(handle, std::slice::from_ref(&changed)).is_err(), "{label} is changed: {changed:?}");
                let copied = self.made(self.session.copy_object(handle, &[Attribute::Token(false), changed.clone()]));
                assert!(copied.is_none(), "{label} is copied: {changed:?}");
            }
        }
    }

    /// Clulow 2003: the key that wraps decrypts what it wrapped, as data or as a key that can be used or read.
    fn wraps_then_decrypts(&self) {
        for label in [BARE, templates::EXPORT_KEK] {
            let kek = self.there(label);
            let leaving = self.session.generate_key(&Mechanism::AesKeyGen, &templates::generated_to_be_wrapped(Algorithm::Aes256));
            let leaving = self.made(leaving).expect("a session key");
            let blob = self.session.wrap_key(&self.kwp(), kek, leaving.handle()).expect("wraps");
            for mechanism in [self.kwp(), Mechanism::AesEcb, Mechanism::AesCbc([0; 16])] {
                assert!(self.session.decrypt(&mechanism, kek, &blob[..32]).is_err(), "{label} decrypts");
                assert!(self.session.decrypt(&mechanism, kek, &blob).is_err(), "{label} decrypts");
            }
            let unwrap = |template: &[Attribute]| self.made(self.session.unwrap_key(&self.kwp(), kek, &blob, template));
            let any = |usage| templates::unwrapped_as(self.profile, Algorithm::Aes256, usage, true);
            for usage in [
                templates::SIGN,
                templates::VERIFY,
                templates::DERIVE,
                templates::WRAP,
                templates::UNWRAP,
                templates::DECRYPT,
                Use { encrypt: true, ..templates::NOTHING },
            ] {
                assert!(unwrap(&any(usage)).is_none(), "{label} gives a key that may {usage:?}");
            }
            assert!(unwrap(&with(any(templates::NOTHING), Attribute::Sensitive(false))).is_none(), "{label} gives a readable key");
            let back = unwrap(&any(templates::NOTHING)).expect("as the host does it");
            assert_eq!(self.session.wrap_key(&self.kwp(), kek, back.handle()).expect("wraps"), blob);
            assert!(self.session.sign(&Mechanism::AesCMac, back.handle(), &[0; 16]).is_err(), "what came back is used");
            assert!(self.session.update_attributes(back.handle(), &[Attribute::Sign(true)]).is_err(), "what came back is given a use");
        }
    }

    /// A KEK of the form `key-block` derives; the token holds what it derives to wrapping and to MACs where the module knows such a template.
    fn derives_below_a_kek(&self) {
        let kek = self.there(BLOCK);
        assert!(self.session.sign(&Mechanism::AesCMac, kek, &[0; 16]).is_err(), "a KEK makes MACs");
        let leaving = self.session.generate_key(&Mechanism::AesKeyGen, &templates::generated_to_be_wrapped(Algorithm::Aes256));
        let leaving = self.made(leaving).expect("a session key");
        assert!(self.session.wrap_key(&self.kwp(), kek, leaving.handle()).is_err(), "a KEK that derives wraps");
        let derive = |template: &[Attribute]| {
            let direction = Direction::Export;
            object::derive(self.session, kek, direction.wrapping(), Algorithm::Aes256, direction.identifier(), template).ok()
        };
        let uses = [templates::DECRYPT, templates::DERIVE, Use { wrap: true, decrypt: true, ..templates::NOTHING }];
        for usage in uses {
            let derived = derive(&templates::derived(Algorithm::Aes256, usage));
            assert_eq!(derived.is_none(), self.profile.derive_template, "a key below a KEK may {usage:?}");
        }
        // Known: SoftHSM 2.6.1 has no template for what is derived, so the value of the key that wraps can be read by who has the PIN.
        let open = derive(&readable());
        assert_eq!(open.is_none(), self.profile.derive_template);
        assert!(open.is_none_or(|key| self.is_readable(&key)));
    }

    /// Known: who has the PIN and the escrow block has the key. No token of the suite holds a key to being wrapped under trusted keys only, so it leaves
    /// under a key that the thief brought (docs/keyblock.md, "What is promised").
    fn opens_an_escrow_block(&self, made: &[Generated]) {
        let escrow = made.iter().find(|key| key.record.label == BDK).and_then(|key| key.escrow.as_ref()).expect("one was given");
        let escrow = Escrow::parse(escrow).expect("parses");
        let template = templates::unwrapped_as(self.profile, Algorithm::Aes256, templates::NOTHING, true);
        let unwrapped = self.session.unwrap_key(&self.kwp(), self.key(templates::EXPORT_KEK), escrow.wrapped(), &template);
        let leaving = Ephemeral::new(self.session, unwrapped.expect("as the host does it"));
        let own = self.session.create_object(&templates::public_test_value(&[5; 32], templates::WRAP, false));
        let own = self.made(own).expect("a key of the thief");
        assert_eq!(self.session.wrap_key(&self.kwp(), own.handle(), leaving.handle()).expect("leaves").len(), 40);
        let storage = self.session.unwrap_key(&self.kwp(), self.key(templates::STORAGE_KEK), escrow.wrapped(), &template);
        assert!(storage.is_err(), "the storage KEK opens an escrow block");
    }
}
