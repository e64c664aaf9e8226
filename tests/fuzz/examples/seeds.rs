//! Writes the committed seed corpus: a handful of valid inputs for every target, the same bytes every time.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tillward_fuzz::enrolment::code::ActivationCode;
use tillward_fuzz::jose::Typ;
use tillward_fuzz::wire::{b64url, hex};
use tillward_fuzz::{hsm_wire, signer};

fn write(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join(name), bytes).expect("a file");
}

fn evidence() -> Value {
    json!({"format": "software", "claims": {"app_digest": b64url::encode(&[7; 32]), "os_version": 15, "patch_level": "2025-11",
        "debugger": false, "root": false, "emulator": false}})
}

fn main() {
    let csr = signer::signed_request(signer::unsigned_request()).expect("encodes");
    let all = signer::challenge_claims(&["app_digest", "os_version", "patch_level", "debugger", "root", "emulator"]);
    let one = signer::challenge_claims(&["root"]);
    let jws = signer::jws(Typ::Challenge, all.to_string().as_bytes());
    let code = ActivationCode::from_random([0, 1, 2, 3, 4], &[5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    let (bytes16, bytes64) = (b64url::encode(&[6; 16]), b64url::encode(&[7; 64]));

    write("activation_code", "grouped", code.expose_groups().as_bytes());
    write("activation_code", "typed", "OOOG 4OR0 M3oE 2O9l 85GR 38ER");
    write("certificate_request", "phone", &csr);
    write("challenge", "all-claims", all.to_string());
    write("challenge", "one-claim", one.to_string());
    write("device_request", "enrolment-challenge", json!({"activation": "000G40R"}).to_string());
    write("device_request", "attest", json!({"purpose": "attest"}).to_string());
    write("device_request", "renew", json!({"purpose": "renew"}).to_string());
    let renewal = json!({"challenge": jws, "csr": b64url::encode(&csr), "mac": bytes16});
    write("device_request", "certificate", renewal.to_string());
    for (name, length) in [("ecdh", 105), ("rsa-3072", 384), ("rsa-4096", 512)] {
        let body = json!({"code": code.expose_symbols(), "challenge": jws, "transport_kid": b64url::encode(&[3; 32]),
            "wrapped_secret": b64url::encode(&vec![4; length]), "csr": b64url::encode(&csr), "evidence": evidence(), "mac": bytes16});
        write("enrolment_request", name, body.to_string());
    }
    let small = json!({"format": "software", "claims": {"root": false}});
    write("evidence", "all-claims", json!({"challenge": "a.b.c", "evidence": evidence(), "mac": bytes16}).to_string());
    let signed = json!({"challenge": "a.b.c", "evidence": small, "mac": bytes16, "signature": bytes64});
    write("evidence", "one-claim-signed", signed.to_string());
    for (name, frame) in hsm_wire::examples() {
        write("hsm_frame", name, &frame);
        write("hsm_frame", &format!("{name}-body"), &frame[4..]);
    }
    write("jws", "challenge", &jws);
    write("jws", "result", signer::jws(Typ::Ear, br#"{"sub":"x"}"#));
    let mut block = b"TWKB\x01\x01\x04\0\x01\0\0\x01\0\0\0\x28".to_vec();
    block.extend([9; 8 + 40 + 16]);
    write("key_block", "second-secret", &block);
    let mut escrow = b"TWEB\x01\x04\x01\0\0\x01\x16\x28key:acme:3:mac:aes-256".to_vec();
    escrow.extend([9; 40 + 16]);
    write("escrow_block", "managed", &escrow);
    let mut escrow = b"TWEB\x01\x02\0\x80\0\x01\x16\x18bdk-data:bolt:B0000002".to_vec();
    escrow.extend([9; 24 + 16]);
    write("escrow_block", "bdk", &escrow);
    let (wrapped, mac) = ("AB".repeat(40), "CD".repeat(16));
    write("partner_block", "labelled", format!("90154M6AC03N0100LB1Akey:acme:3:mac:aes-256{wrapped}{mac}"));
    write("partner_block", "bare", format!("90096D0AB00N0000{}{mac}", "AB".repeat(24)));
    let mut spki = b"\x30\x82\x01\xa2\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\0\x03\x82\x01\x8f\0".to_vec();
    spki.extend(b"\x30\x82\x01\x8a\x02\x82\x01\x81\0");
    spki.extend([0xC5; 384]);
    spki.extend(b"\x02\x03\x01\0\x01");
    write("partner_key", "rsa-3072", &spki);
    let ksn = hex::encode(&[0xAB; 12]);
    let message = json!({"ksn": ksn, "iv": bytes16, "aad": "b3JkZXIgNw", "ciphertext": b64url::encode(&[2; 32]), "mac": bytes16});
    write("payment_message", "decrypt", message.to_string());
    write("payment_message", "verify-mac", json!({"ksn": ksn, "data": "b3JkZXIgNw", "mac": bytes16}).to_string());
    let head = "tillward-plan 1\nid 07070707070707070707070707070707\nrequester urn:tillward:principal:operator\n\
        created 1795381200\nexpires 1795467600\nquorum 2\n";
    let (key, kek) = ("key acme\nversion 3\npurpose mac\nalgorithm aes-256\n", "kek partner\nkek-version 1\nform key-block\n");
    let content = format!("content {}\n", hex::encode(&[9; 32]).to_lowercase());
    write("plan", "destroy-key", format!("{head}deed destroy-key\n{key}"));
    write("plan", "export-key", format!("{head}deed export-key\n{key}{kek}"));
    write("plan", "import-key", format!("{head}deed import-key\n{key}{kek}{content}"));
    write("plan", "use-root-ca", format!("{head}deed use-root-ca\n{content}"));
    // RFC 6979 A.2.5 and the base point: any two keys.
    let (one, two) = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==",
    );
    write("roster", "two", format!("# officers\n\nurn:a:one {one}\nurn:a:two {two}\n"));
    write("token_uri", "softhsm", "pkcs11:token=tillward?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/tillward/pin");
    write("token_uri", "encoded", "pkcs11:token=two%20words?pin-source=file:///p%25n&module-path=/lib/a%26b.so");
}
