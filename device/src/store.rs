//! A phone's directory: files only their owner can read, written whole or not at all, one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::encoding::Base64Url;

/// Why a file of the phone could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another phone object holds the directory: two would use one counter twice.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Others than the owner may read the file.
    #[error("{} can be read by others than its owner", .0.display())]
    TooOpen(PathBuf),
    /// The file does not hold what it should.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
}

/// No file of a phone is longer.
const FILE_LIMIT: u64 = 1024 * 1024;

/// A phone's directory, held by this process until it is dropped.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    _lock: File,
}

impl Store {
    /// Takes `directory`, which is made if it is not there (mode 0700).
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another phone object has it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(directory.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces a file: after this returns, a crash or power cut finds the new content; before, the old.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.directory.join(name);
        let temporary = self.directory.join(format!(".{name}.new"));
        self.replace(&temporary, &path, content).map_err(|source| StoreError::Io { path, source })
    }

    fn replace(&self, temporary: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(temporary, path)?;
        // The rename itself is durable only when the directory is.
        File::open(&self.directory)?.sync_all()
    }

    /// A file's content; `None` if there is no such file.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read, is too long or can be read by others.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let path = self.directory.join(name);
        let io = |source| StoreError::Io { path: path.clone(), source };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(io)?,
        };
        let metadata = file.metadata().map_err(io)?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(StoreError::TooOpen(path));
        }
        if metadata.len() > FILE_LIMIT {
            return Err(StoreError::Damaged(path));
        }
        let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0)));
        file.take(FILE_LIMIT).read_to_end(&mut content).map_err(io)?;
        Ok(Some(content))
    }

    /// A file that must be there.
    ///
    /// # Errors
    /// As [`Self::read`]; a missing file is [`StoreError::Damaged`].
    pub fn require(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.read(name)?.ok_or_else(|| self.damaged(name))
    }

    /// Writes key material as one line of base64url.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write_secret(&self, name: &str, secret: &[u8]) -> Result<(), StoreError> {
        let line = Zeroizing::new(data_encoding::BASE64URL_NOPAD.encode(secret));
        self.write(name, line.as_bytes())
    }

    /// Reads [`Self::write_secret`]'s line.
    ///
    /// # Errors
    /// As [`Self::require`].
    pub fn require_secret(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let line = self.require(name)?;
        let text = std::str::from_utf8(&line).map_err(|_| self.damaged(name))?;
        Base64Url::parse(text.trim_end()).map(|secret| Zeroizing::new(secret.0)).ok_or_else(|| self.damaged(name))
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.directory.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::Io { path, source }),
            _ => Ok(()),
        }
    }

    /// The error that says a file does not hold what it should.
    pub fn damaged(&self, name: &str) -> StoreError {
        StoreError::Damaged(self.directory.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let directory = tempfile::tempdir().expect("directory");
        let first = Store::open(directory.path()).expect("free");
        assert!(matches!(Store::open(directory.path()), Err(StoreError::InUse(_))));
        drop(first);
        assert!(Store::open(directory.path()).is_ok());
    }

    #[test]
    fn files_are_the_owners_alone_and_open_ones_are_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("free");
        store.write("file", b"one").expect("written");
        store.write("file", b"two").expect("replaced");
        let path = directory.path().join("file");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(store.require("file").expect("read").as_slice(), b"two");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(matches!(store.read("file"), Err(StoreError::TooOpen(_))));
    }

    #[test]
    fn a_missing_or_foreign_secret_is_damage() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("free");
        assert!(store.read("secret").expect("no file").is_none());
        assert!(matches!(store.require_secret("secret"), Err(StoreError::Damaged(_))));
        store.write("secret", b"not base64url!").expect("written");
        assert!(matches!(store.require_secret("secret"), Err(StoreError::Damaged(_))));
        store.write_secret("secret", &[1, 2, 3]).expect("written");
        assert_eq!(store.require_secret("secret").expect("read").as_slice(), [1, 2, 3]);
        store.remove("secret").expect("removed");
        store.remove("secret").expect("nothing to remove");
    }
}
