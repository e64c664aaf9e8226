//! What others say of the certificates and the revocation list of a real service: OpenSSL, and pkilint (RFC 5280) where it is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scene::Scene;

/// The PKI of a service with one living phone and one retired one, as PEM files.
struct Pki {
    folder: TempDir,
    _scene: Scene,
}

/// Files of [`Pki`], each a certificate.
const CERTIFICATES: [&str; 6] = ["root", "issuing", "attestation", "personalization", "merchant", "retired"];

impl Pki {
    async fn make() -> Self {
        let scene = Scene::set().await;
        let (living, retired) = (scene.phone("t1", "standard").await, scene.phone("t2", "standard").await);
        let path = format!("/v1/devices/{}/retire", retired.device());
        scene.operator.post(&path, &json!({"reason": "lost"})).await.expect("retires");
        let bundle: Value = serde_json::from_slice(&scene.line.transport.trust().await.expect("a bundle")).expect("JSON");
        let folder = TempDir::new().expect("a temporary folder");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let leaf = |phone: &tillward_device::phone::Phone| phone.certificate_chain()[0].0.clone();
        let der = |value: &Value| data_encoding::BASE64URL_NOPAD.decode(text(value).as_bytes()).expect("base64url");
        for (name, label, der) in [
            ("root", "CERTIFICATE", der(&bundle["root"])),
            ("issuing", "CERTIFICATE", der(&bundle["issuing"][0])),
            ("attestation", "CERTIFICATE", der(&bundle["signing"][0])),
            ("personalization", "CERTIFICATE", der(&bundle["signing"][1])),
            ("merchant", "CERTIFICATE", leaf(&living)),
            ("retired", "CERTIFICATE", leaf(&retired)),
            ("crl", "X509 CRL", der(&bundle["crl"])),
        ] {
            let base64 = data_encoding::BASE64.encode(&der);
            let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
            let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
            std::fs::write(folder.path().join(format!("{name}.pem")), pem).expect("a file");
        }
        Self { folder, _scene: scene }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pem"))
    }

    /// `openssl verify`, and what it said.
    fn verify(&self, name: &str, more: &[&str]) -> (bool, String) {
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-check_ss_sig", "-CAfile"])
            .arg(self.file("root"))
            .arg("-untrusted")
            .arg(self.file("issuing"))
            .args(more)
            .arg(self.file(name))
            .output()
            .expect("openssl starts");
        (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }
}

/// Whether a program is there; says loudly when it is not.
fn is_there(program: &str, arguments: &[&str], how: &str) -> bool {
    let there = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIPPED: {program} is not installed ({how}); the certificates were not shown to it");
    }
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_verifies_every_chain_strictly_and_refuses_the_retired_phone() {
    if !is_there("openssl", &["version"], "apt-get install openssl") {
        return;
    }
    let pki = Pki::make().await;
    for name in CERTIFICATES {
        let (good, said) = pki.verify(name, &[]);
        assert!(good, "{name}: {said}");
    }
    let crl = pki.file("crl");
    let checked = ["-crl_check", "-CRLfile", crl.to_str().expect("UTF-8")];
    let (good, said) = pki.verify("merchant", &checked);
    assert!(good, "{said}");
    let (good, said) = pki.verify("retired", &checked);
    assert!(!good && said.contains("certificate revoked"), "{said}");
    // A certificate that the service did not issue.
    let (good, _) = pki.verify("../stranger", &[]);
    assert!(!good);
}

/// pkilint 0.13 asks of every URI that it is a URL, so that it has a host. RFC 5280 §4.2.1.6 asks for RFC 3986, and a URN is that.
fn takes_urls_only(finding: &str) -> bool {
    finding.contains("pkix.invalid_uri_syntax") && finding.contains("subjectAltName") && finding.contains(r#"\"urn:tillward:"#)
}

/// Runs a linter; its findings of severity ERROR and above.
fn findings(program: &Path, arguments: &[&str], file: &Path) -> Vec<String> {
    let output = Command::new(program)
        .arg("lint")
        .args(arguments)
        .args(["-s", "ERROR", "-f", "JSON", "--document-format", "PEM"])
        .arg(file)
        .output()
        .expect("the linter starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr)));
    let results = report["results"].as_array().expect("results");
    results
        .iter()
        .flat_map(|result| {
            let node = result["node_path"].as_str().unwrap_or_default();
            result["finding_descriptions"].as_array().expect("findings").iter().map(move |finding| format!("{node}: {finding}"))
        })
        .filter(|finding| !takes_urls_only(finding))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pkilint_finds_no_error_in_certificates_and_revocation_list() {
    let folder = std::env::var_os("TILLWARD_PKILINT").map(PathBuf::from).unwrap_or_default();
    let (certificate, crl) = (folder.join("lint_pkix_cert"), folder.join("lint_crl"));
    let how = "pip install pkilint; TILLWARD_PKILINT names the folder of its commands";
    if !is_there(certificate.to_str().expect("UTF-8"), &["--help"], how) {
        return;
    }
    let pki = Pki::make().await;
    let mut all: Vec<String> = Vec::new();
    for name in CERTIFICATES {
        all.extend(findings(&certificate, &[], &pki.file(name)).into_iter().map(|finding| format!("{name}: {finding}")));
    }
    all.extend(findings(&crl, &["-t", "CRL", "-p", "PKIX"], &pki.file("crl")).into_iter().map(|finding| format!("crl: {finding}")));
    assert!(all.is_empty(), "{}", all.join("\n"));

    // It can find something: a serial number with its sign changed.
    let pem = std::fs::read_to_string(pki.file("merchant")).expect("a file");
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = data_encoding::BASE64.decode(base64.as_bytes()).expect("base64");
    let serial = der.windows(4).position(|window| window[..3] == [0xA0, 0x03, 0x02]).expect("a version") + 5 + 2;
    der[serial] |= 0x80;
    let broken = pki.file("broken");
    let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", data_encoding::BASE64.encode(&der));
    std::fs::write(&broken, text).expect("a file");
    assert!(!findings(&certificate, &[], &broken).is_empty(), "a negative serial number must be found");
}
