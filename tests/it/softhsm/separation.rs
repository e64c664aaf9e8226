//! PKCS#11 key-separation attacks (Clulow 2003; Bortolozzo and others 2010) as a service would try them that was taken over: it says any sentence to the
//! host, with approvals that it forges, replays or changes. Each attack has its name. What the token stops by itself is tried in the HSM crate
//! (`host/attacks`), with the PIN and the module. The two modules refuse alike: none of the differences between them is in reach from here.

use sha2::{Digest as _, Sha256};
use tillward_hsm::{
    Approval, Approved, Deed, Escrow, Hsm, HsmError, KekRef, KeyAlgorithm, KeyName, KeyRef, Plan, Purpose, Refusal, SignatureScheme,
};

use super::exchange::{Exchange, kek, key, refusal};
use crate::partner;
use crate::quorum::{self, ANNA, BERT, CARL};

const BLOCK: &str = "kek:bank:1:key-block";
const BARE: &str = "kek:bank:1:kwp";
const MAC: &str = "key:receipts:1:mac:aes-256";

/// What a service that was taken over has: a host, an exportable key with its escrow block, and what the partner knows.
struct Scene {
    exchange: Exchange,
    hsm: Hsm,
    shared: Vec<u8>,
    bare: Vec<u8>,
    escrow: Vec<u8>,
}

impl Scene {
    async fn new() -> Option<Self> {
        let exchange = Exchange::new().await?;
        let (_, shared) = exchange.make_kek(BLOCK).await;
        let (_, bare) = exchange.make_kek(BARE).await;
        let hsm = exchange.start().await;
        let made = hsm.generate_key(&key(MAC), true).await.expect("makes");
        let escrow = made.escrow.expect("an escrow block");
        Some(Self { exchange, hsm, shared, bare, escrow })
    }

    async fn export(&self, label: &str, under: &str, escrow: &[u8]) -> Result<Vec<u8>, HsmError> {
        let approved = quorum::approved(Deed::ExportKey(key(label), kek(under)));
        self.hsm.export_key(&key(label), &kek(under), escrow.to_vec(), &approved).await
    }

    /// With a plan that is good for exactly this.
    async fn import(&self, key: &KeyRef, under: &str, content: &[u8]) -> Result<tillward_hsm::Generated, HsmError> {
        let approved = quorum::approved(Deed::ImportKey(key.clone(), kek(under), Sha256::digest(content).into()));
        self.hsm.import_key(key, &kek(under), content.to_vec(), &approved).await
    }

    /// The host is as well as before, and no key of that label is there.
    async fn end(self, absent: &[&str]) {
        for label in absent {
            assert!(matches!(refusal(self.hsm.read_key(&key(label)).await), Refusal::UnknownKey { .. }), "{label}");
        }
        self.hsm.canary().await.expect("sings");
        self.hsm.shutdown().await;
        drop(self.exchange);
    }
}

