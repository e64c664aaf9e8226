//! The roster of officers that is in force, and the file that it came from.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tillward_hsm::{Roster, RosterError};

use super::error::chain;
use super::{pins, sha256};
use crate::store::{PinKind, Store};

/// Why there is no roster to be had from the file.
#[derive(Debug, thiserror::Error)]
pub enum OfficersError {
    /// It cannot be read.
    #[error("the officers' file {path} cannot be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not one.
    #[error("the officers' file {path} cannot be used")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: RosterError,
    },
}

/// A roster, and the SHA-256 of its file.
#[derive(Debug, Clone)]
pub struct OfficersFile {
    /// Who can approve.
    pub roster: Roster,
    /// What is pinned.
    pub digest: [u8; 32],
}

impl OfficersFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`OfficersError`].
    pub fn read(path: &Path) -> Result<Self, OfficersError> {
        let text = std::fs::read_to_string(path).map_err(|source| OfficersError::Read { path: path.to_owned(), source })?;
        let roster = Roster::parse(&text).map_err(|source| OfficersError::Parse { path: path.to_owned(), source })?;
        Ok(Self { roster, digest: sha256(text.as_bytes()) })
    }
}

/// The roster that is in force. Without a file it is empty: nobody can approve.
#[derive(Debug)]
pub struct Officers {
    path: Option<PathBuf>,
    now: RwLock<Arc<OfficersFile>>,
    trouble: Mutex<Option<String>>,
}

impl Officers {
    /// Reads the file of the configuration, if it names one.
    ///
    /// # Errors
    /// [`OfficersError`].
    pub fn open(path: Option<&Path>) -> Result<Self, OfficersError> {
        let empty = || OfficersFile { roster: Roster::default(), digest: [0; 32] };
        let file = path.map(OfficersFile::read).transpose()?.unwrap_or_else(empty);
        Ok(Self { path: path.map(Path::to_owned), now: RwLock::new(Arc::new(file)), trouble: Mutex::new(None) })
    }

    /// The file that the configuration names.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What is in force.
    pub fn now(&self) -> Arc<OfficersFile> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the file: a roster that was approved is put in force; another is not, which is logged once and shown.
    pub async fn look(&self, store: &Store) {
        let trouble = self.take(store).await.err();
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_ref().filter(|trouble| noted.as_ref() != Some(trouble)) {
            tracing::error!(error = trouble, "the officers' file has changed and is not taken: the old roster stays in force");
        }
        *noted = trouble;
    }

    async fn take(&self, store: &Store) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = OfficersFile::read(path).map_err(|error| chain(&error))?;
        pins::allow(store, PinKind::Officers, &file.digest).await.map_err(|error| chain(&error))?;
        if file.digest != self.now().digest {
            tracing::info!(digest = data_encoding::HEXLOWER.encode(&file.digest), "another roster of officers is in force");
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(file);
        }
        Ok(())
    }

    /// Why what is in the file is not in force.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
