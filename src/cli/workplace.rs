//! `tillward new DIR`: everything a first try needs in one folder: configuration, SoftHSM token folder, PIN, TLS of a throw-away
//! authority, profiles for the roles. The demo and the tests start from the same folder.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SanType,
};

use super::failure::{Advice, advise};

/// Where distributions put SoftHSM's module.
const SOFTHSM: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Who gets a client certificate and a profile. Three officers: two approve, also where the third is the one who asks.
pub const PEOPLE: [(&str, &str); 6] = [
    ("backend", "backend"),
    ("operator", "operator"),
    ("officer", "officer"),
    ("officer-2", "officer"),
    ("officer-3", "officer"),
    ("auditor", "auditor"),
];

/// A folder made by [`create`].
#[derive(Debug, Clone)]
pub struct Workplace {
    /// The folder.
    pub dir: PathBuf,
}

impl Workplace {
    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("tillward.toml")
    }

    /// The profile of a role.
    pub fn profile(&self, role: &str) -> PathBuf {
        self.dir.join("profiles").join(format!("{role}.toml"))
    }

    /// The throw-away TLS authority, PEM.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("tls/ca.pem")
    }

    /// The security officer's PIN, for `tillward init --so-pin-file`.
    pub fn so_pin(&self) -> PathBuf {
        self.dir.join("so-pin")
    }

    /// Writes the addresses that the service really listens on into configuration and profiles.
    ///
    /// # Errors
    /// The files cannot be read or written, or somebody has changed the shape of the configuration.
    pub fn settle(&self, device: &str, backend: &str, local: &str) -> anyhow::Result<()> {
        let path = self.config();
        let mut text = fs::read_to_string(&path)?;
        for (section, address) in [("device", device), ("backend", backend), ("local", local)] {
            let head = format!("[listen.{section}]\naddress = \"");
            let start = text.find(&head).context("the configuration has lost its shape")? + head.len();
            let end = text.get(start..).and_then(|rest| rest.find('"')).context("the configuration has lost its shape")? + start;
            text.replace_range(start..end, address);
        }
        fs::write(&path, text)?;
        for (name, _) in PEOPLE {
            write_profile(&self.dir, name, backend)?;
        }
        Ok(())
    }
}

/// Makes the folder; refuses one that has a configuration already.
///
/// # Errors
/// SoftHSM is not installed, the folder is in use, or cannot be written.
pub fn create(dir: &Path, acquirer: &str, store_url: Option<&str>) -> anyhow::Result<Workplace> {
    let module = SOFTHSM
        .iter()
        .find(|path| Path::new(path).exists())
        .ok_or_else(|| advise("SoftHSM is not installed", "install it: apt-get install softhsm2."))?;
    for folder in ["", "tokens", "tls", "profiles"] {
        fs::create_dir_all(dir.join(folder))
            .with_context(|| Advice::new(format!("cannot make {}", dir.join(folder).display()), "name a folder that you may write in."))?;
    }
    let dir = dir.canonicalize()?;
    if dir.join("tillward.toml").exists() {
        let what = format!("{} holds a configuration already; nothing was changed", dir.display());
        return Err(advise(what, "name a new folder, or go on with `tillward serve --config` and that configuration."));
    }
    let mut random = [0_u8; 12];
    getrandom::fill(&mut random)?;
    let (pin, so_pin) = random.split_at(6);
    secret_file(&dir.join("pin"), data_encoding::HEXLOWER.encode(pin).as_bytes())?;
    secret_file(&dir.join("so-pin"), data_encoding::HEXLOWER.encode(so_pin).as_bytes())?;
    fs::write(
        dir.join("softhsm2.conf"),
        format!(
            "directories.tokendir = {}/tokens\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            dir.display()
        ),
    )?;
    fs::write(dir.join("appraisal.toml"), include_str!("../../policies/appraisal.toml"))?;
    tls(&dir)?;
    let here = dir.display();
    let store = store_url.unwrap_or("sqlite:tillward.db");
    let mut config = format!(
        r#"# A place to try Tillward in. docs/tillward.example.toml explains every field.
issuer = "https://tillward.example"

[hsm]
uri = "pkcs11:token=tillward?module-path={module}&pin-source=file:{here}/pin"

[hsm.environment]
SOFTHSM2_CONF = "{here}/softhsm2.conf"

[store]
url = "{store}"

[listen.device]
address = "127.0.0.1:0"
certificate = "tls/server.pem"
key = "tls/server-key.pem"

[listen.backend]
address = "127.0.0.1:0"
certificate = "tls/server.pem"
key = "tls/server-key.pem"
client_ca = "tls/ca.pem"

[listen.local]
address = "127.0.0.1:0"

[attestation]
policy = "appraisal.toml"

[approval]
officers = "officers.txt"

[[acquirer]]
name = "{acquirer}"
bdk_pin = "E1000001"
bdk_data = "E1000002"
"#
    );
    for (name, role) in PEOPLE {
        let _ =
            write!(config, "\n[[principal]]\nuri = \"urn:tillward:principal:{name}\"\nrole = \"{role}\"\nacquirers = [\"{acquirer}\"]\n");
        write_profile(&dir, name, "127.0.0.1:0")?;
    }
    fs::write(dir.join("tillward.toml"), config)?;
    Ok(Workplace { dir })
}

fn write_profile(dir: &Path, role: &str, address: &str) -> anyhow::Result<()> {
    let text = format!(
        "url = \"https://{address}\"\nca = \"../tls/ca.pem\"\ncertificate = \"../tls/{role}.pem\"\nkey = \"../tls/{role}-key.pem\"\n"
    );
    fs::write(dir.join("profiles").join(format!("{role}.toml")), text)?;
    Ok(())
}

/// A file that only its owner may read; never overwritten.
fn secret_file(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    Ok(())
}

/// A throw-away authority, a server certificate for loopback and one client certificate a role.
/// And the officers' file, with the public keys of theirs.
fn tls(above: &Path) -> anyhow::Result<()> {
    let dir = above.join("tls");
    let name = |common: &str| {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, common);
        name
    };
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name = name("Tillward throw-away TLS authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    fs::write(dir.join("ca.pem"), ca_certificate.pem())?;
    let issuer = Issuer::from_params(&ca, &ca_key);

    let leaf = |file: &str, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose| -> anyhow::Result<Vec<u8>> {
        let key = KeyPair::generate()?;
        params.distinguished_name = name(file);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        fs::write(dir.join(format!("{file}.pem")), params.signed_by(&key, &issuer)?.pem())?;
        secret_file(&dir.join(format!("{file}-key.pem")), key.serialize_pem().as_bytes())?;
        Ok(key.subject_public_key_info())
    };
    leaf(
        "server",
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])?,
        ExtendedKeyUsagePurpose::ServerAuth,
    )?;
    let mut officers = String::from("# Who can approve a plan: URI of the principal, public key. docs/approvals.md\n");
    for (name, role) in PEOPLE {
        let uri = format!("urn:tillward:principal:{name}");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
        let public = leaf(name, params, ExtendedKeyUsagePurpose::ClientAuth)?;
        if role == "officer" {
            let _ = writeln!(officers, "{uri} {}", data_encoding::BASE64.encode(&public));
        }
    }
    fs::write(above.join("officers.txt"), officers)?;
    Ok(())
}
