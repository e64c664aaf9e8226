//! The control socket: a line in, a line or more out, the last of which begins with `ok` or `error`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::function::Function;
use crate::module::{self, Module, now};
use crate::rule::Script;
use crate::state::Count;

/// How often a process that found the socket in use tries again: it takes over when the other ends.
const AGAIN: Duration = Duration::from_millis(20);

/// Serves the socket in a thread of its own, for as long as the process lives. `%p` in the path is the process's number.
pub(crate) fn listen(path: PathBuf) {
    let path = match path.to_str() {
        Some(text) => PathBuf::from(text.replace("%p", &std::process::id().to_string())),
        None => path,
    };
    let name = "fault-control".to_owned();
    if let Err(error) = std::thread::Builder::new().name(name).spawn(move || serve(&path)) {
        crate::complain(&format!("no thread for the control socket: {error}"));
    }
}

fn serve(path: &Path) {
    let listener = loop {
        match bind(path) {
            Ok(Some(listener)) => break listener,
            Ok(None) => std::thread::sleep(AGAIN),
            Err(error) => return crate::complain(&format!("{}: {error}", path.display())),
        }
    };
    for stream in listener.incoming().flatten() {
        // A client that goes away in the middle of a line has nothing more to say.
        let _ = std::thread::Builder::new().name("fault-client".to_owned()).spawn(move || converse(&stream));
    }
}

/// Nothing if a living process has the socket.
fn bind(path: &Path) -> io::Result<Option<UnixListener>> {
    // Of several that find the socket dead, one removes it: the next would remove a living one.
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = File::options().write(true).create(true).truncate(false).open(lock)?;
    lock.lock()?;
    match UnixListener::bind(path) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_err() {
                std::fs::remove_file(path)?;
                return UnixListener::bind(path).map(Some);
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn converse(stream: &UnixStream) -> io::Result<()> {
    let mut out = stream;
    for line in BufReader::new(stream).lines() {
        let answer = match module::loaded() {
            Some(module) => obey(module, line?.trim()),
            None => "error the module is being loaded\n".to_owned(),
        };
        out.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn obey(module: &Module, line: &str) -> String {
    match line {
        "clear" => {
            module.rules.clear();
            "ok\n".to_owned()
        }
        "pid" => format!("ok {}\n", std::process::id()),
        "status" => status(module),
        "counts" => counts(module),
        line => match Script::line(line).map(|parsed| parsed.map(|line| module.rules.add(line, now()))) {
            Ok(None | Some(Ok(()))) => "ok\n".to_owned(),
            Ok(Some(Err(reason))) => format!("error {reason}\n"),
            Err(reason) => format!("error {reason}\n"),
        },
    }
}

fn status(module: &Module) -> String {
    match module.rules.current() {
        Err(reason) => format!("error {reason}\n"),
        Ok(rules) => {
            let mut lines: Vec<_> = rules.rules.iter().map(ToString::to_string).collect();
            lines.extend(Some(rules.settings.to_string()).filter(|settings| !settings.is_empty()));
            lines.push(format!("ok {} rules\n", rules.rules.len()));
            lines.join("\n")
        }
    }
}

fn counts(module: &Module) -> String {
    let lines = Function::ALL.iter().filter_map(|function| {
        let [called, failed, reached] = [Count::Called, Count::Failed, Count::Reached].map(|what| module.state.counted(*function, what));
        (called > 0).then(|| format!("{} called {called} failed {failed} reached {reached}", function.name()))
    });
    let mut lines: Vec<_> = lines.collect();
    lines.push(format!("ok {} functions\n", lines.len()));
    lines.join("\n")
}
