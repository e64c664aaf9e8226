//! `tillward serve`

mod policies;
mod reconfigure;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::failure::Advice;
use crate::app::{App, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::Listeners;
use crate::ops;
use crate::ops::error::chain;
use crate::service::Service;

/// The start waits this long for the HSM, if it does not say before that it is not fit.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Arguments of `tillward serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Configuration file
    #[arg(long, default_value = "tillward.toml")]
    config: PathBuf,
    /// Log filter: a level, or levels by module such as `info,tillward=debug`
    #[arg(long, default_value = "info")]
    log: String,
}

pub(super) async fn run(args: Serve) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(tracing_subscriber::EnvFilter::try_new(&args.log).with_context(|| {
            Advice::new("--log is not a filter", "take error, warn, info, debug or trace, or levels by module: info,tillward=debug.")
        })?)
        .with_writer(std::io::stderr)
        .init();
    std::panic::set_hook(Box::new(|info| {
        // The payload of a panic can hold data; where it happened is enough.
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
    raise_descriptors();
    let text = std::fs::read_to_string(&args.config).unwrap_or_default();
    let config = Config::read(&args.config)?;
    let listeners = Listeners::bind(&config).await?;
    let addresses = listeners.addresses()?;
    let device_url = config.listen.device.url.clone().unwrap_or_else(|| format!("https://{}", addresses.device));
    let executable = super::this_program()?;
    let service = Arc::new(Service::open(&config, executable.clone(), device_url, Clock::system()).await?);
    // Without its HSM the service starts all the same, and serves as soon as it comes. What is not an outage stops the start.
    match service.bind_within(FIRST_WORD).await {
        Ok(()) => {}
        Err(error) if error.is_outage() => {
            tracing::error!(error = %chain(&error), "the HSM is away: everything is refused until it comes, docs/operations.md says what to do");
        }
        Err(error) => {
            service.hsm.shutdown().await;
            return Err(error.into());
        }
    }

    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let hangups = signal(SignalKind::hangup())?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping: no new connections, open requests end");
        told.send_replace(true);
    });
    // One line on standard output says that the service serves, and where: for people, and for whoever started it.
    println!("{}", json!({"serving": addresses}));
    tracing::info!(device = %addresses.device, backend = %addresses.backend, local = %addresses.local, "serving");
    let reconfigured = tokio::spawn(reconfigure::follow(args.config.clone(), text, executable, service.hsm.clone(), hangups));
    let followed = tokio::spawn(policies::follow(service.clone(), signal(SignalKind::hangup())?));
    let kept = tokio::spawn(keep(service.clone(), stop));
    listeners.serve(service.clone(), &config, stopped).await;
    reconfigured.abort();
    followed.abort();
    kept.abort();
    // What a keeper gave up half-way is due again when it has ended; what it ended with is how the service ends.
    let failed = kept.await.ok();
    if let Ok(app) = service.app() {
        app.anchor.settle(&app).await;
    }
    service.store.close().await;
    service.hsm.shutdown().await;
    tracing::info!("stopped");
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Binds the service to its token when that is possible, then does what is due. Returns what has to end the service.
async fn keep(service: Arc<Service>, stop: watch::Sender<bool>) -> StartError {
    let app = match service.bind_when_ready().await {
        Ok(app) => app,
        Err(error) => {
            tracing::error!(error = %chain(&error), "the HSM came, and the service cannot work with it: stopping");
            stop.send_replace(true);
            return error;
        }
    };
    tracing::info!("bound to the token");
    let (never, ..) = tokio::join!(keep_house(app.clone()), keep_keys(app.clone()), keep_anchored(app.clone()), keep_officers(app));
    match never {}
}

/// A connection is a file descriptor, and the usual soft limit (1024) is below `limits.connections`: up to the hard one.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}

/// What is due every hour, for as long as the service runs.
async fn keep_house(app: Arc<App>) -> Infallible {
    let mut hours = tokio::time::interval(Duration::from_hours(1));
    hours.tick().await;
    loop {
        hours.tick().await;
        if let Err(error) = ops::reconcile::purge(&app).await {
            tracing::warn!(%error, "expired challenges could not be purged");
        }
    }
}

/// Looks whether the officers' file has changed, and whether that was approved.
async fn keep_officers(app: Arc<App>) -> Infallible {
    let mut looks = tokio::time::interval(Duration::from_secs(2));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        app.officers.look(&app.store).await;
    }
}

/// What is due with keys, at the start and every minute.
async fn keep_keys(app: Arc<App>) -> Infallible {
    let mut minutes = tokio::time::interval(Duration::from_mins(1));
    minutes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        minutes.tick().await;
        match ops::do_key_work(&app).await {
            Ok(work) if work == ops::KeyWork::default() => {}
            Ok(work) => tracing::info!(?work, "key work"),
            Err(error) => tracing::warn!(error = %chain(&error), "due key work could not be looked for"),
        }
    }
}

/// Moves the mark on the token after what must not be revived, at most once a second.
async fn keep_anchored(app: Arc<App>) -> Infallible {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        app.anchor.noted().await;
        seconds.tick().await;
        app.anchor.settle(&app).await;
    }
}
