//! `tillward man`: one page a command, from the same words as `--help`, with exit codes, environment and files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;

use super::failure::Advice;
use super::{ENVIRONMENT, EXIT_CODES, FILES, output};

/// Arguments of `tillward man`.
#[derive(Debug, Args)]
pub(super) struct Pages {
    /// The folder, such as /usr/local/share/man/man1; it is made if it is not there
    dir: PathBuf,
    /// JSON for machines instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Pages) -> anyhow::Result<()> {
    let refused = || Advice::new(format!("cannot write into {}", args.dir.display()), "name a folder that you may write in.");
    std::fs::create_dir_all(&args.dir).with_context(refused)?;
    let mut root = super::shown().disable_help_subcommand(true);
    root.build();
    let mut written = Vec::new();
    write(&root, &args.dir, &mut written).with_context(refused)?;
    written.sort();
    if args.json {
        output::json(&json!({"dir": args.dir, "pages": written}));
    } else {
        println!("{} pages in {}; `man -l {}/tillward.1` shows the first.", written.len(), args.dir.display(), args.dir.display());
    }
    Ok(())
}

fn write(command: &Command, dir: &Path, written: &mut Vec<String>) -> std::io::Result<()> {
    for below in command.get_subcommands() {
        write(below, dir, written)?;
    }
    let man = Man::new(command.clone()).source(format!("tillward {}", env!("CARGO_PKG_VERSION"))).manual("Tillward");
    let name = man.get_filename();
    std::fs::write(dir.join(&name), page(command, &man)?)?;
    written.push(name);
    Ok(())
}

fn page(command: &Command, man: &Man) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let codes = EXIT_CODES.map(|(code, meaning)| (code.to_string(), meaning));
    section(&mut text, "EXIT STATUS", codes.iter().map(|(code, meaning)| (code.as_str(), *meaning)))?;
    section(&mut text, "ENVIRONMENT", ENVIRONMENT.into_iter())?;
    section(&mut text, "FILES", FILES.into_iter())?;
    Ok(text)
}

fn section<'a>(text: &mut Vec<u8>, title: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) -> std::io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (name, meaning) in rows {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(meaning)]);
    }
    roff.to_writer(text)
}
