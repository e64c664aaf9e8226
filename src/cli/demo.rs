//! `tillward demo`: the main job on a throw-away SoftHSM token and a SQLite file, told as a story, with figures at the end.

mod refusals;
mod stage;
mod story;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Paint};
use stage::Stage;

/// Arguments of `tillward demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// How many phones
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    phones: u32,
    /// Keep everything in this folder, and say how to go on from there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Only the figures, as JSON
    #[arg(long)]
    json: bool,
}

/// Where the story goes: to the terminal, or nowhere with `--json`.
#[derive(Debug, Clone, Copy)]
struct Teller {
    paint: Paint,
    quiet: bool,
}

impl Teller {
    fn chapter(self, title: &str) {
        if !self.quiet {
            println!("\n{}", self.paint.strong(title));
        }
    }

    fn say(self, text: &str) {
        if !self.quiet {
            println!("  {text}");
        }
    }

    fn good(self, what: &str, with: &str) {
        if !self.quiet {
            println!(
                "  {} {what}{}",
                self.paint.good("✓"),
                if with.is_empty() { String::new() } else { format!("  {}", self.paint.faint(with)) }
            );
        }
    }

    fn refused(self, what: &str, reason: &str) {
        if !self.quiet {
            println!("  {} {what:<58} {}", self.paint.bad("✗"), self.paint.faint(reason));
        }
    }
}

pub(super) async fn run(args: Demo) -> anyhow::Result<()> {
    let teller = Teller { paint: Paint::stdout(), quiet: args.json };
    let started = Instant::now();
    let stage = Stage::set(args.keep.clone(), teller).await?;
    let told = tell(&stage, &args, teller).await;
    let (mut figures, keep) = match told {
        Ok(told) => told,
        Err(error) => {
            eprintln!("--- log of the service\n{}", stage.log_tail());
            return Err(error);
        }
    };
    stage.strike().await?;
    if let Some(map) = figures.as_object_mut() {
        map.insert("seconds".to_owned(), json!(started.elapsed().as_secs_f64()));
    }
    if args.json {
        output::json(&figures);
    } else {
        print_figures(&figures, teller);
        if let Some(commands) = keep {
            println!("{commands}");
        }
    }
    Ok(())
}

async fn tell(stage: &Stage, args: &Demo, teller: Teller) -> anyhow::Result<(Value, Option<String>)> {
    let mut story = story::run(stage, args.phones, teller).await?;
    let refusals = refusals::run(stage, &mut story, teller).await?;
    let mut figures = story.figures();
    if let Some(map) = figures.as_object_mut() {
        map.insert("refusals".to_owned(), json!(refusals));
    }
    let keep = stage.kept().then(|| stage.next_commands());
    Ok((figures, keep))
}

fn print_figures(figures: &Value, teller: Teller) {
    teller.chapter("Figures");
    let Some(map) = figures.as_object() else { return };
    for (name, value) in map {
        match value {
            Value::Number(number) if number.is_f64() => println!("  {:<34} {:.1}", name.replace('_', " "), number.as_f64().unwrap_or(0.0)),
            Value::Object(latency) => {
                let at = |p: &str| latency.get(p).and_then(Value::as_f64).unwrap_or(0.0);
                println!("  {:<34} median {:.1} ms, 99 % {:.1} ms", name.replace('_', " "), at("p50_ms"), at("p99_ms"));
            }
            Value::Array(list) => println!("  {:<34} {}", name.replace('_', " "), list.len()),
            other => println!("  {:<34} {}", name.replace('_', " "), other.as_str().map_or_else(|| other.to_string(), str::to_owned)),
        }
    }
}
