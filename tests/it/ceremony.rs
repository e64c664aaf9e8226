//! Key ceremonies as those who hold them do: the program, files, and a throw-away token or the installation's own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use p256::ecdsa::SigningKey;
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde_json::Value;
use tempfile::TempDir;
use tillward::cli::workplace;

use crate::service::PROGRAM;

/// A folder with the keys of those who are there.
struct Room {
    dir: TempDir,
}

const PEOPLE: [(&str, &str, u8); 2] = [("Ada", "leader", 1), ("Bob", "witness", 2)];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).expect("a scalar")
}

fn public(seed: u8) -> String {
    data_encoding::BASE64.encode(key(seed).verifying_key().to_public_key_der().expect("a key").as_bytes())
}

impl Room {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, _, seed) in PEOPLE {
            let pem = key(seed).to_pkcs8_pem(LineEnding::LF).expect("a key");
            std::fs::write(dir.path().join(format!("{name}.pem")), pem.as_bytes()).expect("writes");
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A ceremony file with these steps.
    fn file(&self, token: &str, steps: &str) -> PathBuf {
        let mut text = format!("title = \"Keys of the test\"\ntoken = \"{token}\"\n");
        for (name, part, seed) in PEOPLE {
            let _ = write!(text, "\n[[present]]\nname = \"{name}\"\npart = \"{part}\"\nkey = \"{}\"\n", public(seed));
        }
        text.push_str(steps);
        let path = self.path("ceremony.toml");
        std::fs::write(&path, text).expect("writes");
        path
    }

