//! `tillward profile`: the services that this user knows by name, and the one that is meant where none is named.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use x509_cert::der::Decode as _;

use super::api::Profile;
use super::environment;
use super::failure::{Advice, advise};
use super::output;
use crate::clock::UnixTime;
use crate::http::principal_uri;

/// The file beside the profiles that holds the name, or the path, of the default.
const DEFAULT: &str = "default-profile";

/// Profiles: how to reach a service, and as whom.
#[derive(Debug, Subcommand)]
pub(super) enum Profiles {
    /// List the profiles of this user; * is the default
    List {
        /// JSON for machines instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show a profile: service, files, and whom its certificate stands for
    Show {
        /// Name of a profile, or FILE (with a / or a .); the one that a command would take, if absent
        #[arg(env = "TILLWARD_PROFILE", hide_env_values = true, value_name = "NAME")]
        profile: Option<String>,
        /// JSON for machines instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Make a profile the default: commands that name no other take it
    Use {
        /// Name of a profile, or FILE (with a / or a .)
        #[arg(value_name = "NAME")]
        profile: String,
        /// JSON for machines instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// A profile, found.
#[derive(Debug)]
pub(super) struct Found {
    /// As a person names it.
    pub(super) name: String,
    /// Its file.
    pub(super) path: PathBuf,
}

/// The folder of this user's profiles.
fn folder() -> anyhow::Result<PathBuf> {
    environment::settings()
        .map(|settings| settings.join("tillward").join("profiles"))
        .ok_or_else(|| advise("this user has no home folder", "set XDG_CONFIG_HOME, or name the profile's file with --profile."))
}

/// Finds a profile. What holds a `/` or a `.` is a file, anything else the name of one: so what lies about in the working folder
/// never changes which service is spoken to.
pub(super) fn find(named: Option<&str>) -> anyhow::Result<Found> {
    let named = match named {
        Some(named) => named.to_owned(),
        None => default()?.ok_or_else(|| {
            let what = "no profile is named, and there is no default";
            advise(
                what,
                "`tillward profile list` shows the profiles, `tillward profile use NAME` makes one the default; or name one with --profile.",
            )
        })?,
    };
    if named.contains(['/', '.']) {
        return Ok(Found { path: PathBuf::from(&named), name: named });
    }
    let path = folder()?.join(format!("{named}.toml"));
    if !path.exists() {
        let what = format!("there is no profile {named} ({})", path.display());
        return Err(advise(what, "`tillward profile list` shows the profiles; a file is named with its path, such as ./NAME.toml."));
    }
    Ok(Found { name: named, path })
}

/// The name or path that was made the default.
fn default() -> anyhow::Result<Option<String>> {
    let Ok(folder) = folder() else { return Ok(None) };
    let path = folder.with_file_name(DEFAULT);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error)
            .with_context(|| Advice::new(format!("cannot read {}", path.display()), "`tillward profile use NAME` writes it anew.")),
    }
}

/// What a profile leads to.
struct Described {
    profile: Profile,
    path: PathBuf,
    principal: Option<String>,
    ends: Option<UnixTime>,
}

fn describe(found: &Found) -> anyhow::Result<Described> {
    let (profile, folder) = Profile::read(&found.path)?;
    let file = folder.join(&profile.certificate);
    let certificate = CertificateDer::from_pem_file(&file)
        .with_context(|| Advice::new(format!("{} is not a certificate in PEM", file.display()), "correct `certificate` in the profile."))?;
    let ends = x509_cert::Certificate::from_der(&certificate)
        .ok()
        .and_then(|certificate| i64::try_from(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs()).ok());
    let path = found.path.canonicalize().unwrap_or_else(|_| found.path.clone());
    Ok(Described { principal: principal_uri(&certificate), ends: ends.map(UnixTime), profile, path })
}

/// The service that a profile leads to, and as whom.
pub(super) fn service(found: &Found) -> anyhow::Result<(Profile, Option<String>)> {
    describe(found).map(|described| (described.profile, described.principal))
}

pub(super) fn run(command: Profiles) -> anyhow::Result<()> {
    match command {
        Profiles::List { json } => list(json),
        Profiles::Show { profile, json } => show(profile.as_deref(), json),
        Profiles::Use { profile, json } => make_default(&profile, json),
    }
}

/// Every profile of the folder, sorted by name; and the default, if it is a file elsewhere.
fn all() -> anyhow::Result<Vec<Found>> {
    let folder = folder()?;
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).into_iter().flatten() {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            all.push(Found { name: name.to_owned(), path });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(default) = default()?
        && all.iter().all(|found| found.name != default)
    {
        all.push(Found {
            path: if default.contains('/') { PathBuf::from(&default) } else { folder.join(format!("{default}.toml")) },
            name: default,
        });
    }
    Ok(all)
}

fn list(json: bool) -> anyhow::Result<()> {
    let default = default()?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for found in all()? {
        let is_default = default.as_deref() == Some(found.name.as_str());
        let mark = if is_default { "*" } else { "" }.to_owned();
        match describe(&found) {
            Ok(Described { profile, principal, ends, .. }) => {
                values.push(json!({
                    "name": found.name, "file": found.path, "default": is_default, "url": profile.url, "principal": principal,
                    "ends": ends.map(UnixTime::rfc3339),
                }));
                let (principal, ends) =
                    (principal.unwrap_or_else(|| "-".to_owned()), ends.map_or_else(|| "-".to_owned(), UnixTime::rfc3339));
                rows.push(vec![mark, found.name, profile.url, principal, ends]);
            }
            Err(error) => {
                let trouble = format!("{error:#}").trim_end().to_owned();
                rows.push(vec![mark, found.name.clone(), "not acceptable: see `show`".to_owned()]);
                values.push(json!({"name": found.name, "file": found.path, "default": is_default, "trouble": trouble}));
            }
        }
    }
    if json {
        output::json(&json!({"profiles": values}));
    } else if rows.is_empty() {
        println!("There is no profile in {}. `tillward profile --help` says what one is.", folder()?.display());
    } else {
        output::table(&["", "profile", "service", "as", "certificate ends"], &rows);
    }
    Ok(())
}

fn show(named: Option<&str>, json: bool) -> anyhow::Result<()> {
    let found = find(named)?;
    let Described { profile, path, principal, ends } = describe(&found)?;
    let value = json!({
        "name": found.name, "file": path, "url": profile.url, "ca": profile.ca, "certificate": profile.certificate, "key": profile.key,
        "principal": principal, "ends": ends.map(UnixTime::rfc3339),
    });
    if json {
        output::json(&value);
    } else {
        output::object(&value);
    }
    Ok(())
}

fn make_default(named: &str, json: bool) -> anyhow::Result<()> {
    let found = find(Some(named))?;
    let Described { profile, path, principal, .. } = describe(&found)?;
    // A file is the default from every folder.
    let name = if named.contains(['/', '.']) { path.display().to_string() } else { found.name };
    let file = folder()?.with_file_name(DEFAULT);
    let parent = file.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&file, format!("{name}\n"))).with_context(|| {
        Advice::new(format!("cannot write {}", file.display()), "make the folder writable, or set XDG_CONFIG_HOME to another.")
    })?;
    let value: Value = json!({"default": name, "url": profile.url, "principal": principal});
    if json {
        output::json(&value);
    } else {
        output::object(&value);
    }
    Ok(())
}
