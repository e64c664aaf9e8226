//! Writes the worked examples of docs/protocol.md, and finds a page that is not what the code does.

use std::fmt::Write as _;

use data_encoding::HEXUPPER;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::code::ActivationCode;
use crate::derivation::Usage;
use crate::dukpt::InitialKey;
use crate::encoding::Base64Url;
use crate::evidence::Findings;
use crate::key::{AesKey, Algorithm};
use crate::ksn::Ikid;
use crate::merchant_key::MerchantKey;
use crate::message::EnrolmentRequest;
use crate::secret::SecondSecret;
use crate::testing::configured;
use crate::{payment, pin_block, transcript, transport_key};

const HEADING: &str = "## 10. Worked examples\n";

/// One line of a block: a name and bytes.
fn line(page: &mut String, name: &str, bytes: impl AsRef<[u8]>) {
    writeln!(page, "{name:<28} {}", HEXUPPER.encode(bytes.as_ref())).expect("a string takes everything");
}

fn section(page: &mut String, title: &str, body: impl FnOnce(&mut String)) {
    write!(page, "\n### {title}\n\n```\n").expect("a string takes everything");
    body(page);
    page.push_str("```\n");
}

fn bytes_from(first: u8) -> [u8; 32] {
    std::array::from_fn(|place| first.wrapping_add(u8::try_from(place).expect("32 places")))
}

fn findings() -> Findings {
    Findings { app_digest: [0xA5; 32], os_version: 16, patch_level: "2025-11".to_owned(), debugger: false, root: false, emulator: false }
}

fn claims() -> Vec<String> {
    ["app_digest", "os_version", "patch_level", "debugger", "root", "emulator"].map(str::to_owned).to_vec()
}

fn page() -> String {
    let mut page = format!(
        "{HEADING}\nBytes are in hexadecimal. The keys are the examples' own; nothing here is a secret. A test writes this section.\n"
    );
    let code = ActivationCode::parse("abcd efgh jkmn pqrs tvwx yzo2").expect("a code");
    section(&mut page, "Activation code (§3.1)", |page| {
        writeln!(page, "typed                        abcd efgh jkmn pqrs tvwx yzo2").expect("written");
        writeln!(page, "read                         {}", code.expose_symbols()).expect("written");
        writeln!(page, "activation id                {}", code.id()).expect("written");
        for body in ["00000000000000000000000", "00000000000000000000001", "ZZZZZZZZZZZZZZZZZZZZZZZ"] {
            let whole = ActivationCode::with_check_symbol(body).expect("23 symbols");
            writeln!(page, "check symbol                 {body} -> {}", &whole.expose_symbols()[23..]).expect("written");
        }
    });
    let secret = SecondSecret::from_bytes(&bytes_from(0));
    let ikid: Ikid = "AABBCCDD00000007".parse().expect("an IKID");
    let (mac_key, kek) = (secret.mac_key(ikid), secret.personalization_kek(ikid));
    section(&mut page, "From the second secret (§5)", |page| {
        line(page, "S", secret.expose_bytes());
        line(page, "IKID of the data key", ikid.bytes());
        line(page, "K_mac", mac_key.expose_bytes());
        line(page, "K_kek", kek.expose_bytes());
    });
    let scalar = |first| p256::SecretKey::from_slice(&bytes_from(first)).expect("a scalar");
    let (transport, ephemeral) = (scalar(0x21), scalar(0x41));
    section(&mut page, "Second secret by key agreement (§3.4), same S", |page| {
        line(page, "transport private key", transport.to_bytes());
        line(page, "transport point", transport.public_key().to_sec1_bytes());
        line(page, "ephemeral private key", ephemeral.to_bytes());
        let agreed = p256::ecdh::diffie_hellman(ephemeral.to_nonzero_scalar(), transport.public_key().as_affine());
        line(page, "Z", agreed.raw_secret_bytes());
        line(page, "ECC-CMS-SharedInfo", transport_key::SHARED_INFO);
        line(page, "KEK", transport_key::agreed_key(&transport, &ephemeral.public_key()).expose_bytes());
        line(page, "wrapped_secret", transport_key::wrap_by_agreement(&transport.public_key(), &ephemeral, &secret));
    });
    let evidence = findings().evidence("software", &claims()).expect("known claims");
    section(&mut page, "Evidence (§6)", |page| {
        writeln!(page, "{}", serde_jcs::to_string(&evidence).expect("canonical")).expect("written");
        line(page, "D", evidence.digest());
    });
    let key = MerchantKey::from_bytes(&bytes_from(1)).expect("a key");
    let mut request = EnrolmentRequest {
        code: code.expose_symbols().to_owned(),
        challenge: "header.payload.signature".to_owned(),
        transport_kid: Base64Url::from(Sha256::digest(b"transport key")).to_string(),
        wrapped_secret: Base64Url(vec![0x5A; 384]),
        csr: key.certificate_request().into(),
        evidence,
        mac: Base64Url::default(),
    };
    request.mac = mac_key.cmac(&[&transcript::enrolment(&request)]).into();
    section(&mut page, "Enrolment transcript (§3.4)", |page| {
        writeln!(page, "challenge                    {}", request.challenge).expect("written");
        writeln!(page, "transport kid                {}", request.transport_kid).expect("written");
        writeln!(page, "wrapped_secret               5A, 384 times").expect("written");
        line(page, "private key", key.expose_bytes());
        line(page, "csr", &request.csr.0);
        line(page, "T", transcript::enrolment(&request));
        line(page, "mac", &request.mac.0);
    });
    let message = transcript::attestation(&request.challenge, &request.evidence.digest());
    section(&mut page, "Attestation (§4), same challenge and evidence", |page| {
        line(page, "M", &message);
        line(page, "mac", mac_key.cmac(&[&Sha256::digest(&message)]));
        line(page, "signature (RFC 6979)", key.sign(&message));
        line(page, "mac of a renewal, same csr", mac_key.cmac(&[&Sha256::digest(transcript::renewal(&request.challenge, &request.csr.0))]));
    });
    payments(&mut page, &kek, ikid);
    page
}

