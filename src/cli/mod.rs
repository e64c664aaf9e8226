//! The command line: `tillward <noun> <verb>`, one file a noun.
//!
//! The exit codes stand in [`EXIT_CODES`], for the help and the man pages. A failure ends with one line on what to do.

mod activation;
pub mod api;
mod approval;
mod audit;
mod bench;
mod ceremony;
mod clearance;
mod completion;
mod demo;
mod device;
mod doctor;
mod environment;
mod failure;
mod hsm;
mod hsm_host;
mod hsm_trial;
mod init;
mod key;
mod kms;
mod man;
mod merchant;
mod output;
mod payment;
pub mod phone;
mod plan;
mod policy;
mod profile;
mod progress;
mod reach;
mod remedy;
mod serve;
pub mod signer;
mod target;
mod terminal;
pub mod workplace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use failure::Failure;
use reach::Reach;
use serde_json::json;

/// What the end of the program says to the one that started it.
const EXIT_CODES: [(u8, &str); 5] = [
    (0, "done"),
    (1, "failed, or a check found something; the last line says what to do"),
    (2, "wrong usage"),
    (3, "refused by the service, with a reason code (docs/api.md)"),
    (4, "the service, or the HSM behind it, does not answer now; asking again later may help"),
];

/// What is read from the environment.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("TILLWARD_PROFILE", "the profile where --profile is absent"),
    ("XDG_CONFIG_HOME", "the folder of every program's settings, instead of ~/.config"),
    ("NO_COLOR", "not empty: no colours on a terminal either"),
];

/// Files, if an argument does not name others.
const FILES: [(&str, &str); 3] = [
    ("~/.config/tillward/profiles/NAME.toml", "the profile NAME: url, ca, certificate and key; paths start at the file's folder"),
    ("~/.config/tillward/default-profile", "the default, as `tillward profile use` writes it"),
    ("tillward.toml", "the service's configuration, for serve, init, doctor and bench"),
];

/// HSM-backed key management for phones that take card payments.
#[derive(Debug, Parser)]
#[command(name = "tillward", version, max_term_width = 110, arg_required_else_help = true, after_help = after_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the main job on a throw-away token and tell it as a story
    Demo(demo::Demo),
    /// Make a folder with all that a first try needs: configuration, token, TLS, profiles
    New(New),
    /// Make the keys of the design on the token, once, and print the inventory
    Init(init::Init),
    /// Run the service
    Serve(serve::Serve),
    /// Check an installation: module, token, PIN, keys, database, clock, certificates; or, with `hsm`, whether an HSM is fit
    Doctor(doctor::Doctor),
    /// Measure what the HSM can do
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Merchants
    #[command(subcommand)]
    Merchant(merchant::Merchant),
    /// Terminals of merchants
    #[command(subcommand)]
    Terminal(terminal::Terminal),
    /// Activation codes (first secrets)
    #[command(subcommand)]
    Activation(activation::Activation),
    /// Enrolled phones; and the simulated phone: enrol, attest, renew, pay, request
    #[command(subcommand)]
    Device(device::Device),
    /// Clearances before a payment
    #[command(subcommand)]
    Clearance(clearance::Clearance),
    /// What the back end does with a payment
    #[command(subcommand)]
    Payment(payment::Payment),
    /// Keys: their life cycle, and the inventory of the token
    #[command(subcommand)]
    Key(key::Key),
    /// Uses of keys, by hand: sign, verify, mac, encrypt, decrypt, wrap, unwrap, random
    #[command(subcommand)]
    Kms(kms::Kms),
    /// Key ceremonies: rehearse, run, sign, verify
    #[command(subcommand)]
    Ceremony(ceremony::Ceremony),
    /// Plans that several officers have to approve
    #[command(subcommand)]
    Plan(plan::Plan),
    /// Approvals of plans, and their proof
    #[command(subcommand)]
    Approval(approval::Approval),
    /// The HSM hosts
    #[command(subcommand)]
    Hsm(hsm::Hsm),
    /// Policies: check, test and explain who may do what
    #[command(subcommand)]
    Policy(policy::Policy),
    /// The audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Profiles: the services that this user knows by name
    #[command(subcommand)]
    Profile(profile::Profiles),
    /// Print the completion of commands for a shell
    Completion(completion::Completion),
    /// Write the man pages, one a command, into a folder
    Man(man::Pages),
    /// The HSM host process; started by `tillward serve`
    #[command(hide = true)]
    HsmHost(Box<hsm_host::HsmHost>),
    /// The process of `doctor hsm` and `bench hsm`; started by them
    #[command(hide = true)]
    HsmTrial(hsm_trial::HsmTrial),
}

