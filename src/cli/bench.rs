//! `tillward bench hsm`: how fast the HSM is, by mechanism, sessions and hosts, so that an operator sees how many sessions it wants.

mod advice;
mod plot;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use tillward_hsm::trial::{self, Cell, Plan, Work};

use super::failure::Advice;
use super::target::{Which, print_device};
use super::{output, progress};

/// Measurements.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Operations a second, median and 99th percentile of the HSM, on scratch keys, without the way through a host's socket
    Hsm(Hsm),
}

/// Arguments of `tillward bench hsm`.
#[derive(Debug, Args)]
pub(super) struct Hsm {
    #[command(flatten)]
    which: Which,
    /// Numbers of sessions in each host (its workers)
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8", value_parser = clap::value_parser!(u16).range(1..=1024))]
    sessions: Vec<u16>,
    /// Numbers of host processes
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u16).range(1..=64))]
    hosts: Vec<u16>,
    /// Seconds for each cell of the table
    #[arg(long, default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// Only these mechanisms: sign, cmac, hmac, derive, derive-mac, device-mac, oaep-unwrap, initial-key, dukpt-verify, random, key-pair
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = work)]
    only: Vec<Work>,
    /// Draw it, too
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// JSON for machines instead of a table
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(window) if (Duration::from_millis(1)..=Duration::from_mins(10)).contains(&window) => Ok(window),
        _ => Err("it is not between 0.001 and 600".to_owned()),
    }
}

fn work(text: &str) -> Result<Work, String> {
    Work::ALL.into_iter().find(|work| work.name() == text).ok_or_else(|| format!("there is no mechanism {text}"))
}

pub(super) async fn run(command: Bench) -> anyhow::Result<()> {
    let Bench::Hsm(args) = command;
    let works = if args.only.is_empty() { Work::ALL.to_vec() } else { args.only };
    let plan = Plan { works, hosts: sorted(args.hosts), sessions: sorted(args.sessions), window: args.seconds };
    let target = args.which.target()?;
    let bar = progress::spinner(args.json);
    let figures = trial::bench(&target, &plan, &mut |cell| bar.set_message(cell.to_owned())).await?;
    bar.finish_and_clear();
    if let Some(path) = &args.plot {
        let title = figures.device.as_ref().map(|device| device.library.as_str()).unwrap_or_default();
        plot::draw(path, title, &plan, &figures.cells)
            .with_context(|| Advice::new(format!("cannot draw {}", path.display()), "name a file in a folder that can be written."))?;
    }
    let advice = advice::lines(&plan, &figures.cells);
    if args.json {
        output::json(&json!({
            "device": figures.device, "window_ms": plan.window.as_millis(), "cells": figures.cells, "advice": advice,
        }));
        return Ok(());
    }
    print_device(figures.device.as_ref());
    print(&plan, &figures.cells);
    println!();
    for line in advice {
        println!("{line}");
    }
    Ok(())
}

fn sorted(mut numbers: Vec<u16>) -> Vec<u16> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Rows: mechanism and hosts. Columns: sessions in each host.
fn print(plan: &Plan, cells: &[Cell]) {
    let plural = |count: u16| if count == 1 { "1 session".to_owned() } else { format!("{count} sessions") };
    let mut headings = vec!["mechanism".to_owned(), "hosts".to_owned()];
    headings.extend(plan.sessions.iter().map(|count| plural(*count)));
    let rows: Vec<Vec<String>> = cells
        .chunk_by(|a, b| (a.work, a.hosts) == (b.work, b.hosts))
        .map(|of_row| {
            let (work, hosts) = of_row.first().map(|cell| (cell.work.name(), cell.hosts.to_string())).unwrap_or_default();
            let mut row = vec![work.to_owned(), hosts];
            row.extend(of_row.iter().map(show));
            row
        })
        .collect();
    println!(
        "Operations a second over all sessions of all hosts, and in brackets the median and the 99th percentile of one in microseconds.\n"
    );
    output::table(&headings.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
}

fn show(cell: &Cell) -> String {
    let fewer =
        if cell.got < u32::from(cell.hosts) * u32::from(cell.sessions) { format!(", {} sessions", cell.got) } else { String::new() };
    format!("{} ({}/{}{fewer})", cell.per_second, cell.p50_ns.div_ceil(1000), cell.p99_ns.div_ceil(1000))
}
