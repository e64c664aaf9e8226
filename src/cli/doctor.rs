//! `tillward doctor`: named checks of everything the service needs, each with the return code and one line on what to do.

mod hsm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use tillward_hsm::{Finding, Hsm, HsmError, Outage};

use super::output::{self, Paint};
use super::{progress, this_program};
use crate::clock::{Clock, UnixTime};
use crate::config::{Config, ConfigError};
use crate::http::Listeners;
use crate::ops::authority::Authorities;
use crate::ops::reconcile;
use crate::store::Store;

/// Arguments of `tillward doctor`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Doctor {
    #[command(subcommand)]
    of: Option<Of>,
    /// Configuration file
    #[arg(long, default_value = "tillward.toml")]
    config: PathBuf,
    /// JSON for machines instead of a table
    #[arg(long)]
    json: bool,
}

/// What is examined, if it is not the installation.
#[derive(Debug, Subcommand)]
enum Of {
    /// Is this HSM fit for Tillward? Tries all that Tillward needs on scratch objects, and needs no configuration
    Hsm(hsm::Hsm),
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    ok: bool,
    code: Option<String>,
    hint: String,
}

impl From<Finding> for Check {
    fn from(finding: Finding) -> Self {
        Self { name: finding.name, ok: finding.ok, code: finding.code, hint: finding.hint }
    }
}

impl Check {
    fn of<E: std::error::Error + 'static>(name: &str, outcome: &Result<String, E>, advice: &str) -> Self {
        match outcome {
            Ok(found) => Self { name: name.to_owned(), ok: true, code: None, hint: found.clone() },
            Err(error) => {
                let mut text = error.to_string();
                let mut next: Option<&dyn std::error::Error> = error.source();
                while let Some(source) = next {
                    text = format!("{text}: {source}");
                    next = source.source();
                }
                Self { name: name.to_owned(), ok: false, code: None, hint: format!("{text}; {advice}") }
            }
        }
    }
}

/// A certificate or a clock that is out of its time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OutOfTime(String);

