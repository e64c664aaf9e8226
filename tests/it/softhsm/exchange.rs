//! Keys on their way to and from partners, over each of the modules: what a partner's own software makes of them.

use sha2::{Digest as _, Sha256};
use tillward_hsm::{AcquirerKeys, BdkId, Deed, Hsm, HsmConfig, HsmError, KekRef, KeyRef, MadeKek, Refusal};

use super::MODULE;
use crate::partner::{self, Partner};
use crate::quorum;
use crate::token::{ACME, Token};

/// A token with the keys of the design, and what there was to give out when the exportable ones were made.
pub(crate) struct Exchange {
    pub(crate) token: Token,
    pub(crate) partner: Partner,
}

pub(crate) fn kek(label: &str) -> KekRef {
    KekRef::parse(label).expect("a label")
}

pub(crate) fn key(label: &str) -> KeyRef {
    KeyRef::parse(label).expect("a label")
}

pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, HsmError>) -> Refusal {
    match result.expect_err("a refusal") {
        HsmError::Refused(refusal) => refusal,
        other => Refusal::Token { function: "not refused".to_owned(), code: other.to_string() },
    }
}

/// An acquirer whose keys are made to be exported.
fn corp() -> AcquirerKeys {
    AcquirerKeys { name: "corp".to_owned(), bdk_pin: BdkId([0xC0, 0, 0, 1]), bdk_data: BdkId([0xC0, 0, 0, 2]), bits: 128 }
}

impl Exchange {
    pub(crate) async fn new() -> Option<Self> {
        Some(Self { token: Token::with_keys(MODULE).await?, partner: Partner::new() })
    }

    /// A ceremony: a KEK of that label, and what the partner has of it.
    pub(crate) async fn make_kek(&self, label: &str) -> (MadeKek, Vec<u8>) {
        let hsm = self.token.ceremony().await;
        let made = hsm.make_kek(&kek(label), self.partner.spki()).await.expect("makes the KEK");
        hsm.shutdown().await;
        let opened = self.partner.open(&made);
        (made, opened)
    }