fn payments(page: &mut String, kek: &AesKey, ikid: Ikid) {
    let initial = |algorithm: Algorithm, first| {
        AesKey::new(algorithm, Zeroizing::new(bytes_from(first)[..algorithm.key_length()].to_vec())).expect("length")
    };
    let data = InitialKey::new(ikid, initial(Algorithm::Aes256, 0x80));
    let pin = InitialKey::new("1122334400000007".parse().expect("an IKID"), initial(Algorithm::Aes128, 0xC0));
    section(page, "Initial keys of a package (§3.6)", |page| {
        for (name, key) in [("data", &data), ("PIN", &pin)] {
            line(page, &format!("{name} initial key"), key.expose_key().expose_bytes());
            line(page, "  wrapped", kek.wrap(key.expose_key().expose_bytes()));
            line(page, "  kcv", key.expose_key().check_value());
        }
    });
    let counter = 0x0001_FFFE_u32.try_into().expect("a counter");
    section(page, "A payment (§7) with counter 0001FFFE", |page| {
        line(page, "ksn", data.ksn(counter).bytes());
        line(page, "data key", data.working_key(Usage::DataEncryption, counter).expose_bytes());
        line(page, "MAC key", data.working_key(Usage::MacGeneration, counter).expose_bytes());
        let account_data = b"4111111111111111=2912";
        line(page, "account data", account_data);
        let message = payment::encrypt(&data, counter, bytes_from(0x10)[..16].try_into().expect("16 bytes"), account_data, b"order 7");
        writeln!(page, "{}", serde_json::to_string(&message).expect("JSON")).expect("written");
    });
    let counter = 0x0002_0000_u32.try_into().expect("a counter");
    section(page, "A PIN block (§7) with the next counter, 00020000", |page| {
        line(page, "ksn", pin.ksn(counter).bytes());
        let key = pin.working_key(Usage::Pin, counter);
        line(page, "PIN key", key.expose_bytes());
        let fields = pin_block::Fields::new("1234", "4111111111111111", [0x2F, 0x69, 0xAD, 0xDE, 0x2E, 0x9E, 0x7A, 0xCE]).expect("digits");
        writeln!(page, "PIN, account, random         1234, 4111111111111111, 2F69ADDE2E9E7ACE").expect("written");
        line(page, "PIN block", fields.encrypt(&key));
    });
}

#[test]
fn the_page_says_what_the_code_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let text = std::fs::read_to_string(path).expect("the protocol page");
    let rules = text.split_once(HEADING).map_or(text.as_str(), |(rules, _)| rules);
    let fresh = format!("{}\n\n{}", rules.trim_end(), page());
    if configured("TILLWARD_WRITE_EXAMPLES").is_some() {
        std::fs::write(path, &fresh).expect("written");
    } else {
        assert!(
            text == fresh,
            "docs/protocol.md is not what the code does: run this test with TILLWARD_WRITE_EXAMPLES=1 and read the difference"
        );
    }
}