/// Arguments of `tillward new`.
#[derive(Debug, Args)]
struct New {
    /// The folder to make
    dir: PathBuf,
    /// Name of the acquirer that the example is set up for
    #[arg(long, default_value = "example-bank")]
    acquirer: String,
    /// JSON for machines instead of text
    #[arg(long)]
    json: bool,
}

fn after_help() -> String {
    let lines = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code}  {meaning}\n"));
    format!(
        "Exit codes:\n{}\nA failure ends with one line on what to do; with --json it is a problem document on standard error.",
        lines.collect::<String>()
    )
}

/// The command line without what is only for the program itself.
fn shown() -> clap::Command {
    let whole = Cli::command();
    let mut shown = clap::Command::new("tillward").version(env!("CARGO_PKG_VERSION")).subcommand_required(true);
    if let Some(about) = whole.get_about() {
        shown = shown.about(about.clone());
    }
    shown.subcommands(whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

/// Runs the command line to its exit code.
pub fn run() -> ExitCode {
    // The provider is a choice of the whole process; a second call means it was made already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Also where the arguments cannot be parsed.
    let json = std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json");
    let cli = match Cli::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if json && error.use_stderr() => {
            let text = error.to_string();
            let what = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
            Failure::Usage.tell(&anyhow::Error::msg(what.split_whitespace().collect::<Vec<_>>().join(" ")), true);
            return ExitCode::from(Failure::Usage.exit_code());
        }
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(Failure::Usage.exit_code()) } else { ExitCode::SUCCESS };
        }
    };
    let done = match cli.command {
        Command::HsmHost(args) => return hsm_host::run(*args),
        Command::HsmTrial(args) => return hsm_trial::run(&args),
        Command::New(args) => make_new(&args),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Init(args) => block_on(init::run(args)),
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Doctor(args) => match block_on(doctor::run(args)) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Bench(args) => block_on(bench::run(args)),
        Command::Merchant(args) => block_on(merchant::run(args)),
        Command::Terminal(args) => block_on(terminal::run(args)),
        Command::Activation(args) => block_on(activation::run(args)),
        Command::Device(args) => block_on(device::run(args)),
        Command::Clearance(args) => block_on(clearance::run(args)),
        Command::Payment(args) => block_on(payment::run(args)),
        Command::Key(args) => match block_on(key::run(args)) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Kms(args) => match block_on(kms::run(args)) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Ceremony(args) => block_on(ceremony::run(args)),
        Command::Plan(args) => block_on(plan::run(args)),
        Command::Approval(args) => block_on(approval::run(args)),
        Command::Hsm(args) => block_on(hsm::run(args)),
        Command::Policy(args) => block_on(policy::run(args)),
        Command::Audit(args) => block_on(audit::run(args)),
        Command::Profile(args) => profile::run(args),
        Command::Completion(args) => {
            completion::run(&args);
            Ok(())
        }
        Command::Man(args) => man::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failure = Failure::of(&error);
            failure.tell(&error, json);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}

fn make_new(args: &New) -> anyhow::Result<()> {
    let made = workplace::create(&args.dir, &args.acquirer, None)?;
    // Ports of its own, so that the profiles lead to the service; the demo and the tests take free ones.
    made.settle("127.0.0.1:8443", "127.0.0.1:9443", "127.0.0.1:9080")?;
    let dir = made.dir.display();
    if args.json {
        let profiles: serde_json::Map<_, _> =
            workplace::PEOPLE.into_iter().map(|(name, _)| (name.to_owned(), json!(made.profile(name)))).collect();
        output::json(&json!({"dir": made.dir, "config": made.config(), "so_pin_file": made.so_pin(), "profiles": profiles}));
        return Ok(());
    }
    println!("Made {dir}. Next:");
    println!("  tillward init --config {dir}/tillward.toml --so-pin-file {dir}/so-pin");
    println!("  tillward serve --config {dir}/tillward.toml");
    Ok(())
}

/// This very program, to be started as HSM host or as service.
fn this_program() -> anyhow::Result<PathBuf> {
    use anyhow::Context as _;
    std::env::current_exe().context("this program does not know its own path")
}