    /// A host that works, and reads the officers' file.
    pub(crate) async fn start(&self) -> Hsm {
        let officers = Some(quorum::write(&self.token));
        Hsm::start(HsmConfig { officers, ..self.token.config() }).await.expect("the host is ready")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kek_is_made_once_and_only_its_partner_has_it() {
    let Some(exchange) = Exchange::new().await else { return };
    for label in ["kek:bank:1:key-block", "kek:bank:1:kwp"] {
        let (made, _) = exchange.make_kek(label).await;
        let flag = |name: &str| made.record.attributes.get(name).copied();
        assert_eq!((flag("SENSITIVE"), flag("EXTRACTABLE"), flag("MODIFIABLE")), (Some(true), Some(false), Some(false)), "{label}");
        let derives = label.ends_with("key-block");
        assert_eq!((flag("DERIVE"), flag("WRAP"), flag("UNWRAP")), (Some(derives), Some(!derives), Some(!derives)), "{label}");
        assert_ne!(flag("NEVER_EXTRACTABLE"), Some(true), "a copy left the token");
        assert_eq!((made.record.label.as_str(), made.record.bits, made.wrapped.len()), (label, 256, 384));

        let hsm = exchange.token.ceremony().await;
        let again = refusal(hsm.make_kek(&kek(label), exchange.partner.spki()).await);
        assert!(matches!(again, Refusal::KeyDiffers { .. }), "{again}");
        hsm.shutdown().await;
    }
    let hsm = exchange.start().await;
    assert_eq!(refusal(hsm.make_kek(&kek("kek:bank:2:kwp"), exchange.partner.spki()).await), Refusal::NotPermitted);
    assert_eq!(refusal(hsm.make_bdks(corp()).await), Refusal::NotPermitted);
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exportable_bdks_work_as_others_do_and_their_escrow_blocks_are_given_once() {
    let Some(exchange) = Exchange::new().await else { return };
    let hsm = exchange.token.ceremony().await;
    let made = hsm.make_bdks(corp()).await.expect("makes them");
    assert_eq!(made.iter().map(|key| key.record.label.as_str()).collect::<Vec<_>>(), ["bdk-pin:corp:C0000001", "bdk-data:corp:C0000002"]);
    for key in &made {
        let flag = |name: &str| key.record.attributes.get(name).copied();
        assert_eq!((flag("DERIVE"), flag("EXTRACTABLE"), flag("SENSITIVE")), (Some(true), Some(false), Some(true)));
        assert!(flag("LOCAL") != Some(true) && flag("NEVER_EXTRACTABLE") != Some(true), "{:?}", key.record);
        assert_eq!(key.record.bits, 128);
        let escrow = tillward_hsm::Escrow::parse(key.escrow.as_ref().expect("an escrow block")).expect("parses");
        assert_eq!(escrow.label(), key.record.label);
    }
    let again = refusal(hsm.make_bdks(corp()).await);
    assert!(matches!(again, Refusal::KeyDiffers { .. }), "{again}");
    let other = AcquirerKeys { name: "other".to_owned(), bdk_pin: ACME.0, ..corp() };
    assert!(matches!(refusal(hsm.make_bdks(other).await), Refusal::KeyDiffers { .. }));
    hsm.shutdown().await;

    // The ring has them, with their length, and a phone is personalised from them.
    let hsm = exchange.start().await;
    assert!(hsm.acquirers().await.expect("acquirers").contains(&corp()));
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bdk_leaves_in_a_block_that_the_acquirer_opens() {
    let Some(exchange) = Exchange::new().await else { return };
    let (_, shared) = exchange.make_kek("kek:bank:1:key-block").await;
    let (_, bare) = exchange.make_kek("kek:bank:1:kwp").await;
    let ceremony = exchange.token.ceremony().await;
    let made = ceremony.make_bdks(AcquirerKeys { bits: 256, ..corp() }).await.expect("makes them");
    ceremony.shutdown().await;

    let hsm = exchange.start().await;
    let pin = tillward_hsm::Escrow::parse(made[0].escrow.as_ref().expect("one")).expect("parses").owner().expect("a key");
    assert_eq!(pin.name.as_str(), "bdk-pin.corp");
    let escrow = || made[0].escrow.clone().expect("an escrow block");
    let under = kek("kek:bank:1:key-block");
    let approved = quorum::approved(Deed::ExportKey(pin.clone(), under.clone()));
    let block = hsm.export_key(&pin, &under, escrow(), &approved).await.expect("leaves");
    let opened = partner::open_block(&shared, &block).expect("the MAC verifies");
    assert_eq!((opened.attributes.as_str(), opened.label.as_deref()), ("B0AX01", Some("bdk-pin:corp:C0000001")));
    assert_eq!(Some(partner::kcv(&opened.key)), made[0].record.kcv);

    let under = kek("kek:bank:1:kwp");
    let approved = quorum::approved(Deed::ExportKey(pin.clone(), under.clone()));
    let blob = hsm.export_key(&pin, &under, escrow(), &approved).await.expect("leaves");
    assert_eq!(partner::unwrap(&bare, &blob), Some(opened.key));
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exportable_key_works_like_the_one_that_the_partner_got() {
    let Some(exchange) = Exchange::new().await else { return };
    let (_, shared) = exchange.make_kek("kek:bank:1:key-block").await;
    let hsm = exchange.start().await;
    let under = kek("kek:bank:1:key-block");
    for (label, attributes) in
        [("key:receipts:3:mac:aes-256", "M6AC03"), ("key:receipts:101:mac:aes-128", "M6AC00"), ("key:cards:1:encrypt:aes-256", "D0AB01")]
    {
        let key = key(label);
        let made = hsm.generate_key(&key, true).await.unwrap_or_else(|error| panic!("{label}: {error}"));
        let flag = |name: &str| made.record.attributes.get(name).copied();
        assert_eq!((flag("SENSITIVE"), flag("EXTRACTABLE"), flag("MODIFIABLE")), (Some(true), Some(false), Some(false)), "{label}");
        assert!(flag("LOCAL") != Some(true) && flag("NEVER_EXTRACTABLE") != Some(true), "{label} says that it never left");
        let escrow = made.escrow.clone().expect("an escrow block");
        let again = refusal(hsm.generate_key(&key, true).await);
        assert!(matches!(again, Refusal::KeyDiffers { .. }), "{label} is told of again, without its escrow block: {again}");

        let approved = quorum::approved(Deed::ExportKey(key.clone(), under.clone()));
        let block = hsm.export_key(&key, &under, escrow, &approved).await.expect("leaves");
        let opened = partner::open_block(&shared, &block).expect("the MAC verifies");
        assert_eq!((opened.attributes.as_str(), opened.label.as_deref()), (attributes, Some(label)));
        assert_eq!(Some(partner::kcv(&opened.key)), made.record.kcv, "{label}");
        if label.contains("mac") {
            let mac = hsm.key_mac(&key, b"a receipt".to_vec()).await.expect("MACs");
            assert_eq!(mac, crate::software::cmac(&opened.key, b"a receipt"), "{label}");
        } else {
            let sealed = hsm.key_encrypt(&key, b"order 7".to_vec(), b"a card").await.expect("encrypts");
            assert_eq!(*hsm.key_decrypt(&key, b"order 7".to_vec(), sealed).await.expect("decrypts"), b"a card");
        }
    }
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partners_key_comes_in_and_does_what_its_header_says() {
    let Some(exchange) = Exchange::new().await else { return };
    let (_, shared) = exchange.make_kek("kek:bank:1:key-block").await;
    let (_, bare) = exchange.make_kek("kek:bank:1:kwp").await;
    let hsm = exchange.start().await;
    let (long, short) = ([0x42; 32], [0x43; 16]);
    for (label, under, content, material) in [
        (
            "key:theirs:1:mac:aes-256",
            "kek:bank:1:key-block",
            partner::make_block(&shared, "M6AC01", Some("key:theirs:1:mac:aes-256"), &long),
            &long[..],
        ),
        ("key:theirs:2:mac:aes-128", "kek:bank:1:key-block", partner::make_block(&shared, "M6AC00", None, &short), &short[..]),
        ("key:theirs:1:mac:aes-128", "kek:bank:1:kwp", partner::wrap(&bare, &short), &short[..]),
        ("key:theirs:3:mac:aes-256", "kek:bank:1:kwp", partner::wrap(&bare, &long), &long[..]),
    ] {
        let (key, under) = (key(label), kek(under));
        let approved = quorum::approved(Deed::ImportKey(key.clone(), under.clone(), Sha256::digest(&content).into()));
        let made = hsm.import_key(&key, &under, content.clone(), &approved).await.unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!((made.record.kcv, made.escrow), (Some(partner::kcv(material)), None), "{label}");
        let flag = |name: &str| made.record.attributes.get(name).copied();
        assert_eq!((flag("SENSITIVE"), flag("EXTRACTABLE"), flag("MODIFIABLE")), (Some(true), Some(false), Some(false)), "{label}");
        assert_ne!(flag("LOCAL"), Some(true), "{label} was not made here");
        let mac = hsm.key_mac(&key, b"a receipt".to_vec()).await.expect("MACs");
        assert_eq!(mac, crate::software::cmac(material, b"a receipt"), "{label}");
        assert_eq!(hsm.read_key(&key).await.expect("reads").record.bits, if material.len() == 32 { 256 } else { 128 });
        let again = refusal(hsm.import_key(&key, &under, content, &approved).await);
        assert!(matches!(again, Refusal::KeyDiffers { .. }), "{again}");
        // A service that lost the row of the import must not take the partner's key for one that was made here.
        for exportable in [false, true] {
            let made = refusal(hsm.generate_key(&key, exportable).await);
            assert!(matches!(made, Refusal::KeyDiffers { .. }), "{label}: {made}");
        }
    }
    hsm.shutdown().await;

    // Another host, which finds them when it starts.
    let hsm = exchange.start().await;
    let mac = hsm.key_mac(&key("key:theirs:1:mac:aes-128"), b"a receipt".to_vec()).await.expect("MACs");
    assert_eq!(mac, crate::software::cmac(&short, b"a receipt"));
    hsm.shutdown().await;
}
