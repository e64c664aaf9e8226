//! `tillward key`: the keys that the security team manages, and the inventory of the token.

mod arguments;
mod deed;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tillward_hsm::{KeyAlgorithm, KeyName, Purpose};

use super::{Reach, output};
use crate::id::AcquirerId;
use arguments::{Dry, OrNone, algorithm, period, purpose};

pub(super) use show::print_inventory;

/// Keys.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Make a key and its first version; the same again changes nothing
    Create(Box<Create>),
    /// List the keys that are managed
    List {
        /// Only these: kms, kek, or design (what the service itself works with)
        #[arg(long, value_parser = ["kms", "kek", "design"])]
        class: Option<String>,
        /// Only for this purpose
        #[arg(long, value_parser = purpose)]
        purpose: Option<Purpose>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show a key with its versions: state, times, uses, check value or fingerprint
    Show(Named),
    /// Change periods, limit, aliases, or the version that protects
    Update(Box<Update>),
    /// Make the next version, which protects from then on; the old ones go on processing
    Rotate {
        /// The key
        key: KeyName,
        /// Leave the new version in pre-activation
        #[arg(long)]
        inactive: bool,
        #[command(flatten)]
        dry: Dry,
        #[command(flatten)]
        reach: Reach,
    },
    /// Take a version into use, or back into use after a suspension
    Activate(Version),
    /// Stop every use of a version for a while
    Suspend(Version),
    /// End protecting with a version, for good; it goes on processing what it protected
    Deactivate(Version),
    /// Call the destruction of a version off during its waiting period; it is suspended then
    Restore(Version),
    /// Propose the destruction of a version; without --execute, say what it would strand
    Destroy(deed::OfVersion),
    /// Propose to report a version compromised; without --execute, say what it would stop and what must be issued again
    Compromise(deed::OfVersion),
    /// Propose the export of a version, wrapped under a partner's KEK; without --execute, only show the plan
    Export(deed::Export),
    /// Propose the import of a key that a partner wrapped under a KEK; without --execute, only show the plan
    Import(Box<deed::Import>),
    /// Print the public key of a version
    Public(show::Public),
    /// Compare token and database; ends with 1 if they differ, and changes nothing
    Reconcile {
        #[command(flatten)]
        reach: Reach,
    },
    /// The inventory of the token: every key, its check value or fingerprint, its attributes as read back
    Inventory {
        #[command(flatten)]
        reach: Reach,
    },
}

/// Arguments of `tillward key create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its name, for good
    key: KeyName,
    /// What it is for: sign, mac, encrypt, wrap, derive, ca
    #[arg(long, value_parser = purpose)]
    purpose: Purpose,
    /// What it is: ec-p256, ec-p384, ed25519, rsa-3072, rsa-4096, aes-128, aes-256, hmac-sha256
    #[arg(long, value_parser = algorithm)]
    algorithm: KeyAlgorithm,
    /// The acquirer that it belongs to; the service, if absent
    #[arg(long)]
    acquirer: Option<AcquirerId>,
    /// Another name that leads to it; may stand several times
    #[arg(long = "alias", value_name = "NAME")]
    aliases: Vec<KeyName>,
    /// The next version takes over after this time, such as 90d
    #[arg(long, value_name = "TIME", value_parser = period)]
    rotate_every: Option<u64>,
    /// A version protects nothing more after this time
    #[arg(long, value_name = "TIME", value_parser = period)]
    protect_for: Option<u64>,
    /// A version is not used at all after this time
    #[arg(long, value_name = "TIME", value_parser = period)]
    process_for: Option<u64>,
    /// Uses of each version that protect something
    #[arg(long, value_name = "USES")]
    limit: Option<u64>,
    /// It may leave, wrapped under a partner's KEK, by a plan; cannot be changed later
    #[arg(long)]
    exportable: bool,
    /// Leave the first version in pre-activation
    #[arg(long)]
    inactive: bool,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    reach: Reach,
}

/// Arguments of `tillward key update`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(
    ["aliases", "rotate_every", "protect_for", "process_for", "limit", "primary"]
))]
pub(super) struct Update {
    /// The key
    key: KeyName,
    /// These aliases and no others, with commas between; none takes all away
    #[arg(long, value_name = "NAMES", value_parser = arguments::names)]
    aliases: Option<OrNone<arguments::Names>>,
    /// The next version takes over after this time, such as 90d; or none
    #[arg(long, value_name = "TIME", value_parser = OrNone::<u64>::period)]
    rotate_every: Option<OrNone<u64>>,
    /// A version that is activated from now on protects nothing more after this time; or none
    #[arg(long, value_name = "TIME", value_parser = OrNone::<u64>::period)]
    protect_for: Option<OrNone<u64>>,
    /// A version that is activated from now on is not used at all after this time; or none
    #[arg(long, value_name = "TIME", value_parser = OrNone::<u64>::period)]
    process_for: Option<OrNone<u64>>,
    /// Uses that protect something, of the primary version and the next ones; or none
    #[arg(long, value_name = "USES", value_parser = OrNone::<u64>::number)]
    limit: Option<OrNone<u64>>,
    /// The version that protects where a request names none
    #[arg(long, value_name = "VERSION")]
    primary: Option<u32>,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    reach: Reach,
}

