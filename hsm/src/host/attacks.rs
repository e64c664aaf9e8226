//! What somebody tries who has the PIN and the module, and not Tillward: each attack on the keys of a ceremony, on each module. What no
//! module here stops stands in the list too, so that it is known by name (docs/operations.md, "Modules that were run").

mod managed;
mod partner;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};

use super::keeper::Host;
use super::object::{self, Ephemeral};
use super::pool::Session;
use super::ring::{self, Ring};
use super::templates::{self, Use};
use super::{HostArgs, create, ffi};
use crate::agreement;
use crate::derivation::{Algorithm, Usage};
use crate::ksn::BdkId;
use crate::model::{AcquirerKeys, KeySpec, Profile};
use crate::uri::Pkcs11Uri;

const SOFTHSM: [&str; 3] =
    ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"];

#[test]
fn softhsm_refuses_what_it_can_and_the_rest_is_known() {
    let library = SOFTHSM.into_iter().find(|path| Path::new(path).exists()).expect("SoftHSM is installed: apt install softhsm2");
    on_a_token("softhsm_refuses_what_it_can_and_the_rest_is_known", library.as_ref(), "SOFTHSM2_CONF", |tokens| {
        format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    });
}

#[test]
fn kryoptic_refuses_what_it_can_and_the_rest_is_known() {
    let Some(library) = std::env::var_os("TILLWARD_TEST_KRYOPTIC").map(PathBuf::from) else {
        eprintln!("SKIPPED, NOT RUN: TILLWARD_TEST_KRYOPTIC does not name kryoptic's module; tests/kryoptic/build makes it");
        return;
    };
    on_a_token("kryoptic_refuses_what_it_can_and_the_rest_is_known", &library, "KRYOPTIC_CONF", |tokens| {
        format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{tokens}/token.sql\"\n")
    });
}

/// The module reads its configuration's place from this process's environment, so the test runs itself again with it.
fn on_a_token(test: &str, library: &Path, variable: &str, configuration: impl Fn(&str) -> String) {
    if let Some(directory) = std::env::var_os("TILLWARD_TEST_ATTACK") {
        return attack(library, Path::new(&directory));
    }
    let directory = std::env::temp_dir().join(format!("tillward-attack-{}-{variable}", std::process::id()));
    let tokens = directory.join("tokens");
    std::fs::create_dir_all(&tokens).expect("a directory");
    std::fs::write(directory.join("conf"), configuration(tokens.to_str().expect("text"))).expect("configuration");
    for pin in ["pin", "so-pin"] {
        std::fs::write(directory.join(pin), format!("{pin}-4711-0815")).expect("a PIN");
    }
    let name = format!("{}::{test}", module_path!().split_once("::").expect("a module").1);
    let ended = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", &name, "--nocapture"])
        .env(variable, directory.join("conf"))
        .env("TILLWARD_TEST_ATTACK", &directory)
        .status();
    let _ = std::fs::remove_dir_all(&directory);
    assert!(ended.expect("runs").success());
}

/// A host, without workers.
fn host(library: &Path, directory: &Path) -> Host {
    let uri = Pkcs11Uri::new("attacked", library, &directory.join("pin")).expect("a URI");
    let host = Host::new(HostArgs { ceremony: true, ..HostArgs::of(uri) });
    host.look();
    host
}