fn named(name: &str, purpose: Purpose, algorithm: KeyAlgorithm) -> KeyRef {
    KeyRef { name: name.parse().expect("a name"), version: 1, purpose, algorithm }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_wrap_then_decrypt() {
    let Some(scene) = Scene::new().await else { return };
    let blob = scene.export(MAC, BARE, &scene.escrow).await.expect("leaves, as approved");
    let material = partner::unwrap(&scene.bare, &blob).expect("the partner opens it");
    // A KEK's label is not a key's name, whatever is put into the parts.
    assert!(BARE.parse::<KeyName>().is_err() && KeyRef::parse(BARE).is_none() && KekRef::parse("key:bank:1:wrap:aes-256").is_none());
    let wrap = named("bank", Purpose::Wrap, KeyAlgorithm::Aes256);
    let encrypt = named("bank", Purpose::Encrypt, KeyAlgorithm::Aes256);
    assert!(matches!(refusal(scene.hsm.key_unwrap(&wrap, blob.clone()).await), Refusal::UnknownKey { .. } | Refusal::Busy));
    // Keys of the KEK's name, made by the service itself.
    let offers = scene.hsm.offers().await.expect("offers");
    for of_its_name in [&wrap, &encrypt] {
        if offers.contains(&(of_its_name.purpose, of_its_name.algorithm)) {
            scene.hsm.generate_key(of_its_name, false).await.expect("makes");
        }
    }
    scene.hsm.key_unwrap(&wrap, blob.clone()).await.expect_err("it is another key");
    scene.hsm.key_decrypt(&encrypt, Vec::new(), blob.clone()).await.expect_err("it is another key");
    for other in [&wrap, &encrypt] {
        scene.hsm.key_mac(other, b"x".to_vec()).await.expect_err("not for this");
    }
    // What does come out, comes out of the partner's hands only.
    let mac = scene.hsm.key_mac(&key(MAC), b"x".to_vec()).await.expect("MACs");
    assert_eq!(mac, crate::software::cmac(&material, b"x"));
    scene.end(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_wrap_under_a_weak_key() {
    let Some(exchange) = Exchange::new().await else { return };
    let hsm = exchange.token.ceremony().await;
    let spki = |bits: usize, exponent: &[u8]| {
        let modulus: Vec<u8> = (0..bits / 8).map(|at| if at == 0 { 0xC1 } else { 0x5B }).collect();
        rsa_spki(&modulus, exponent)
    };
    for (what, weak) in [
        ("RSA-1024", spki(1024, &[1, 0, 1])),
        ("RSA-2048", spki(2048, &[1, 0, 1])),
        ("exponent 3", spki(3072, &[3])),
        ("an even exponent", spki(3072, &[1, 0, 2])),
        ("exponent 1", spki(3072, &[1])),
        ("nothing", Vec::new()),
    ] {
        let refused = refusal(hsm.make_kek(&kek(BARE), weak).await);
        assert!(matches!(refused, Refusal::InvalidInput { .. }), "{what}: {refused}");
    }
    hsm.shutdown().await;
    // A KEK has one algorithm, and a key that wraps has too.
    for label in ["kek:bank:1:kwp:aes-128", "kek:bank:1:ecb", "key:bank:1:wrap:aes-128"] {
        assert!(KekRef::parse(label).is_none() && KeyRef::parse(label).is_none(), "{label}");
    }
    let hsm = exchange.start().await;
    let weak = named("bank", Purpose::Wrap, KeyAlgorithm::Aes128);
    hsm.generate_key(&weak, false).await.expect_err("no such key");
    hsm.generate_key(&weak, true).await.expect_err("no such key");
    let missing = Deed::ExportKey(key(MAC), kek(BARE));
    let made = hsm.generate_key(&key(MAC), true).await.expect("makes");
    let refused = hsm.export_key(&key(MAC), &kek(BARE), made.escrow.expect("one"), &quorum::approved(missing)).await;
    assert!(matches!(refusal(refused), Refusal::UnknownKey { .. }), "no KEK was made");
    hsm.shutdown().await;
}

fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    use rsa::pkcs8::EncodePublicKey as _;
    let number = rsa::BoxedUint::from_be_slice_vartime;
    rsa::RsaPublicKey::new_unchecked(number(modulus), number(exponent)).to_public_key_der().expect("DER").into_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_re_import_with_other_attributes() {
    let Some(scene) = Scene::new().await else { return };
    // What went out to make MACs does not come back at all: the partner's direction has other keys.
    let block = scene.export(MAC, BLOCK, &scene.escrow).await.expect("leaves");
    let copy = key("key:receipts:1:mac:aes-256");
    assert_eq!(refusal(scene.import(&copy, BLOCK, &block).await), Refusal::MacMismatch);
    // What a partner made to make MACs does not come in as anything else, whatever the officers approved.
    let theirs = partner::make_block(&scene.shared, "M6AC01", None, &[0x42; 32]);
    for other in ["key:a:1:encrypt:aes-256", "key:a:1:mac:aes-128", "key:a:2:mac:aes-256"] {
        assert_eq!(refusal(scene.import(&key(other), BLOCK, &theirs).await), Refusal::KeyBlockRefused, "{other}");
    }
    let labelled = partner::make_block(&scene.shared, "M6AC01", Some("key:a:1:mac:aes-256"), &[0x42; 32]);
    assert_eq!(refusal(scene.import(&key("key:b:1:mac:aes-256"), BLOCK, &labelled).await), Refusal::KeyBlockRefused);
    for (purpose, algorithm) in [
        (Purpose::Wrap, KeyAlgorithm::Aes256),
        (Purpose::Derive, KeyAlgorithm::Aes256),
        (Purpose::Mac, KeyAlgorithm::HmacSha256),
        (Purpose::Sign, KeyAlgorithm::EcP256),
        (Purpose::Ca, KeyAlgorithm::EcP384),
    ] {
        for (under, content) in [(BLOCK, theirs.clone()), (BARE, partner::wrap(&scene.bare, &[0x42; 32]))] {
            let refused = refusal(scene.import(&named("a", purpose, algorithm), under, &content).await);
            assert!(matches!(refused, Refusal::NotOffered { .. }), "{purpose:?} {under}: {refused}");
        }
    }
    // As a base derivation key.
    let bdk = named("bdk-data.acme", Purpose::Derive, KeyAlgorithm::Aes256);
    let refused = refusal(scene.import(&bdk, BLOCK, &partner::make_block(&scene.shared, "B0AX01", None, &[0x42; 32])).await);
    assert!(matches!(refused, Refusal::NotOffered { .. }), "{refused}");
    // And what comes in cannot be made to leave: it has no escrow block, and no other is its own.
    scene.import(&key("key:a:1:mac:aes-256"), BLOCK, &theirs).await.expect("as approved");
    assert_eq!(refusal(scene.export("key:a:1:mac:aes-256", BARE, &scene.escrow).await), Refusal::KeyBlockRefused);
    scene.end(&["key:b:1:mac:aes-256", "key:a:1:encrypt:aes-256", "key:a:2:mac:aes-256"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_derive_to_a_readable_key() {
    let Some(scene) = Scene::new().await else { return };
    // There is no sentence for it; the keys that derive are asked by every sentence there is.
    for (name, purpose) in [("bank", Purpose::Derive), ("bdk-data.acme", Purpose::Derive), ("receipts", Purpose::Derive)] {
        let base = named(name, purpose, KeyAlgorithm::Aes256);
        let hsm = &scene.hsm;
        hsm.generate_key(&base, true).await.expect_err("not made");
        hsm.generate_key(&base, false).await.expect_err("not made");
        hsm.key_encrypt(&base, Vec::new(), &[0; 16]).await.expect_err("does not encrypt");
        hsm.key_decrypt(&base, Vec::new(), vec![0; 44]).await.expect_err("does not decrypt");
        hsm.key_mac(&base, vec![0; 16]).await.expect_err("makes no MAC");
        hsm.key_wrap(&base, &[0; 32]).await.expect_err("does not wrap");
        hsm.key_unwrap(&base, vec![0; 40]).await.expect_err("does not unwrap");
        hsm.key_sign(&base, SignatureScheme::Es256, vec![0; 32]).await.expect_err("does not sign");
    }
    scene.end(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_conflicting_usages() {
    let Some(scene) = Scene::new().await else { return };
    // The same name and version for another purpose is another key, with another value.
    let twin = key("key:receipts:1:encrypt:aes-256");
    let made = scene.hsm.generate_key(&twin, true).await.expect("makes");
    let record = scene.hsm.read_key(&key(MAC)).await.expect("reads").record;
    assert_ne!(made.record.kcv, record.kcv);
    scene.hsm.key_mac(&twin, b"x".to_vec()).await.expect_err("an encryption key makes no MAC");
    scene.hsm.key_encrypt(&key(MAC), Vec::new(), b"x").await.expect_err("a MAC key does not encrypt");
    // An escrow block says what its key is for.
    let escrow = made.escrow.expect("one");
    assert_eq!(refusal(scene.export(MAC, BLOCK, &escrow).await), Refusal::KeyBlockRefused);
    let under = kek(BLOCK);
    let approved = quorum::approved(Deed::ExportKey(twin.clone(), under.clone()));
    assert_eq!(refusal(scene.hsm.export_key(&twin, &under, scene.escrow.clone(), &approved).await), Refusal::KeyBlockRefused);
    // And so does the label in what leaves.
    let block = scene.hsm.export_key(&twin, &under, escrow, &approved).await.expect("leaves");
    assert_eq!(partner::open_block(&scene.shared, &block).expect("verifies").attributes, "D0AB01");
    scene.end(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_export_of_a_key_that_was_not_made_exportable() {
    let Some(scene) = Scene::new().await else { return };
    let kept = "key:kept:1:mac:aes-256";
    let made = scene.hsm.generate_key(&key(kept), false).await.expect("makes");
    assert!(made.escrow.is_none());
    let told = scene.hsm.generate_key(&key(kept), true).await.expect("tells of it");
    assert!(told.escrow.is_none(), "a key does not become exportable");
    // No block, another key's, another key's with this label, this label with a MAC of zeros, cut, and lengthened.
    let relabelled = {
        let mut block = scene.escrow.clone();
        let length = u8::try_from(kept.len()).expect("short");
        let rest = block.split_off(12 + usize::from(block[10]));
        block.truncate(12);
        block[10] = length;
        [&block[..], kept.as_bytes(), &rest].concat()
    };
    assert_eq!(Escrow::parse(&relabelled).map(|block| block.label().to_owned()).as_deref(), Ok(kept));
    let zeros = [&relabelled[..relabelled.len() - 16], &[0; 16]].concat();
    for forged in [Vec::new(), scene.escrow.clone(), relabelled.clone(), zeros, relabelled[..relabelled.len() - 1].to_vec()] {
        assert_eq!(refusal(scene.export(kept, BARE, &forged).await), Refusal::KeyBlockRefused, "{} bytes", forged.len());
    }
    // Every byte of a good one counts.
    for at in (0..scene.escrow.len()).step_by(3) {
        let mut changed = scene.escrow.clone();
        changed[at] ^= 1;
        assert_eq!(refusal(scene.export(MAC, BARE, &changed).await), Refusal::KeyBlockRefused, "byte {at}");
    }
    // The base derivation keys of the set-up were not made to be exported.
    let bdk = named("bdk-data.acme", Purpose::Derive, KeyAlgorithm::Aes256);
    let approved = quorum::approved(Deed::ExportKey(bdk.clone(), kek(BARE)));
    assert_eq!(refusal(scene.hsm.export_key(&bdk, &kek(BARE), scene.escrow.clone(), &approved).await), Refusal::KeyBlockRefused);
    // Keys that wrap never travel.
    let wrap = named("bank", Purpose::Wrap, KeyAlgorithm::Aes256);
    scene.hsm.generate_key(&wrap, true).await.expect_err("never exportable");
    let approved = quorum::approved(Deed::ExportKey(wrap.clone(), kek(BARE)));
    let refused = refusal(scene.hsm.export_key(&wrap, &kek(BARE), scene.escrow.clone(), &approved).await);
    assert!(matches!(refused, Refusal::NotOffered { .. }), "{refused}");
    scene.end(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_export_with_a_plan_for_another_key_version_kek_or_form() {
    let Some(scene) = Scene::new().await else { return };
    let (asked, under) = (key(MAC), kek(BARE));
    for deed in [
        Deed::ExportKey(key("key:other:1:mac:aes-256"), under.clone()),
        Deed::ExportKey(key("key:receipts:2:mac:aes-256"), under.clone()),
        Deed::ExportKey(key("key:receipts:1:encrypt:aes-256"), under.clone()),
        Deed::ExportKey(key("key:receipts:1:mac:aes-128"), under.clone()),
        Deed::ExportKey(asked.clone(), kek("kek:other:1:kwp")),
        Deed::ExportKey(asked.clone(), kek("kek:bank:2:kwp")),
        Deed::ExportKey(asked.clone(), kek(BLOCK)),
        Deed::ImportKey(asked.clone(), under.clone(), [0; 32]),
        Deed::DestroyKey(asked.clone()),
        Deed::ReportCompromise(asked.clone()),
        Deed::ChangeOfficers([0; 32]),
    ] {
        let approved = quorum::approved(deed.clone());
        let refused = refusal(scene.hsm.export_key(&asked, &under, scene.escrow.clone(), &approved).await);
        assert!(matches!(refused, Refusal::NotApproved { .. }), "{deed:?}: {refused}");
    }
    scene.export(MAC, BARE, &scene.escrow).await.expect("as approved");
    scene.end(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_approvals_that_are_not() {
    let Some(scene) = Scene::new().await else { return };
    let (asked, under) = (key(MAC), kek(BARE));
    let deed = || Deed::ExportKey(asked.clone(), under.clone());
    let plan = quorum::plan(deed());
    let changed = |change: fn(&mut Plan)| {
        let mut changed = plan.clone();
        change(&mut changed);
        changed
    };
    let old = changed(|plan| (plan.created, plan.expires) = (plan.created - 7200, plan.created - 3600));
    let early = changed(|plan| (plan.created, plan.expires) = (plan.created + 7200, plan.created + 10_800));
    let longer = changed(|plan| plan.expires += 3600);
    let alone = changed(|plan| plan.quorum = 1);
    let nobody = changed(|plan| plan.quorum = 0);
    let three = changed(|plan| plan.quorum = 3);
    let replayed = quorum::signed(&quorum::plan(Deed::ExportKey(key("key:other:1:mac:aes-256"), under.clone())), &[ANNA, BERT]);
    let foreign = Approval { officer: "urn:tillward:principal:mallory".to_owned(), ..quorum::approval(&plan, BERT) };
    let borrowed = Approval { officer: BERT.to_owned(), ..quorum::approval(&plan, ANNA) };
    let empty = Approval { officer: BERT.to_owned(), signature: Vec::new() };
    let with = |plan: &Plan, approvals: Vec<Approval>| Approved { plan: plan.to_bytes(), approvals };
    for (attack, approved) in [
        ("no approval", quorum::signed(&plan, &[])),
        ("one approval only", quorum::signed(&plan, &[ANNA])),
        ("the same officer twice", quorum::signed(&plan, &[ANNA, ANNA])),
        ("the requester approves", quorum::signed(&plan, &[ANNA, CARL])),
        ("the requester makes up the number", quorum::signed(&three, &[ANNA, BERT, CARL])),
        ("fewer than the plan asks for", quorum::signed(&three, &[ANNA, BERT])),
        ("an expired plan", quorum::signed(&old, &[ANNA, BERT])),
        ("a plan of tomorrow", quorum::signed(&early, &[ANNA, BERT])),
        ("an expired plan, prolonged", with(&longer, quorum::signed(&plan, &[ANNA, BERT]).approvals)),
        ("a quorum of one", quorum::signed(&alone, &[ANNA, BERT])),
        ("a quorum of none", quorum::signed(&nobody, &[ANNA, BERT])),
        ("approvals of another plan", with(&plan, replayed.approvals.clone())),
        ("another plan whole", replayed),
        ("somebody who is no officer", with(&plan, vec![quorum::approval(&plan, ANNA), foreign])),
        ("an officer's name on another's signature", with(&plan, vec![quorum::approval(&plan, ANNA), borrowed])),
        ("an officer's name and no signature", with(&plan, vec![quorum::approval(&plan, ANNA), empty])),
        ("no plan", Approved { plan: Vec::new(), approvals: quorum::signed(&plan, &[ANNA, BERT]).approvals }),
    ] {
        let refused = refusal(scene.hsm.export_key(&asked, &under, scene.escrow.clone(), &approved).await);
        assert!(matches!(refused, Refusal::NotApproved { .. }), "{attack}: {refused}");
    }
    let good = quorum::signed(&plan, &[ANNA, BERT]);
    scene.hsm.export_key(&asked, &under, scene.escrow.clone(), &good).await.expect("as approved");
    // An officer who leaves takes the approval along.
    let officers = scene.exchange.token.path("officers");
    let text = std::fs::read_to_string(&officers).expect("the file");
    let without: String = text.lines().filter(|line| !line.starts_with(BERT)).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(&officers, without).expect("writes");
    let refused = refusal(scene.hsm.export_key(&asked, &under, scene.escrow.clone(), &good).await);
    assert!(matches!(refused, Refusal::NotApproved { .. }), "{refused}");
    scene.end(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_import_of_other_content_than_the_plans() {
    let Some(scene) = Scene::new().await else { return };
    let asked = key("key:theirs:1:mac:aes-256");
    for (under, good, other) in [
        (
            BLOCK,
            partner::make_block(&scene.shared, "M6AC01", None, &[0x42; 32]),
            partner::make_block(&scene.shared, "M6AC01", None, &[0x66; 32]),
        ),
        (BARE, partner::wrap(&scene.bare, &[0x42; 32]), partner::wrap(&scene.bare, &[0x66; 32])),
    ] {
        let hash = Sha256::digest(&good).into();
        let longer = [&good[..], b"\n"].concat();
        for (what, deed, content) in [
            ("other content", Deed::ImportKey(asked.clone(), kek(under), hash), &other),
            ("with a line feed", Deed::ImportKey(asked.clone(), kek(under), hash), &longer),
            ("for another key", Deed::ImportKey(key("key:theirs:2:mac:aes-256"), kek(under), hash), &good),
            ("for another purpose", Deed::ImportKey(key("key:theirs:1:encrypt:aes-256"), kek(under), hash), &good),
            ("for another KEK", Deed::ImportKey(asked.clone(), kek("kek:bank:2:kwp"), hash), &good),
            ("an export", Deed::ExportKey(asked.clone(), kek(under)), &good),
        ] {
            let refused = refusal(scene.hsm.import_key(&asked, &kek(under), content.clone(), &quorum::approved(deed)).await);
            assert!(matches!(refused, Refusal::NotApproved { .. }), "{what}, {under}: {refused}");
        }
    }
    scene.end(&["key:theirs:1:mac:aes-256"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_key_block_that_was_changed() {
    let Some(scene) = Scene::new().await else { return };
    let asked = key("key:theirs:1:mac:aes-256");
    let good = partner::make_block(&scene.shared, "M6AC01", Some(MAC), &[0x42; 32]);
    // Approved as it is, down to the changed character: officers do not verify MACs.
    for at in (0..good.len()).step_by(5).chain([good.len() - 1]) {
        let mut changed = good.clone();
        changed[at] = if changed[at] == b'7' { b'8' } else { b'7' };
        let refused = refusal(scene.import(&key(MAC), BLOCK, &changed).await);
        assert!(matches!(refused, Refusal::KeyBlockRefused | Refusal::MacMismatch), "character {at}: {refused}");
    }
    let [wrapping, authenticating] = partner::import_keys(&scene.shared);
    let wrapped = partner::wrap(&wrapping, &[0x42; 32]);
    let short = partner::seal(&authenticating, "M6AC01", None, &partner::wrap(&wrapping, &[0x42; 31]));
    let damaged = partner::seal(&authenticating, "M6AC01", None, &[&wrapped[..39], &[wrapped[39] ^ 1]].concat());
    for (what, content) in [
        ("a truncated MAC", good[..good.len() - 16].to_vec()),
        ("no MAC", good[..good.len() - 32].to_vec()),
        ("the other direction's keys", scene.export(MAC, BLOCK, &scene.escrow).await.expect("leaves")),
        ("a key of 31 bytes under a good MAC", short),
        ("a damaged key under a good MAC", damaged),
        ("a bare blob", partner::wrap(&scene.shared, &[0x42; 32])),
        ("nothing", Vec::new()),
    ] {
        let refused = refusal(scene.import(&asked, BLOCK, &content).await);
        let fits = matches!(refused, Refusal::KeyBlockRefused | Refusal::MacMismatch | Refusal::UnwrapFailed);
        assert!(fits, "{what}: {refused}");
    }
    for (what, content) in [
        ("a blob of 24 bytes for AES-256", partner::wrap(&scene.bare, &[0x42; 16])),
        ("31 bytes", partner::wrap(&scene.bare, &[0x42; 31])),
        ("25 bytes", partner::wrap(&scene.bare, &[0x42; 25])),
        ("under another KEK", partner::wrap(&scene.shared, &[0x42; 32])),
        ("noise", vec![0x5A; 40]),
        ("a block", good),
    ] {
        let refused = refusal(scene.import(&asked, BARE, &content).await);
        assert_eq!(refused, Refusal::UnwrapFailed, "{what}");
    }
    scene.end(&["key:theirs:1:mac:aes-256"]).await;
}