/// A key.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The key, or an alias of it
    key: KeyName,
    #[command(flatten)]
    reach: Reach,
}

/// A version of a key.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// The key
    key: KeyName,
    /// Its version
    #[arg(value_name = "VERSION")]
    number: u32,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(command: Key) -> anyhow::Result<ExitCode> {
    match command {
        Key::Create(args) => create(*args).await?,
        Key::List { class, purpose, reach } => list(&reach, class, purpose).await?,
        Key::Show(Named { key, reach }) => show::key(&reach, &reach.api()?.get(&format!("/v1/keys/{key}")).await?),
        Key::Update(args) => update(*args).await?,
        Key::Rotate { key, inactive, dry, reach } => {
            let body = json!({"activate": !inactive});
            dry.print(&reach, &reach.api()?.post(&dry.at(&format!("/v1/keys/{key}/rotate")), &body).await?);
        }
        Key::Activate(version) => move_version(version, "activate").await?,
        Key::Suspend(version) => move_version(version, "suspend").await?,
        Key::Deactivate(version) => move_version(version, "deactivate").await?,
        Key::Restore(version) => move_version(version, "restore").await?,
        Key::Destroy(args) => args.propose("destroy-key").await?,
        Key::Compromise(args) => args.propose("report-compromise").await?,
        Key::Export(args) => args.propose().await?,
        Key::Import(args) => args.propose().await?,
        Key::Public(args) => args.run().await?,
        Key::Reconcile { reach } => {
            let found = reach.api()?.get("/v1/keys/reconciliation").await?;
            return Ok(show::reconciliation(&reach, &found));
        }
        Key::Inventory { reach } => {
            let answer = reach.api()?.get("/v1/hsm/keys").await?;
            if reach.json {
                output::json(&answer);
            } else {
                print_inventory(&answer.get("keys").and_then(Value::as_array).cloned().unwrap_or_default());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: Create) -> anyhow::Result<()> {
    let mut body = json!({
        "key": args.key, "purpose": args.purpose, "algorithm": args.algorithm, "aliases": args.aliases, "exportable": args.exportable,
        "activate": !args.inactive,
    });
    let given = [
        ("acquirer", args.acquirer.map(|acquirer| json!(acquirer))),
        ("rotation_seconds", args.rotate_every.map(Value::from)),
        ("protect_seconds", args.protect_for.map(Value::from)),
        ("process_seconds", args.process_for.map(Value::from)),
        ("uses_limit", args.limit.map(Value::from)),
    ];
    if let Some(members) = body.as_object_mut() {
        members.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    args.dry.print(&args.reach, &args.reach.api()?.post(&args.dry.at("/v1/keys"), &body).await?);
    Ok(())
}

async fn update(args: Update) -> anyhow::Result<()> {
    let mut body = Map::new();
    body.extend(args.aliases.map(|names| ("aliases".to_owned(), names.value().map_or_else(|| json!([]), |names| json!(names.0)))));
    let periods = [
        ("rotation_seconds", args.rotate_every),
        ("protect_seconds", args.protect_for),
        ("process_seconds", args.process_for),
        ("uses_limit", args.limit),
    ];
    body.extend(periods.into_iter().filter_map(|(name, given)| Some((name.to_owned(), json!(given?.value())))));
    body.extend(args.primary.map(|version| ("primary".to_owned(), json!(version))));
    let path = args.dry.at(&format!("/v1/keys/{}", args.key));
    args.dry.print(&args.reach, &args.reach.api()?.call(reqwest::Method::PATCH, &path, Some(&Value::Object(body))).await?);
    Ok(())
}

async fn list(reach: &Reach, class: Option<String>, purpose: Option<Purpose>) -> anyhow::Result<()> {
    let mut query = Vec::new();
    query.extend(class.map(|class| format!("class={class}")));
    query.extend(purpose.map(|purpose| format!("purpose={}", purpose.name())));
    let keys = reach.api()?.pages("/v1/keys", &query, "keys").await?;
    show::list(reach, &keys);
    Ok(())
}

async fn move_version(version: Version, verb: &str) -> anyhow::Result<()> {
    let Version { key, number: version, dry, reach } = version;
    let path = dry.at(&format!("/v1/keys/{key}/versions/{version}/{verb}"));
    dry.print(&reach, &reach.api()?.call(reqwest::Method::POST, &path, None).await?);
    Ok(())
}
