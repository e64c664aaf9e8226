//! Whose turn it is to log in, and what came of the last try: in a file that all hosts of one service share. Each wrong PIN brings a real token
//! nearer to its lock, whichever process tried it, and whether or not that process lived to tell.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::uri::Pkcs11Uri;

/// Between two looks whether it is this host's turn.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than a record can be.
const LONGEST: usize = 8 * 1024;

/// The shared file; without one, this process keeps its own counsel.
#[derive(Default)]
pub(super) struct Logins(Option<Arc<File>>);

/// What is known of a PIN file that is about to be tried.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// A host tried it, and ended before it knew what came of it.
    Unclear,
    /// The token refused it, with this code.
    Refused(String),
}

/// The right to try; others wait until it is dropped, or its process has ended.
pub(super) struct Turn<'l> {
    file: Option<&'l File>,
    /// Token and state of the PIN file: no digest of its content, which could be guessed from it.
    stamp: String,
}

impl Logins {
    /// A file that is there. Opened before the process hides its own descriptors.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).open(path).map(|file| Self(Some(Arc::new(file))))
    }

    /// The file itself, for what else one host does at a time.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.0.clone()
    }

    /// Waits for this host's turn; `waiting` is called meanwhile. Who has it is inside `C_Login`, and is ended if it hangs there.
    pub(super) fn turn(&self, uri: &Pkcs11Uri, waiting: impl Fn()) -> Turn<'_> {
        let file = self.0.as_deref();
        while file.is_some_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))) {
            waiting();
            std::thread::sleep(PAUSE);
        }
        let state = std::fs::metadata(uri.pin_path()).map(|file| (file.ino(), file.len(), file.mtime(), file.mtime_nsec())).ok();
        Turn { file, stamp: format!("{uri} {state:?}") }
    }
}

impl Turn<'_> {
    /// What came of the last try with this PIN file.
    pub(super) fn before(&self) -> Before {
        let mut bytes = vec![0; LONGEST];
        let read = self.file.and_then(|file| file.read_at(&mut bytes, 0).ok()).unwrap_or(0);
        let record = bytes.get(..read).and_then(|record| std::str::from_utf8(record).ok()).unwrap_or_default();
        match record.split_once('\n') {
            Some((result, stamp)) if stamp == self.stamp => match result {
                "" => Before::Unclear,
                code => Before::Refused(code.to_owned()),
            },
            _ => Before::Nothing,
        }
    }

    /// The PIN is about to be tried.
    pub(super) fn trying(&self) {
        self.write(&format!("\n{}", self.stamp));
    }

    /// The token refused it.
    pub(super) fn refused(&self, code: &str) {
        self.write(&format!("{code}\n{}", self.stamp));
    }

    /// The token took it, or said that it was something else.
    pub(super) fn not_refused(&self) {
        self.write("");
    }

    fn write(&self, record: &str) {
        let Some(file) = self.file else { return };
        if let Err(error) = file.set_len(0).and_then(|()| file.write_all_at(record.as_bytes(), 0)) {
            tracing::error!(%error, "what came of a login cannot be shared with the other hosts");
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file {
            drop(file.unlock());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn one_at_a_time_and_each_knows_of_the_one_before() {
        let name = format!("tillward-logins-{}", std::process::id());
        let (path, pin) = (std::env::temp_dir().join(&name), std::env::temp_dir().join(format!("{name}-pin")));
        std::fs::write(&path, "").expect("a file");
        std::fs::write(&pin, "1234").expect("a PIN file");
        let uri = Pkcs11Uri::new("label", Path::new("/lib.so"), &pin).expect("a URI");
        let (one, other) = (Logins::open(&path).expect("opens"), Logins::open(&path).expect("opens"));
        let turn = one.turn(&uri, || {});
        assert_eq!(turn.before(), Before::Nothing);
        turn.trying();
        let waited = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| other.turn(&uri, || waited.store(true, Ordering::SeqCst)).before());
            while !waited.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            turn.refused("CKR_PIN_INCORRECT");
            drop(turn);
            assert_eq!(second.join().expect("joins"), Before::Refused("CKR_PIN_INCORRECT".to_owned()));
        });
        one.turn(&uri, || {}).trying();
        assert_eq!(other.turn(&uri, || {}).before(), Before::Unclear);
        // Another PIN file is another matter.
        std::fs::write(&pin, "12345").expect("a PIN file");
        assert_eq!(other.turn(&uri, || {}).before(), Before::Nothing);
        other.turn(&uri, || {}).not_refused();
        drop((std::fs::remove_file(path), std::fs::remove_file(pin)));
    }
}
