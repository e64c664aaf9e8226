//! `tillward kms`: what a back end does with managed keys, by hand. Bytes come from a file or standard input, never from an argument, and go as they
//! are to a file or a pipe.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tillward_hsm::{KeyName, SignatureScheme};
use zeroize::Zeroizing;

use super::failure::{Advice, advise};
use super::{Reach, output};

/// Uses of managed keys.
#[derive(Debug, Subcommand)]
pub(super) enum Kms {
    /// Sign a message
    Sign {
        #[command(flatten)]
        with: Protect,
        /// How, as a JWS names it (ES256, ES384, PS256, RS256 and so on); the key's own way, if absent
        #[arg(long, value_parser = scheme)]
        algorithm: Option<SignatureScheme>,
    },
    /// Verify a signature; ends with 1 if it is wrong
    Verify {
        #[command(flatten)]
        with: Protect,
        /// File with the signature
        #[arg(long, value_name = "FILE")]
        signature: PathBuf,
        /// How it was made; the key's own way, if absent
        #[arg(long, value_parser = scheme)]
        algorithm: Option<SignatureScheme>,
    },
    /// Make a MAC
    Mac {
        #[command(flatten)]
        with: Protect,
    },
    /// Verify a MAC; ends with 1 if it is wrong
    VerifyMac {
        #[command(flatten)]
        with: Protect,
        /// File with the MAC
        #[arg(long, value_name = "FILE")]
        mac: PathBuf,
    },
    /// Encrypt
    Encrypt {
        #[command(flatten)]
        with: Protect,
        /// File with what is authenticated and not encrypted
        #[arg(long, value_name = "FILE")]
        associated_data: Option<PathBuf>,
    },
    /// Decrypt, with the version that the ciphertext names
    Decrypt {
        #[command(flatten)]
        with: Process,
        /// File with what was authenticated and not encrypted
        #[arg(long, value_name = "FILE")]
        associated_data: Option<PathBuf>,
    },
    /// Wrap key material of 16, 24 or 32 bytes
    Wrap {
        #[command(flatten)]
        with: Protect,
    },
    /// Unwrap key material, with the version that the wrapped key names
    Unwrap {
        #[command(flatten)]
        with: Process,
    },
    /// Draw random bytes from the HSM
    Random {
        /// How many, up to 1024
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
        bytes: u32,
        #[command(flatten)]
        end: End,
    },
    /// Print the public keys of a key, or of all signing keys, as a JWK set
    Jwks {
        /// The key, or an alias of it; all signing keys, if absent
        key: Option<KeyName>,
        #[command(flatten)]
        reach: Reach,
    },
}

/// A use with the primary version, or another.
#[derive(Debug, Args)]
pub(super) struct Protect {
    #[command(flatten)]
    with: Process,
    /// The version of the key; the primary one, if absent
    #[arg(long)]
    version: Option<u32>,
}

/// A use with the version that the input names.
#[derive(Debug, Args)]
pub(super) struct Process {
    /// The key, or an alias of it
    key: KeyName,
    /// File with the input; standard input, if absent
    #[arg(long = "in", value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    end: End,
}

/// Where the answer goes.
#[derive(Debug, Args)]
pub(super) struct End {
    /// File for the output, as it is, for its owner alone; never over one that is there. Standard output, if absent: on a terminal in base64url
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Ask whether it may be done; use no key
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reach: Reach,
}

fn scheme(text: &str) -> Result<SignatureScheme, String> {
    let all = SignatureScheme::ALL;
    all.into_iter().find(|scheme| scheme.name() == text).ok_or_else(|| format!("one of {}", all.map(SignatureScheme::name).join(", ")))
}

