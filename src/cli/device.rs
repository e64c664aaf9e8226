//! `tillward device`: enrolled phones as the operator sees them, and the simulated phone.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tillward_device::evidence::Findings;
use tillward_device::phone::Phone;
use tillward_device::qr::Activation as Qr;
use tillward_device::trust::RootPin;

use super::Reach;
use super::failure::{Advice, advise};
use super::output;
use super::phone::{Line, now, sound_findings, status};
use super::reach::Deliberate;
use crate::id::{DeviceId, TerminalId};

/// Devices.
#[derive(Debug, Subcommand)]
pub(super) enum Device {
    /// List devices
    List {
        /// Only in this state
        #[arg(long, value_parser = ["active", "suspended", "retired"])]
        state: Option<String>,
        /// Only of this terminal
        #[arg(long)]
        terminal: Option<TerminalId>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show a device
    Show {
        /// The device
        device: DeviceId,
        #[command(flatten)]
        reach: Reach,
    },
    /// Stop a device until it is resumed
    Suspend(Move),
    /// Let a suspended device work again; it has to attest afresh
    Resume(Move),
    /// End a device for ever: its certificate is revoked; a dry run without --execute
    Retire(Retire),
    /// Simulated phone: enrol with an activation code
    Enrol(Enrol),
    /// Simulated phone: attest
    Attest(Attest),
    /// Simulated phone: renew the certificate
    Renew(Simulated),
    /// Simulated phone: encrypt account data for the back end
    Pay(Pay),
    /// Simulated phone: sign a payment request for the consumer's device, and verify it as that device would
    Request(Request),
}

/// What is taken for a reason ([`crate::ops::stop_reason::StopReason`]).
pub(super) const REASONS: [&str; 7] = ["lost", "stolen", "compromised", "replaced", "closed", "investigation", "cleared"];

/// A move along the life cycle.
#[derive(Debug, Args)]
pub(super) struct Move {
    /// The device
    device: DeviceId,
    /// Why; kept in the audit log
    #[arg(long, value_parser = REASONS)]
    reason: String,
    #[command(flatten)]
    reach: Reach,
}

/// The last move.
#[derive(Debug, Args)]
pub(super) struct Retire {
    #[command(flatten)]
    last: Move,
    #[command(flatten)]
    deliberate: Deliberate,
}

/// Where a simulated phone lives.
#[derive(Debug, Args)]
pub(super) struct Simulated {
    /// The phone's folder
    #[arg(long)]
    phone: PathBuf,
    /// JSON for machines
    #[arg(long)]
    json: bool,
}

/// Enrolment of a simulated phone.
#[derive(Debug, Args)]
pub(super) struct Enrol {
    #[command(flatten)]
    simulated: Simulated,
    /// What the QR picture of the activation holds
    #[arg(long)]
    qr: String,
    /// Authority of the device listener's TLS certificate, PEM
    #[arg(long)]
    ca: PathBuf,
    #[command(flatten)]
    found: Found,
}

/// Attestation of a simulated phone.
#[derive(Debug, Args)]
pub(super) struct Attest {
    #[command(flatten)]
    simulated: Simulated,
    #[command(flatten)]
    found: Found,
}

/// What is wrong with the simulated phone.
#[derive(Debug, Args)]
struct Found {
    /// A debugger is attached
    #[arg(long)]
    debugger: bool,
    /// The phone is rooted
    #[arg(long)]
    root: bool,
    /// The phone is an emulator
    #[arg(long)]
    emulator: bool,
    /// Security patch level, YYYY-MM
    #[arg(long)]
    patch_level: Option<String>,
}

impl Found {
    fn findings(&self) -> Findings {
        let mut findings = sound_findings();
        findings.debugger = self.debugger;
        findings.root = self.root;
        findings.emulator = self.emulator;
        if let Some(level) = &self.patch_level {
            findings.patch_level.clone_from(level);
        }
        findings
    }
}

/// A payment message.
#[derive(Debug, Args)]
pub(super) struct Pay {
    #[command(flatten)]
    simulated: Simulated,
    /// The account data, as text
    #[arg(long)]
    account_data: String,
    /// Where to write the message; standard output if absent
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A payment request.
#[derive(Debug, Args)]
pub(super) struct Request {
    #[command(flatten)]
    simulated: Simulated,
    /// Amount in the currency's minor unit
    #[arg(long)]
    amount: u64,
    /// Currency (ISO 4217)
    #[arg(long, default_value = "EUR")]
    currency: String,
}

/// What a phone's application is shipped with, kept beside the phone.
#[derive(Debug, Serialize, Deserialize)]
struct Shipped {
    url: String,
    ca: PathBuf,
    root: String,
}

impl Simulated {
    fn line(&self) -> anyhow::Result<Line> {
        let path = self.phone.join("line.json");
        let text = std::fs::read_to_string(&path).with_context(|| self.no_phone())?;
        let shipped: Shipped = serde_json::from_str(&text).with_context(|| self.no_phone())?;
        let pin = data_encoding::HEXLOWER.decode(shipped.root.as_bytes()).with_context(|| self.no_phone())?;
        let pin = <[u8; 32]>::try_from(pin.as_slice()).with_context(|| self.no_phone())?;
        Line::open(&shipped.url, &shipped.ca, RootPin(pin))
    }