pub(super) async fn run(args: Doctor) -> anyhow::Result<ExitCode> {
    if let Some(Of::Hsm(args)) = args.of {
        return hsm::run(args).await;
    }
    let checks = match Config::read(&args.config) {
        Ok(config) => {
            let mut checks = vec![Check::of::<ConfigError>("configuration", &Ok(args.config.display().to_string()), "")];
            checks.extend(progress::during(args.json, "looking at HSM and database", examine(&config)).await?);
            checks
        }
        Err(error) => vec![Check::of("configuration", &Err(error), "docs/tillward.example.toml shows every field")],
    };
    let failed = checks.iter().filter(|check| !check.ok).count();
    if args.json {
        output::json(&json!({"ok": failed == 0, "checks": checks}));
    } else {
        print(&checks, failed);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The checks of the HSM, and the HSM if it is fit for more.
async fn examine_hsm(config: &Config) -> anyhow::Result<(Vec<Check>, Option<Hsm>)> {
    let mut checks = Vec::new();
    let mut host = config.hsm_config(this_program()?, false)?;
    // What the host finds is printed here.
    "off".clone_into(&mut host.log);
    let hsm = match Hsm::start_for_diagnosis(host).await {
        Ok(hsm) => {
            let status = hsm.status().await?;
            let ready = status.is_ready();
            checks.extend(status.findings.into_iter().map(Check::from));
            if !ready {
                hsm.shutdown().await;
                return Ok((checks, None));
            }
            let canary = hsm.canary().await.map(|()| "a signature was made and verified".to_owned());
            checks.push(Check::of("canary", &canary, "see the findings above"));
            checks.push(acquirers(&hsm, config).await);
            Some(hsm)
        }
        Err(HsmError::Unavailable(Outage::NotReady(findings))) => {
            checks.extend(findings.into_iter().map(Check::from));
            None
        }
        Err(error) => {
            checks.push(Check::of("hsm-host", &Err(error), "does the host process start? see its log on standard error"));
            None
        }
    };
    Ok((checks, hsm))
}

async fn examine(config: &Config) -> anyhow::Result<Vec<Check>> {
    let (mut checks, hsm) = examine_hsm(config).await?;
    let store = Store::open(&config.store.url, 2).await;
    let opened = store.as_ref().map(|_| config.store.url.split(':').next().unwrap_or_default().to_owned()).map_err(Clone::clone);
    checks.push(Check::of("database", &opened, "is store.url right, and the server up?"));
    let now = Clock::system().now();
    if let Ok(store) = &store {
        checks.push(clock(store, now).await);
        if let Some(hsm) = &hsm {
            checks.push(certificates(store, hsm, now).await);
            checks.push(restored(store, hsm, config).await);
        }
    }
    let policy = std::fs::read_to_string(&config.attestation.policy)
        .map_err(|error| OutOfTime(error.to_string()))
        .and_then(|text| crate::attestation::level::AppraisalPolicy::parse(&text).map_err(|error| OutOfTime(error.to_string())))
        .map(|policy| format!("{} levels", policy.levels().count()));
    checks.push(Check::of("appraisal-policy", &policy, "policies/README.md says what it holds"));
    let tls = Listeners::check(config).map(|()| "certificates and keys fit".to_owned());
    checks.push(Check::of("tls", &tls, "see [listen] in docs/tillward.example.toml"));
    if let Ok(store) = store {
        store.close().await;
    }
    if let Some(hsm) = hsm {
        hsm.shutdown().await;
    }
    Ok(checks)
}

/// The clock must not be behind what the database has seen: tokens and certificates would start in the past.
async fn clock(store: &Store, now: UnixTime) -> Check {
    let seen = match store.read().await {
        Ok(mut reads) => reads.last_audit_time().await,
        Err(error) => Err(error),
    };
    let outcome = match seen {
        Ok(Some(seen)) if seen.since(now) > 60 => {
            Err(OutOfTime(format!("the clock says {}, the audit log has seen {}", now.rfc3339(), seen.rfc3339())))
        }
        Ok(_) => Ok(now.rfc3339()),
        Err(error) => Err(OutOfTime(error.to_string())),
    };
    Check::of("clock", &outcome, "set the system's clock (NTP)")
}

async fn certificates(store: &Store, hsm: &Hsm, now: UnixTime) -> Check {
    let outcome = match Authorities::load(store, hsm).await {
        Ok(authorities) if authorities.ends() <= now => Err(OutOfTime(format!("a certificate ended {}", authorities.ends().rfc3339()))),
        Ok(authorities) => Ok(format!("valid until {}", authorities.ends().rfc3339())),
        Err(error) => Err(OutOfTime(error.to_string())),
    };
    Check::of("certificates", &outcome, "`tillward init` makes what is missing")
}

/// What the service would refuse to start with: base derivation keys that the token lacks.
async fn acquirers(hsm: &Hsm, config: &Config) -> Check {
    let outcome = match reconcile::without_keys(hsm, &config.acquirers).await {
        Ok(None) => Ok(format!("{} with base derivation keys", config.acquirers.len())),
        Ok(Some(refused)) | Err(refused) => Err(refused),
    };
    Check::of("acquirers", &outcome, "`tillward init` makes what is missing")
}

/// What the service would refuse to start with: a database that is older than the token.
async fn restored(store: &Store, hsm: &Hsm, config: &Config) -> Check {
    let outcome = match reconcile::restored(store, hsm, &config.acquirers).await {
        Ok(None) => Ok("the token does not know more than the database".to_owned()),
        Ok(Some(refused)) | Err(refused) => Err(refused),
    };
    Check::of("restored-database", &outcome, "put the right database back, or accept this one")
}

fn print(checks: &[Check], failed: usize) {
    let paint = Paint::stdout();
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in checks {
        let mark = if check.ok { paint.good("ok  ") } else { paint.bad("FAIL") };
        let code = check.code.as_ref().map(|code| format!(" [{code}]")).unwrap_or_default();
        println!("{mark}  {:width$} {code} {}", check.name, check.hint);
    }
    if failed == 0 {
        println!("\n{}", paint.good("Everything is in order."));
    } else {
        println!("\n{}", paint.bad(&format!("{failed} of {} checks failed.", checks.len())));
    }
}