pub(super) async fn run(command: Kms) -> anyhow::Result<ExitCode> {
    match command {
        Kms::Sign { with, algorithm } => {
            with.ask("sign", "message", [("algorithm", algorithm.map(|scheme| json!(scheme)))], "signature").await
        }
        Kms::Verify { with, signature, algorithm } => {
            let signature = encoded(&read(&signature)?);
            with.ask("verify", "message", [("signature", Some(signature)), ("algorithm", algorithm.map(|scheme| json!(scheme)))], "valid")
                .await
        }
        Kms::Mac { with } => with.ask("mac", "message", [], "mac").await,
        Kms::VerifyMac { with, mac } => with.ask("verify-mac", "message", [("mac", Some(encoded(&read(&mac)?)))], "valid").await,
        Kms::Encrypt { with, associated_data } => with.ask("encrypt", "plaintext", [associated(associated_data)?], "ciphertext").await,
        Kms::Decrypt { with, associated_data } => with.ask("decrypt", "ciphertext", [associated(associated_data)?], "plaintext").await,
        Kms::Wrap { with } => with.ask("wrap", "material", [], "wrapped").await,
        Kms::Unwrap { with } => with.ask("unwrap", "wrapped", [], "material").await,
        Kms::Random { bytes, end } => end.ask("/v1/random", &json!({"bytes": bytes}), "random").await,
        Kms::Jwks { key, reach } => {
            let path = key.map_or_else(|| "/v1/jwks.json".to_owned(), |key| format!("/v1/keys/{key}/jwks.json"));
            output::json(&reach.api()?.get(&path).await?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn associated(file: Option<PathBuf>) -> anyhow::Result<(&'static str, Option<Value>)> {
    Ok(("associated_data", file.map(|file| read(&file)).transpose()?.map(|bytes| encoded(&bytes))))
}

impl Protect {
    async fn ask<const N: usize>(
        self,
        verb: &str,
        input: &str,
        more: [(&str, Option<Value>); N],
        wanted: &str,
    ) -> anyhow::Result<ExitCode> {
        let version = ("version", self.version.map(Value::from));
        self.with.asked(verb, input, more.into_iter().chain([version]), wanted).await
    }
}

impl Process {
    async fn ask<const N: usize>(
        self,
        verb: &str,
        input: &str,
        more: [(&str, Option<Value>); N],
        wanted: &str,
    ) -> anyhow::Result<ExitCode> {
        self.asked(verb, input, more.into_iter(), wanted).await
    }

    async fn asked(
        self,
        verb: &str,
        input: &str,
        more: impl Iterator<Item = (&str, Option<Value>)>,
        wanted: &str,
    ) -> anyhow::Result<ExitCode> {
        let bytes = if let Some(path) = &self.input {
            read(path)?
        } else {
            let mut bytes = Zeroizing::new(Vec::new());
            std::io::stdin().read_to_end(&mut bytes).context("standard input cannot be read")?;
            bytes
        };
        let mut body = Map::new();
        body.insert(input.to_owned(), encoded(&bytes));
        body.extend(more.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        self.end.ask(&format!("/v1/keys/{}/{verb}", self.key), &Value::Object(body), wanted).await
    }
}

impl End {
    async fn ask(self, path: &str, body: &Value, wanted: &str) -> anyhow::Result<ExitCode> {
        let query = if self.dry_run { "?dry_run=true" } else { "" };
        let answer = self.reach.api()?.post(&format!("{path}{query}"), body).await?;
        if self.dry_run {
            self.reach.print(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        if wanted == "valid" {
            let valid = answer.get("valid").and_then(Value::as_bool) == Some(true);
            if self.reach.json {
                output::json(&answer);
            } else {
                let paint = output::Paint::stdout();
                println!("{}", if valid { paint.good("valid") } else { paint.bad("NOT valid") });
            }
            return Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if self.reach.json {
            output::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let text = answer.get(wanted).and_then(Value::as_str).unwrap_or_default();
        let bytes = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).map(Zeroizing::new).map_err(|_| {
            advise(format!("the answer holds no {wanted}"), "compare the versions of service and program (`tillward --version`).")
        })?;
        match &self.out {
            Some(path) => write(path, &bytes)?,
            None if std::io::stdout().is_terminal() => println!("{text}"),
            None => std::io::stdout().write_all(&bytes).context("standard output cannot be written")?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let remedy = "name a file that you may read.";
    std::fs::read(path).map(Zeroizing::new).with_context(|| Advice::new(format!("cannot read {}", path.display()), remedy))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let remedy = "name a file that is not there yet, in a folder that can be written.";
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .with_context(|| Advice::new(format!("cannot write {}", path.display()), remedy))
}

fn encoded(bytes: &[u8]) -> Value {
    Value::from(data_encoding::BASE64URL_NOPAD.encode(bytes))
}