    fn load(&self) -> anyhow::Result<Phone> {
        Phone::load(&self.phone).with_context(|| self.no_phone())
    }

    fn no_phone(&self) -> Advice {
        let what = format!("{} is not the folder of a phone", self.phone.display());
        Advice::new(what, "name the folder that `tillward device enrol --phone DIR` made.")
    }

    /// Prints what came out: for people a line each.
    fn print(&self, members: &[(&str, &str, String)]) {
        if self.json {
            let map = members.iter().map(|(name, _, value)| ((*name).to_owned(), Value::from(value.as_str())));
            return output::json(&Value::Object(map.collect()));
        }
        for (_, label, value) in members {
            println!("{label:<10} {value}");
        }
    }
}

pub(super) async fn run(command: Device) -> anyhow::Result<()> {
    match command {
        Device::List { state, terminal, reach } => list(&reach, state, terminal).await,
        Device::Show { device, reach } => {
            reach.print(&reach.api()?.get(&format!("/v1/devices/{device}")).await?);
            Ok(())
        }
        Device::Suspend(args) => move_device(args, "suspend").await,
        Device::Resume(args) => move_device(args, "resume").await,
        Device::Retire(args) => retire(args).await,
        Device::Enrol(args) => enrol(args).await,
        Device::Attest(args) => attest(args).await,
        Device::Renew(args) => renew(args).await,
        Device::Pay(args) => pay(&args),
        Device::Request(args) => request(args).await,
    }
}

async fn list(reach: &Reach, state: Option<String>, terminal: Option<TerminalId>) -> anyhow::Result<()> {
    let mut query = Vec::new();
    query.extend(state.map(|state| format!("state={state}")));
    query.extend(terminal.map(|terminal| format!("terminal={terminal}")));
    let devices = reach.api()?.pages("/v1/devices", &query, "devices").await?;
    if reach.json {
        output::json(&json!({"devices": devices}));
        return Ok(());
    }
    let columns = ["device", "terminal", "merchant", "level", "state", "ikid", "enrolled"];
    let rows: Vec<Vec<String>> =
        devices.iter().map(|d| columns.map(|name| d.get(name).and_then(Value::as_str).unwrap_or("-").to_owned()).to_vec()).collect();
    output::table(&columns, &rows);
    Ok(())
}

async fn move_device(args: Move, verb: &str) -> anyhow::Result<()> {
    let answer = args.reach.api()?.post(&format!("/v1/devices/{}/{verb}", args.device), &json!({"reason": args.reason})).await?;
    args.reach.print(&answer);
    Ok(())
}

async fn retire(args: Retire) -> anyhow::Result<()> {
    let Retire { last, deliberate } = args;
    if !deliberate.execute {
        let api = last.reach.api()?;
        // The service says what it would refuse.
        api.post(&format!("/v1/devices/{}/retire?dry_run=true", last.device), &json!({"reason": last.reason})).await?;
        let device = api.get(&format!("/v1/devices/{}", last.device)).await?;
        return last.reach.rehearsed("retire a device for ever", &device);
    }
    last.reach.announce("Retiring a device")?;
    move_device(last, "retire").await
}

async fn enrol(args: Enrol) -> anyhow::Result<()> {
    let qr = Qr::parse(&args.qr).with_context(|| {
        Advice::new("--qr is not what an activation prints", "give the whole line that starts with tillward:activate?, in quotes.")
    })?;
    let ca = args.ca.canonicalize().with_context(|| {
        Advice::new(format!("cannot find {}", args.ca.display()), "name the authority of the device listener's certificate, PEM.")
    })?;
    if args.simulated.phone.join("line.json").exists() {
        return Err(advise(format!("{} holds a phone already", args.simulated.phone.display()), "name a new folder."));
    }
    let line = Line::open(&qr.url, &ca, RootPin(qr.root.0))?;
    let trust = line.trust().await?;
    let mut phone = line.enrol(&trust, qr.code.expose_symbols(), &args.found.findings()).await?;
    phone.save(&args.simulated.phone)?;
    let shipped = Shipped { url: qr.url, ca, root: data_encoding::HEXLOWER.encode(&qr.root.0) };
    std::fs::write(args.simulated.phone.join("line.json"), serde_json::to_string_pretty(&shipped)?)?;
    args.simulated.print(&[
        ("device", "device", phone.device().to_string()),
        ("pin_ikid", "PIN key", phone.pin_ikid().to_string()),
        ("data_ikid", "data key", phone.data_ikid().to_string()),
        ("level", "level", phone.attestation_policy().level.clone()),
    ]);
    Ok(())
}

async fn attest(args: Attest) -> anyhow::Result<()> {
    let line = args.simulated.line()?;
    let trust = line.trust().await?;
    let mut phone = args.simulated.load()?;
    let result = line.attest(&trust, &mut phone, &args.found.findings()).await?;
    let until = crate::clock::UnixTime(result.exp).rfc3339();
    args.simulated.print(&[("result", "result", status(&result).to_owned()), ("until", "until", until)]);
    Ok(())
}

async fn renew(args: Simulated) -> anyhow::Result<()> {
    let line = args.line()?;
    let trust = line.trust().await?;
    let mut phone = args.load()?;
    line.renew(&trust, &mut phone).await?;
    args.print(&[("renewed", "renewed", phone.device().to_string())]);
    Ok(())
}

fn pay(args: &Pay) -> anyhow::Result<()> {
    let mut phone = args.simulated.load()?;
    let message = phone.pay(args.account_data.as_bytes(), b"")?;
    let text = serde_json::to_string_pretty(&message)?;
    match &args.out {
        Some(path) => std::fs::write(path, text)
            .with_context(|| Advice::new(format!("cannot write {}", path.display()), "name a file in a folder that can be written."))?,
        None => println!("{text}"),
    }
    Ok(())
}

async fn request(args: Request) -> anyhow::Result<()> {
    let line = args.simulated.line()?;
    let trust = line.trust().await?;
    let phone = args.simulated.load()?;
    let signed = phone.payment_request(args.amount.try_into()?, args.currency.parse()?, now())?;
    let verified = tillward_device::consumer::verify(&signed, &trust, &tillward_device::consumer::Acceptance::default(), now())?;
    let (merchant, terminal) = (&verified.identity.merchant, &verified.identity.terminal);
    let amount = u64::from(verified.amount);
    if args.simulated.json {
        output::json(&json!({
            "request": signed.clone(), "merchant": merchant, "terminal": terminal, "amount": amount, "currency": verified.currency.to_string(),
        }));
    } else {
        println!("{signed}\nverified   merchant {merchant} terminal {terminal}, {amount} {}", verified.currency);
    }
    Ok(())
}