fn attack(library: &Path, directory: &Path) {
    let soon = || Instant::now() + Duration::from_secs(5);
    let first = host(library, directory);
    let made = first.enter(soon()).map(|inner| create::init_token(&first, &inner, &directory.join("so-pin")).is_ok());
    assert_eq!(made, Some(true));
    first.close();
    let host = host(library, directory);
    {
        let inside = host.enter(soon()).expect("nobody else is there");
        let context = inside.context.as_ref().expect("a token that is logged in");
        let session = context.pool.aside().expect("a session");
        let acquirer = AcquirerKeys { name: "a".to_owned(), bdk_pin: BdkId([1; 4]), bdk_data: BdkId([2; 4]), bits: 256 };
        create::create_keys(&host, context, &session, &KeySpec { acquirers: vec![acquirer] }).map(drop).expect("makes the keys");
        let (ring, _) = ring::load(&session).expect("the keys");
        let attacker = Attacker { session: &session, profile: &context.profile, ring: &ring };
        attacker.uses_the_keys_otherwise();
        attacker.brings_a_stored_key_in();
        attacker.derives();
    }
    host.close();
    // A host finds the fixed keys when it starts.
    let host = self::host(library, directory);
    {
        let inside = host.enter(soon()).expect("nobody else is there");
        let context = inside.context.as_ref().expect("a token that is logged in");
        let session = context.pool.aside().expect("a session");
        let attacker = Attacker { session: &session, profile: &context.profile, ring: &context.ring };
        attacker.exchanges(&host, context);
        attacker.uses_managed_keys(&host, context);
    }
    host.close();
}

struct Attacker<'a> {
    session: &'a Session,
    profile: &'a Profile,
    ring: &'a Ring,
}

/// The template with one attribute changed, still sealed.
fn with(mut template: Vec<Attribute>, changed: Attribute) -> Vec<Attribute> {
    template.retain(|attribute| attribute.attribute_type() != changed.attribute_type());
    template.insert(0, changed);
    template
}

/// A derived key whose value can be read: neither sensitive nor tied to the token.
fn readable() -> Vec<Attribute> {
    with(templates::probe_readable(), Attribute::Extractable(true))
}

