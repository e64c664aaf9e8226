//! `tillward ceremony`

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use tillward_hsm::{Approved, Deed, Plan};

use super::output::{self, Paint};

use super::{progress, this_program, workplace};
use crate::ceremony::{CeremonyFile, Signature, Transcript, Verdict};
use crate::clock::Clock;
use crate::config::Config;
use crate::ops::ceremony::{Ceremony as Holding, file_digest};
use crate::ops::officers::OfficersFile;

/// Key ceremonies.
#[derive(Debug, Subcommand)]
pub(super) enum Ceremony {
    /// Hold the ceremony of a file on a throw-away SoftHSM token, by the same steps as for real
    Rehearse(Rehearse),
    /// Hold the ceremony of a file; without --execute, only tell what would be made and refuse what would be refused
    Run(Run),
    /// Write the plan that officers approve before a ceremony uses the root CA, without the service
    Plan(Propose),
    /// Sign a transcript as somebody who was there
    Sign(Sign),
    /// Verify a transcript, without the token and without the service
    Verify(Verify),
}

#[derive(Debug, Args)]
pub(super) struct Rehearse {
    /// The ceremony file
    file: PathBuf,
    /// Folder for transcript and outputs; without it they are thrown away with the token
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// JSON for machines
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The ceremony file
    file: PathBuf,
    /// Configuration of the installation: it says by which module and PIN file the token of the file is reached
    #[arg(long, default_value = "tillward.toml")]
    config: PathBuf,
    /// File with the security officer's PIN: only needed when the token itself has to be made; the HSM host reads it
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PathBuf>,
    /// The approved plan, where the file uses the root CA: the bundle of `tillward approval sign --plan`
    #[arg(long, value_name = "FILE")]
    approvals: Option<PathBuf>,
    /// Folder for transcript and outputs; it must not hold any yet
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Make the keys
    #[arg(long)]
    execute: bool,
    /// JSON for machines
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Propose {
    /// The ceremony file
    file: PathBuf,
    /// Who asks: URI; cannot approve it
    #[arg(long, value_name = "URI")]
    requester: String,
    /// How long it stands open
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=336))]
    hours: u16,
    /// Approvals that are needed, 2 to 8
    #[arg(long, default_value_t = 2)]
    quorum: u32,
    /// Where the plan is written; never over a file that is there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The transcript; the signature is added to it
    transcript: PathBuf,
    /// Your name, as in the ceremony file
    #[arg(long)]
    name: String,
    #[command(flatten)]
    with: super::signer::With,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The transcript
    transcript: PathBuf,
    /// SHA-256 of the installation's `audit-signing` public key, as `tillward init` and `tillward key inventory` print it: whose token it was
    #[arg(long, value_name = "SHA256")]
    token_key: Option<String>,
    /// The officers' file of that time, from where it can be trusted: verifies the approvals with it
    #[arg(long, value_name = "FILE")]
    officers: Option<PathBuf>,
    /// It is the transcript of a rehearsal: otherwise a rehearsal fails
    #[arg(long)]
    rehearsal: bool,
    /// JSON for machines
    #[arg(long)]
    json: bool,
}

const TRANSCRIPT: &str = "transcript.json";

