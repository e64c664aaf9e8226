//! Where rules come from: the script, read again whenever its file is another, and the control socket.

use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::active::{Active, Counter, RuleSet};
use crate::rule::{Line, Rule, Script, Settings};
use crate::state::State;

/// What tells one version of the script's file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Version {
    fn from(of: &Metadata) -> Self {
        let (modified, changed) = ((of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec()));
        Self { device: of.dev(), inode: of.ino(), size: of.size(), modified, changed }
    }
}

/// Rules and limits from one source.
#[derive(Debug, Clone, Default)]
struct Source {
    rules: Vec<Arc<Active>>,
    settings: Settings,
}

impl Source {
    fn lift(&self) {
        for rule in &self.rules {
            rule.lift();
        }
    }
}

#[derive(Debug, Default)]
struct Held {
    version: Option<Version>,
    script: Source,
    /// Why the script is refused.
    broken: Option<String>,
    socket: Source,
    /// Script and socket together.
    set: Arc<RuleSet>,
}

impl Held {
    fn join(&mut self) {
        let rules = [self.script.rules.as_slice(), self.socket.rules.as_slice()].concat();
        self.set = Arc::new(RuleSet { rules, settings: self.socket.settings.or(self.script.settings) });
    }
}

/// The rules of this process.
#[derive(Debug)]
pub(crate) struct Rules {
    path: Option<PathBuf>,
    state: State,
    held: RwLock<Held>,
}

impl Rules {
    pub(crate) fn new(path: Option<PathBuf>, state: State) -> Self {
        Self { path, state, held: RwLock::default() }
    }

    /// The rules of this moment, or why the script is refused. Looks at the file at every call, so that a call that begins after the
    /// script was replaced obeys the new one.
    pub(crate) fn current(&self) -> Result<Arc<RuleSet>, String> {
        let version = self.path.as_deref().and_then(|path| fs::metadata(path).ok()).map(|metadata| Version::from(&metadata));
        {
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            if held.version == version {
                return held.broken.clone().map_or_else(|| Ok(Arc::clone(&held.set)), Err);
            }
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.version != version {
            self.reload(&mut held, version);
        }
        held.broken.clone().map_or_else(|| Ok(Arc::clone(&held.set)), Err)
    }

    fn reload(&self, held: &mut Held, version: Option<Version>) {
        let Some(path) = self.path.as_deref() else { return };
        held.script.lift();
        held.script = Source::default();
        held.broken = None;
        held.version = version;
        match read(path) {
            Ok(Some((version, modified, text))) => {
                held.version = Some(version);
                match Script::parse(&text) {
                    Ok(script) => held.script = self.install(script, version, modified),
                    Err(error) => held.broken = Some(format!("{}: {error}", path.display())),
                }
            }
            Ok(None) => held.version = None,
            Err(error) => held.broken = Some(format!("{}: {error}", path.display())),
        }
        if let Some(reason) = &held.broken {
            crate::complain(reason);
        }
        held.join();
    }

    fn install(&self, script: Script, version: Version, modified: SystemTime) -> Source {
        let rules = script.rules.into_iter().map(|(line, rule)| {
            let seen = if rule.when.shared { self.state.rule_counter(key(version, line)) } else { None };
            Arc::new(Active::new(rule, modified, self.state.hits(), seen.map_or_else(|| Counter::Own(AtomicU64::new(0)), Counter::Shared)))
        });
        Source { rules: rules.collect(), settings: script.settings }
    }

    /// Adds a line that came over the socket.
    pub(crate) fn add(&self, line: Line, now: SystemTime) -> Result<(), &'static str> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        match line {
            Line::Rule(Rule { when, .. }) if when.shared => {
                return Err("shared counts belong to a script: the socket is this process's own");
            }
            Line::Rule(rule) => {
                let own = Counter::Own(AtomicU64::new(0));
                held.socket.rules.push(Arc::new(Active::new(rule, now, self.state.hits(), own)));
            }

            setting => {
                // Said again, it replaces what was said before.
                held.socket.settings.take(&setting);
            }
        }
        held.join();
        Ok(())
    }

    /// Lifts everything. The script comes back when its file is another.
    pub(crate) fn clear(&self) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.script.lift();
        held.socket.lift();
        (held.script, held.socket, held.broken) = (Source::default(), Source::default(), None);
        held.join();
    }
}

/// The script's text with the version of the very file that it was read from; nothing if there is no file.
fn read(path: &Path) -> io::Result<Option<(Version, SystemTime, String)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(Some((Version::from(&metadata), metadata.modified()?, text)))
}

/// The same in every process that reads the same file.
fn key(version: Version, line: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (version, line).hash(&mut hasher);
    hasher.finish()
}