impl Attacker<'_> {
    fn key(&self, label: &str) -> ObjectHandle {
        self.ring.get(label).map(|key| key.handle.on(self.session).expect("its generation")).expect("a key of the ceremony")
    }

    /// What was made, if it was.
    fn made(&self, made: Result<ObjectHandle, Error>) -> Option<Ephemeral<'_>> {
        made.ok().map(|handle| Ephemeral::new(self.session, handle))
    }

    fn derive(&self, base: ObjectHandle, template: &[Attribute]) -> Option<Ephemeral<'_>> {
        object::derive(self.session, base, Usage::InitialKey, Algorithm::Aes256, [7; 8], template).ok()
    }

    fn is_readable(&self, key: &Ephemeral<'_>) -> bool {
        object::bytes(self.session, key.handle(), AttributeType::Value).is_ok_and(|value| value.is_some())
    }

    fn uses_the_keys_otherwise(&self) {
        let kek = self.key(templates::STORAGE_KEK);
        let kwp = ffi::plain(self.profile.kwp.expect("a module of the suite has it"));
        for key in self.ring.keys() {
            let (label, handle) = (&key.design.label, self.key(&key.design.label));
            assert_eq!(object::bytes(self.session, handle, AttributeType::Value).expect("answers"), None, "{label} is read");
            assert!(self.session.wrap_key(&kwp, kek, handle).is_err(), "{label} leaves under the storage KEK");
            for changed in
                [Attribute::Modifiable(true), Attribute::Decrypt(true), Attribute::Extractable(true), Attribute::Sensitive(false)]
            {
                assert!(self.session.update_attributes(handle, std::slice::from_ref(&changed)).is_err(), "{label} is changed: {changed:?}");
                let copied = self.made(self.session.copy_object(handle, &[Attribute::Token(false), changed.clone()]));
                assert!(copied.is_none(), "{label} is copied: {changed:?}");
            }
        }
        let block = Mechanism::AesCbc([0; 16]);
        assert!(self.session.decrypt(&block, kek, &[0; 40][..32]).is_err(), "the storage KEK decrypts what it wrapped");
        assert!(self.session.encrypt(&Mechanism::AesEcb, self.key("bdk-data:a:02020202"), &[0; 16]).is_err(), "a BDK encrypts");
    }

    /// A key block's content, unwrapped by somebody else than the host.
    fn brings_a_stored_key_in(&self) {
        let (kek, kwp) = (self.key(templates::STORAGE_KEK), ffi::plain(self.profile.kwp.expect("a module of the suite has it")));
        let stored = self.session.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::NOTHING, true));
        let stored = self.made(stored).expect("a session key");
        let blob = self.session.wrap_key(&kwp, kek, stored.handle()).expect("wraps");
        let unwrap = |template: &[Attribute]| self.made(self.session.unwrap_key(&kwp, kek, &blob, template));
        let any = |usage| templates::probe_unwrapped(usage, false, self.profile.value_len_on_unwrap);
        let open = unwrap(&with(any(templates::SIGN), Attribute::Sensitive(false)));
        assert_eq!(open.is_none(), self.profile.unwrap_template, "a stored key comes back readable");
        let extractable = unwrap(&with(any(templates::SIGN), Attribute::Extractable(true)));
        assert_eq!(extractable.is_none(), self.profile.unwrap_template, "a stored key comes back extractable");
        let generic = unwrap(&with(any(templates::SIGN), Attribute::KeyType(KeyType::GENERIC_SECRET)));
        assert_eq!(generic.is_none(), self.profile.unwrap_template, "a stored key comes back as a generic secret");

        let secret = unwrap(&templates::unwrapped_to_derive(self.profile)).expect("as the host does it");
        let below = self.derive(secret.handle(), &readable());
        assert_eq!(below.is_none(), self.profile.derive_template, "the host's second secret gives a readable key");
        // Known: the storage KEK's template cannot hold another one (kryoptic refuses it), so who unwraps without it is not bound by it.
        let unbound = unwrap(&any(templates::DERIVE)).expect("allowed");
        assert!(self.derive(unbound.handle(), &readable()).is_some_and(|key| self.is_readable(&key)));
    }

    fn derives(&self) {
        let bdk = self.key("bdk-data:a:02020202");
        let derived = |usage| templates::derived(Algorithm::Aes256, usage);
        let open = self.derive(bdk, &readable());
        assert_eq!(open.is_none(), self.profile.derive_template, "a BDK gives a readable initial key");
        assert!(open.is_none_or(|key| self.is_readable(&key)));
        let uses = [
            Use { encrypt: true, ..templates::NOTHING },
            templates::DECRYPT,
            templates::WRAP,
            templates::UNWRAP,
            Use { wrap: true, decrypt: true, ..templates::NOTHING },
        ];
        for usage in uses {
            assert_eq!(self.derive(bdk, &derived(usage)).is_none(), self.profile.derive_template, "an initial key may {usage:?}");
        }
        for usage in [templates::NOTHING, templates::SIGN, templates::DERIVE] {
            assert!(self.derive(bdk, &derived(usage)).is_some(), "the host derives {usage:?}");
        }
        // Known: an initial key leaves wrapped for its phone, so a BDK's template lets it be extractable; and what is below it is not bound.
        assert!(self.derive(bdk, &templates::derived_to_be_wrapped(Algorithm::Aes256)).is_some());
        let initial = self.derive(bdk, &derived(templates::DERIVE)).expect("allowed");
        assert!(self.derive(initial.handle(), &readable()).is_some_and(|key| self.is_readable(&key)));

        if self.profile.ecdh {
            let private = self.key(templates::ENROLMENT_TRANSPORT_EC);
            let point = p256::SecretKey::from_slice(&[9; 32]).expect("a scalar").public_key().to_sec1_bytes();
            let agree = |template: &[Attribute]| object::agree(self.session, private, &point, template).ok();
            assert!(agree(&templates::agreed(self.profile)).is_some());
            // Known: kryoptic 1.5 keeps to the template of a base key where it derives by AES, and does not look at it in a key agreement.
            let open = agree(&with(with(templates::agreed(self.profile), Attribute::Sensitive(false)), Attribute::Extractable(true)));
            assert!(open.is_some_and(|key| self.is_readable(&key)), "a key agreement is bound now: operations.md says it is not");
            assert_eq!(agreement::POINT, point.len());
        }
    }
}