pub(super) async fn run(command: Ceremony) -> anyhow::Result<()> {
    match command {
        Ceremony::Rehearse(args) => rehearse(args).await,
        Ceremony::Run(args) => hold(args).await,
        Ceremony::Plan(args) => propose(args),
        Ceremony::Sign(args) => sign(&args).await,
        Ceremony::Verify(args) => verify(&args),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn propose(args: Propose) -> anyhow::Result<()> {
    let text = read(&args.file)?;
    if !CeremonyFile::parse(&text)?.uses_root_ca() {
        bail!("the file does not use the root CA: it takes no plan");
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    let created = Clock::system().now().0;
    let expires = created + i64::from(args.hours) * 3600;
    let deed = Deed::UseRootCa(file_digest(&text));
    let plan = Plan { id, requester: args.requester, created, expires, quorum: args.quorum, deed };
    // What was given may not make a plan.
    let plan = Plan::parse(&plan.to_bytes())?;
    let file = fs::OpenOptions::new().write(true).create_new(true).open(&args.out);
    file.with_context(|| format!("cannot write {}", args.out.display()))?.write_all(&plan.to_bytes())?;
    println!("{}", String::from_utf8_lossy(&plan.to_bytes()));
    let (hash, path) = (data_encoding::HEXLOWER.encode(&plan.hash()), args.out.display());
    println!(
        "hash       {hash}\n\nEach officer:\n  tillward approval sign --plan {path} --as URI --bundle bundle.json --hash {hash} --key FILE"
    );
    Ok(())
}

async fn rehearse(args: Rehearse) -> anyhow::Result<()> {
    let text = read(&args.file)?;
    let file = CeremonyFile::parse(&text)?;
    let temporary = tempfile::Builder::new().prefix("tillward-rehearsal-").tempdir()?;
    let place = workplace::create(&temporary.path().join("place"), "rehearsal", None)?;
    let mut config = Config::read(&place.config())?;
    let label: String = file.token.bytes().map(percent).collect();
    config.hsm.uri = config.hsm.uri.replacen("token=tillward", &format!("token={label}"), 1);
    let holding = Holding {
        text: &text,
        config: &config,
        executable: this_program()?,
        so_pin: Some(&place.so_pin()),
        approved: None,
        rehearsal: true,
    };
    let transcript = told(&holding, args.json).await?;
    if let Some(out) = &args.out {
        write(out, &transcript)?;
    }
    report(&transcript, args.out.as_deref(), args.json)
}

/// RFC 3986 §2.1: everything but the unreserved characters.
fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

async fn hold(args: Run) -> anyhow::Result<()> {
    let text = read(&args.file)?;
    let config = Config::read(&args.config)?;
    let approved: Option<Approved> = args.approvals.as_deref().map(super::signer::read_bundle).transpose()?;
    let so_pin = args.so_pin_file.map(|path| path.canonicalize().with_context(|| format!("cannot find {}", path.display()))).transpose()?;
    let holding = Holding {
        text: &text,
        config: &config,
        executable: this_program()?,
        so_pin: so_pin.as_deref(),
        approved: approved.as_ref(),
        rehearsal: false,
    };
    let file = holding.check(&Clock::system())?;
    if args.out.join(TRANSCRIPT).exists() {
        bail!("{} holds a transcript already; nothing was done", args.out.display());
    }
    if !args.execute {
        let paint = Paint::stdout();
        println!("{} {}", paint.strong("Ceremony:"), file.title);
        println!("{} {}", paint.strong("SHA-256 of the file:"), data_encoding::HEXLOWER.encode(&file_digest(&text)));
        println!("{} {}", paint.strong("Token:"), file.token);
        for person in &file.present {
            println!("{} {} ({})", paint.strong("Present:"), person.name, person.part.name());
        }
        for (number, step) in (1..).zip(&file.steps) {
            println!("{number}. {}", step.describe());
        }
        println!("\nNothing was done: add --execute to hold the ceremony.");
        return Ok(());
    }
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let transcript = told(&holding, args.json).await?;
    write(&args.out, &transcript)?;
    report(&transcript, Some(&args.out), args.json)
}

async fn told(holding: &Holding<'_>, quiet: bool) -> anyhow::Result<Transcript> {
    let bar = progress::spinner(quiet);
    let tell = |number: usize, step: &crate::ceremony::Step| {
        let line = format!("step {number}: {}", step.describe());
        if bar.is_hidden() && !quiet {
            eprintln!("{line}");
        }
        bar.set_message(line);
    };
    let held = holding.hold(&Clock::system(), &tell).await;
    bar.finish_and_clear();
    Ok(held?)
}

/// Never over a file that is there.
fn write(out: &Path, transcript: &Transcript) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let create = |name: &str, content: &[u8]| -> anyhow::Result<()> {
        let path = out.join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
        file.as_mut().map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?.write_all(content)?;
        Ok(())
    };
    create(TRANSCRIPT, format!("{:#}\n", serde_json::to_value(transcript)?).as_bytes())?;
    for output in transcript.body.steps.iter().flat_map(|did| &did.outputs) {
        create(&output.name, &data_encoding::BASE64.decode(output.content.as_bytes()).context("an output of the transcript")?)?;
    }
    Ok(())
}

fn report(transcript: &Transcript, out: Option<&Path>, json: bool) -> anyhow::Result<()> {
    if json {
        output::json(&serde_json::to_value(transcript)?);
        return Ok(());
    }
    let verdict = transcript.verify()?;
    print(transcript, &verdict);
    if let Some(out) = out {
        let path = out.join(TRANSCRIPT);
        println!("\nTranscript and outputs are in {}.", out.display());
        for name in &verdict.unsigned {
            println!("  tillward ceremony sign {} --name '{name}' --key FILE", path.display());
        }
        println!("  tillward ceremony verify {}{}", path.display(), if transcript.body.rehearsal { " --rehearsal" } else { "" });
    }
    Ok(())
}

fn print(transcript: &Transcript, verdict: &Verdict) {
    let (paint, body) = (Paint::stdout(), &transcript.body);
    if body.rehearsal {
        println!("{}", paint.warn("REHEARSAL: these keys were made on a throw-away token and are gone."));
    }
    println!("{} {} ({} to {})", paint.strong("Ceremony:"), verdict.file.title, body.started, body.ended);
    let token = &body.token;
    println!(
        "{} {}: {} {}, serial {}, firmware {}, {}",
        paint.strong("Token:"),
        token.label,
        token.manufacturer,
        token.model,
        token.serial,
        token.firmware,
        token.library
    );
    println!("{} {}\n", paint.strong("Token's key (audit-signing, SHA-256):"), data_encoding::HEXLOWER.encode(&verdict.token_key));
    let mut rows = Vec::new();
    for (number, did) in (1..).zip(&body.steps) {
        println!("{number}. {} ({})", did.what, did.at);
        for key in &did.keys {
            let value = key.check_value.clone().map_or_else(
                || key.fingerprint.as_ref().map(|digest| format!("sha256 {digest}")).unwrap_or_default(),
                |value| format!("kcv {value}"),
            );
            rows.push(vec![key.label.clone(), key.kind.clone(), if key.made { "made" } else { "was there" }.to_owned(), value]);
        }
        for output in &did.outputs {
            println!("   -> {}: {}", output.name, output.what);
        }
    }
    println!();
    output::table(&["key", "kind", "", "check value or fingerprint"], &rows);
    println!();
    for person in &verdict.file.present {
        let state = if verdict.signed.contains(&person.name) { paint.good("signed") } else { paint.warn("has not signed") };
        println!("{} ({}): {state}", person.name, person.part.name());
    }
}

async fn sign(args: &Sign) -> anyhow::Result<()> {
    let mut transcript: Transcript = serde_json::from_str(&read(&args.transcript)?).context("the file is not a transcript")?;
    let verdict = transcript.verify()?;
    if !verdict.unsigned.contains(&args.name) {
        bail!("{} is not somebody who was there and has not signed", args.name);
    }
    print(&transcript, &verdict);
    let signature = args.with.sign(&transcript.body.digest()).await?;
    transcript.signatures.push(Signature { name: args.name.clone(), signature: data_encoding::BASE64.encode(&signature) });
    // Also that it is this person's key.
    transcript.verify()?;
    let beside = args.transcript.with_extension("json.new");
    fs::write(&beside, format!("{:#}\n", serde_json::to_value(&transcript)?))?;
    fs::rename(&beside, &args.transcript)?;
    println!("\nSigned as {}.", args.name);
    Ok(())
}

fn verify(args: &Verify) -> anyhow::Result<()> {
    let transcript: Transcript = serde_json::from_str(&read(&args.transcript)?).context("the file is not a transcript")?;
    let verdict = transcript.verify()?;
    let fingerprint = data_encoding::HEXLOWER.encode(&verdict.token_key);
    if let Some(expected) = &args.token_key
        && !expected.eq_ignore_ascii_case(&fingerprint)
    {
        bail!("the transcript was signed by another token: its key is {fingerprint}");
    }
    if transcript.body.rehearsal != args.rehearsal {
        bail!(
            "this is the transcript of a {}",
            if args.rehearsal { "ceremony, not of a rehearsal" } else { "rehearsal: --rehearsal takes it as one" }
        );
    }
    let took = verdict.file.uses_root_ca() && !transcript.body.rehearsal;
    if let Some(path) = &args.officers {
        transcript.verify_approvals(&OfficersFile::read(path)?.roster)?;
    }
    if args.json {
        output::json(&json!({
            "approvals_verified": took && args.officers.is_some(),
            "rehearsal": transcript.body.rehearsal,
            "token_key": fingerprint,
            "token_key_compared": args.token_key.is_some(),
            "signed": verdict.signed,
            "unsigned": verdict.unsigned,
        }));
    } else {
        print(&transcript, &verdict);
        println!();
        if took && args.officers.is_none() {
            println!("{}", Paint::stdout().warn("The approvals were not verified: give --officers with the officers' file."));
        }
        if args.token_key.is_none() {
            println!("{}", Paint::stdout().warn("The token's key was not compared: give --token-key to say which token it has to be."));
        }
    }
    if !verdict.unsigned.is_empty() {
        bail!("not everybody who was there has signed");
    }
    if !args.json {
        println!("{}", Paint::stdout().good("The transcript is whole and signed by all."));
    }
    Ok(())
}
