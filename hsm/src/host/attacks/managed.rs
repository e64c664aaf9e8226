//! What the token itself stops of managed keys: each does what its purpose says, by the mechanisms of its design.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};

use super::{Attacker, readable, with};
use crate::host::context::Context;
use crate::host::keeper::Host;
use crate::host::object;
use crate::host::templates::{self, Use};
use crate::host::{ffi, managed};
use crate::managed::KeyRef;
use crate::managed_op::Managed;

const PAIR: &str = "key:a:1:sign:ec-p256";
const RSA: &str = "key:a:1:sign:rsa-3072";
const MAC: &str = "key:a:1:mac:aes-256";
const HMAC: &str = "key:a:1:mac:hmac-sha256";
const SEAL: &str = "key:a:1:encrypt:aes-256";
const WRAP: &str = "key:a:1:wrap:aes-256";
const ALL: [&str; 6] = [PAIR, RSA, MAC, HMAC, SEAL, WRAP];

impl Attacker<'_> {
    pub(super) fn uses_managed_keys(&self, host: &Host, context: &Context) {
        for label in ALL {
            let asked = Managed::Generate { key: KeyRef::parse(label).expect("a label"), exportable: false };
            managed::perform(host, context, self.session, &asked).map(drop).expect("makes the key");
        }
        for label in ALL {
            self.takes_or_changes(label);
        }
        self.uses_for_something_else();
        self.wraps_then_decrypts_for_callers();
        self.brings_in_under_a_wrap_key();
    }

    /// No value leaves, under no wrapping key; nothing is changed, by itself or in a copy.
    fn takes_or_changes(&self, label: &str) {
        let (session, key) = (self.session, self.there(label));
        assert_eq!(object::bytes(session, key, AttributeType::Value).expect("answers"), None, "{label} is read");
        for kek in [self.key(templates::STORAGE_KEK), self.key(templates::EXPORT_KEK), self.there(WRAP)] {
            assert!(session.wrap_key(&self.kwp(), kek, key).is_err(), "{label} leaves wrapped");
        }
        let changes = [
            Attribute::Modifiable(true),
            Attribute::Extractable(true),
            Attribute::Sensitive(false),
            Attribute::Decrypt(true),
            Attribute::Derive(true),
        ];
        for changed in changes {
            assert!(session.update_attributes(key, std::slice::from_ref(&changed)).is_err(), "{label} is changed: {changed:?}");
            let copied = self.made(session.copy_object(key, &[Attribute::Token(false), changed.clone()]));
            assert!(copied.is_none(), "{label} is copied: {changed:?}");
        }
    }

    /// Conflicting usages (Clulow 2003), and the mechanisms that a purpose does not need.
    fn uses_for_something_else(&self) {
        let session = self.session;
        let block = [7; 16];
        for label in [MAC, SEAL, WRAP] {
            let key = self.there(label);
            for mechanism in [Mechanism::AesEcb, Mechanism::AesCbc(block)] {
                assert!(session.encrypt(&mechanism, key, &block).is_err(), "{label} encrypts blocks: {mechanism:?}");
                assert!(session.decrypt(&mechanism, key, &block).is_err(), "{label} decrypts blocks: {mechanism:?}");
            }
            assert!(self.derive(key, &readable()).is_none(), "{label} derives a readable key");
            assert_eq!(session.sign(&Mechanism::AesCMac, key, &block).is_ok(), label == MAC, "{label} makes a MAC");
            assert_eq!(self.seals(key).is_ok(), label == SEAL, "{label} encrypts");
            let caller = templates::managed::callers_to_be_wrapped(&[1; 32]);
            let caller = self.made(session.create_object(&caller)).expect("a session key");
            assert_eq!(session.wrap_key(&self.kwp(), key, caller.handle()).is_ok(), label == WRAP, "{label} wraps");
        }
        assert!(session.encrypt(&Mechanism::AesEcb, self.there(HMAC), &block).is_err(), "an HMAC key encrypts");
        let rsa = self.there(RSA);
        assert!(session.decrypt(&Mechanism::RsaPkcs, rsa, &[1; 384]).is_err(), "a signing key decrypts");
        let template = templates::probe_unwrapped(templates::SIGN, false, self.profile.value_len_on_unwrap);
        assert!(self.made(session.unwrap_key(&Mechanism::RsaPkcs, rsa, &[1; 384], &template)).is_none(), "a signing key unwraps");
        if self.profile.allowed_mechanisms {
            assert!(session.sign(&Mechanism::RsaX509, rsa, &[1; 384]).is_err(), "a signing key signs without padding");
            assert!(session.sign(&Mechanism::Sha1RsaPkcs, rsa, b"message").is_err(), "a signing key signs over SHA-1");
        }
        let point = p256::SecretKey::from_slice(&[9; 32]).expect("a scalar").public_key().to_sec1_bytes();
        let agreed = object::agree(session, self.there(PAIR), &point, &templates::agreed(self.profile));
        assert!(agreed.is_err(), "a signing key agrees on a key");
    }

    fn seals(&self, key: ObjectHandle) -> Result<Vec<u8>, Error> {
        let mut nonce = [1; 12];
        let parameters = GcmParams::new(&mut nonce, &[], 128_u64.into())?;
        self.session.encrypt(&Mechanism::AesGcm(parameters), key, b"text")
    }

    /// What a wrap key wrapped is opened by the key that encrypts, or by the wrap key itself as data.
    fn wraps_then_decrypts_for_callers(&self) {
        let caller = self.made(self.session.create_object(&templates::managed::callers_to_be_wrapped(&[1; 32]))).expect("a session key");
        let blob = self.session.wrap_key(&self.kwp(), self.there(WRAP), caller.handle()).expect("wraps");
        for label in [WRAP, SEAL] {
            for mechanism in [Mechanism::AesEcb, Mechanism::AesCbc([0; 16])] {
                assert!(self.session.decrypt(&mechanism, self.there(label), &blob[..32]).is_err(), "{label} decrypts what was wrapped");
            }
        }
        let template = templates::managed::callers_to_be_read(self.profile, 32);
        assert!(self.made(self.session.unwrap_key(&self.kwp(), self.there(SEAL), &blob, &template)).is_none(), "encrypt unwraps");
    }

    /// A key that the attacker knows becomes one of the token: as any kind of key that could be used, kept, or taken for another.
    fn brings_in_under_a_wrap_key(&self) {
        let (session, key) = (self.session, self.there(WRAP));
        let known = self.made(session.create_object(&templates::managed::callers_to_be_wrapped(&[1; 32]))).expect("a session key");
        let blob = session.wrap_key(&self.kwp(), key, known.handle()).expect("wraps");
        let callers = || templates::managed::callers_to_be_read(self.profile, 32);
        assert!(self.made(session.unwrap_key(&self.kwp(), key, &blob, &callers())).is_some(), "as the host does it");
        let mut attempts = vec![
            with(callers(), Attribute::Token(true)),
            with(callers(), Attribute::Sensitive(true)),
            with(callers(), Attribute::Extractable(false)),
            with(callers(), Attribute::KeyType(KeyType::GENERIC_SECRET)),
        ];
        for usage in [templates::SIGN, templates::DERIVE, templates::DECRYPT, templates::WRAP, Use { encrypt: true, ..templates::NOTHING }]
        {
            attempts.push(templates::probe_unwrapped(usage, false, self.profile.value_len_on_unwrap));
        }
        for template in attempts {
            let brought = self.made(session.unwrap_key(&self.kwp(), key, &blob, &template));
            assert_eq!(brought.is_none(), self.profile.unwrap_template, "{template:?}");
        }
        let foreign = self.made(session.unwrap_key(&ffi::plain(cryptoki_sys::CKM_AES_KEY_WRAP), key, &blob, &callers()));
        assert!(foreign.is_none(), "another mechanism unwraps");
    }
}