    fn sign(&self, transcript: &Path, name: &str, with: &str) -> Output {
        run(&["ceremony", "sign", text(transcript), "--name", name, "--key", text(&self.path(&format!("{with}.pem")))])
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().expect("it starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const ROOT: &str = "\n[[step]]\nmake = \"root-ca\"\norganisation = \"Example\"\nroot_days = 3650\nissuing_days = 1095\n";

#[test]
fn a_rehearsal_leaves_a_transcript_that_verifies_offline_when_all_have_signed() {
    let room = Room::new();
    let file = room.file("production 1", ROOT);
    let out = room.path("out");
    let held = run(&["ceremony", "rehearse", text(&file), "--out", text(&out)]);
    assert!(held.status.success(), "{}", said(&held));
    assert!(said(&held).contains("REHEARSAL"));
    let transcript = out.join("transcript.json");
    assert!(out.join("root.pem").exists() && out.join("issuing.pem").exists());

    let early = run(&["ceremony", "verify", text(&transcript), "--rehearsal"]);
    assert_eq!(early.status.code(), Some(1), "not everybody has signed: {}", said(&early));
    let forged = room.sign(&transcript, "Bob", "Ada");
    assert!(!forged.status.success() && said(&forged).contains("the signature of Bob does not verify"), "{}", said(&forged));
    for (name, _, _) in PEOPLE {
        let signed = room.sign(&transcript, name, name);
        assert!(signed.status.success(), "{}", said(&signed));
    }
    let again = room.sign(&transcript, "Ada", "Ada");
    assert!(!again.status.success(), "signed twice");

    let verified = run(&["ceremony", "verify", text(&transcript), "--rehearsal", "--json"]);
    assert!(verified.status.success(), "{}", said(&verified));
    let unsaid = run(&["ceremony", "verify", text(&transcript)]);
    assert!(!unsaid.status.success() && said(&unsaid).contains("the transcript of a rehearsal"), "{}", said(&unsaid));
    let verdict: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    let token_key = verdict["token_key"].as_str().expect("a digest");
    assert!(run(&["ceremony", "verify", text(&transcript), "--rehearsal", "--token-key", token_key]).status.success());
    let other = run(&["ceremony", "verify", text(&transcript), "--rehearsal", "--token-key", &"0".repeat(64)]);
    assert!(!other.status.success() && said(&other).contains("another token"), "{}", said(&other));

    // One digit of one key's fingerprint.
    let whole = std::fs::read_to_string(&transcript).expect("reads");
    let at = whole.find("\"fingerprint\": \"").expect("a key pair") + "\"fingerprint\": \"".len();
    let mut changed = whole.into_bytes();
    changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
    std::fs::write(&transcript, changed).expect("writes");
    let found = run(&["ceremony", "verify", text(&transcript), "--rehearsal"]);
    assert!(!found.status.success() && said(&found).contains("the token's signature does not verify"), "{}", said(&found));
}

#[test]
fn a_ceremony_for_another_token_or_without_approvals_does_not_touch_the_token() {
    let room = Room::new();
    let place = workplace::create(&room.path("place"), "acme", None).expect("SoftHSM is installed");
    let held = |file: &Path| {
        let (config, so_pin) = (place.config(), place.so_pin());
        let out = room.path("out");
        let arguments =
            ["ceremony", "run", text(file), "--config", text(&config), "--so-pin-file", text(&so_pin), "--out", text(&out), "--execute"];
        said(&run(&arguments))
    };
    let pair = "\n[[step]]\nmake = \"bdk-pair\"\nacquirer = \"acme\"\nbdk_pin = \"E1000001\"\nbdk_data = \"E1000002\"\nbits = 256\n";
    let other = held(&room.file("elsewhere", pair));
    assert!(other.contains("the file is for the token elsewhere, and the configuration leads to tillward"), "{other}");
    let unapproved = held(&room.file("tillward", ROOT));
    assert!(unapproved.contains("takes a plan approved for exactly this file"), "{unapproved}");
    assert_eq!(std::fs::read_dir(place.dir.join("tokens")).expect("a folder").count(), 0, "no token was made");
    assert!(!room.path("out").exists());
}

#[test]
fn a_run_without_execute_only_tells() {
    let room = Room::new();
    let place = workplace::create(&room.path("place"), "acme", None).expect("SoftHSM is installed");
    let pair = "\n[[step]]\nmake = \"bdk-pair\"\nacquirer = \"acme\"\nbdk_pin = \"E1000001\"\nbdk_data = \"E1000002\"\nbits = 256\n";
    let file = room.file("tillward", pair);
    let told = run(&["ceremony", "run", text(&file), "--config", text(&place.config())]);
    assert!(told.status.success() && said(&told).contains("Nothing was done"), "{}", said(&told));
    assert_eq!(std::fs::read_dir(place.dir.join("tokens")).expect("a folder").count(), 0, "no token was made");
}

#[test]
fn the_first_root_ca_is_made_with_two_officers_and_no_service() {
    let room = Room::new();
    let place = workplace::create(&room.path("place"), "acme", None).expect("SoftHSM is installed");
    let file = room.file("tillward", ROOT);
    let (plan, bundle, out) = (room.path("plan.txt"), room.path("bundle.json"), room.path("out"));
    let proposed = run(&["ceremony", "plan", text(&file), "--requester", "urn:tillward:principal:operator", "--out", text(&plan)]);
    assert!(proposed.status.success(), "{}", said(&proposed));
    let told = said(&proposed);
    let hash = told.lines().find_map(|line| line.strip_prefix("hash       ")).expect("a hash");
    let sign = |name: &str, agreed: &[&str]| {
        let (uri, key) = (format!("urn:tillward:principal:{name}"), place.dir.join(format!("tls/{name}-key.pem")));
        let arguments = ["approval", "sign", "--plan", text(&plan), "--as", &uri, "--bundle", text(&bundle), "--key", text(&key)];
        run(&[&arguments[..], agreed].concat())
    };
    let unsaid = sign("officer", &[]);
    assert!(!unsaid.status.success() && !bundle.exists(), "{}", said(&unsaid));
    for name in ["officer", "officer-2"] {
        let signed = sign(name, &["--hash", hash]);
        assert!(signed.status.success(), "{}", said(&signed));
    }
    assert!(!sign("officer", &["--hash", hash]).status.success(), "signed twice");

    let (config, so_pin, officers) = (place.config(), place.so_pin(), place.dir.join("officers.txt"));
    let run_it = |file: &Path| {
        let so_pin = ["--so-pin-file", text(&so_pin), "--out", text(&out), "--approvals", text(&bundle), "--execute"];
        run(&[&["ceremony", "run", text(file), "--config", text(&config)][..], &so_pin].concat())
    };
    let whole = std::fs::read_to_string(&file).expect("reads");
    let other = room.path("other.toml");
    std::fs::write(&other, whole.replace("3650", "3651")).expect("writes");
    let refused = run_it(&other);
    assert!(!refused.status.success() && said(&refused).contains("the approved plan is not for this file"), "{}", said(&refused));
    let held = run_it(&file);
    assert!(held.status.success(), "{}", said(&held));
    let transcript = out.join("transcript.json");
    for (name, _, _) in PEOPLE {
        assert!(room.sign(&transcript, name, name).status.success());
    }
    let verified = run(&["ceremony", "verify", text(&transcript), "--officers", text(&officers), "--json"]);
    assert!(verified.status.success(), "{}", said(&verified));
    let verdict: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!(verdict["approvals_verified"], true);
}
