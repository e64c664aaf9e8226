//! `tillward serve`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::Listeners;
use crate::ops;

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
        .with_env_filter(tracing_subscriber::EnvFilter::try_new(&args.log).context("--log is not a filter")?)
        .with_writer(std::io::stderr)
        .init();
    std::panic::set_hook(Box::new(|info| {
        // The payload of a panic can hold data; where it happened is enough.
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
    raise_descriptors();
    let config = Config::read(&args.config)?;
    let listeners = Listeners::bind(&config).await?;
    let addresses = listeners.addresses()?;
    let device_url = config.listen.device.url.clone().unwrap_or_else(|| format!("https://{}", addresses.device));
    let app = Arc::new(App::open(&config, super::this_program()?, device_url, Clock::system()).await?);

    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping: no new connections, open requests end");
        let _ = stop.send(true);
    });
    // One line on standard output says that the service serves, and where: for people, and for whoever started it.
    println!("{}", json!({"serving": addresses}));
    tracing::info!(device = %addresses.device, backend = %addresses.backend, local = %addresses.local, "serving");
    let keepers = [tokio::spawn(keep_house(app.clone())), tokio::spawn(keep_anchored(app.clone()))];
    let hsm = app.hsm.clone();
    let store = app.store.clone();
    listeners.serve(app.clone(), &config, stopped).await;
    for keeper in keepers {
        keeper.abort();
        // What it gave up half-way is due again when it has ended.
        drop(keeper.await);
    }
    app.anchor.settle(&app).await;
    store.close().await;
    hsm.shutdown().await;
    tracing::info!("stopped");
    Ok(())
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
async fn keep_house(app: Arc<App>) {
    let mut hours = tokio::time::interval(Duration::from_hours(1));
    hours.tick().await;
    loop {
        hours.tick().await;
        if let Err(error) = ops::reconcile::purge(&app).await {
            tracing::warn!(%error, "expired challenges could not be purged");
        }
    }
}

/// Moves the mark on the token after what must not be revived, at most once a second.
async fn keep_anchored(app: Arc<App>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        app.anchor.noted().await;
        seconds.tick().await;
        app.anchor.settle(&app).await;
    }
}
