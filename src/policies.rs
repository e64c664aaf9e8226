//! The folder of policies: read as a whole, checked as a whole, and followed while the service runs. A folder that cannot be used changes
//! nothing: the policies that were in force stay.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::authz::{Authz, Policies, PolicyFiles, PolicyRefusal, SCHEMA_FILE};
use crate::clock::UnixTime;
use crate::config::Authorization;
use crate::ops::error::chain;

/// No file of a folder is longer.
const LARGEST: u64 = 1024 * 1024;

/// Why a folder of policies is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFolderError {
    /// The folder, or a file in it, cannot be read.
    #[error("the policies at {path} cannot be read")]
    Read {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is nothing in it. Without policies nothing is allowed, not even the start.
    #[error("the folder {0} has no *.cedar file")]
    Empty(PathBuf),
    /// What is in it is refused as a whole.
    #[error("the policies at {path} are refused as a whole; `tillward policy check {path}` says what to do")]
    Refused {
        /// The folder.
        path: PathBuf,
        /// Everything that is wrong.
        source: PolicyRefusal,
    },
}

/// Reads the files of a folder that matter: `*.cedar`, and the schema. Folders in it are not looked into.
///
/// # Errors
/// [`PolicyFolderError`]: unreadable, or none.
pub fn read(folder: &Path) -> Result<PolicyFiles, PolicyFolderError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| PolicyFolderError::Read { path, source }
    };
    let files: Vec<(String, String)> = paths(folder)
        .map_err(unreadable(folder))?
        .into_iter()
        .map(|(name, path)| {
            let text = match std::fs::metadata(&path) {
                Ok(file) if file.len() > LARGEST => Err(std::io::Error::other("it is longer than 1 MiB")),
                Ok(_) => std::fs::read_to_string(&path),
                Err(error) => Err(error),
            };
            Ok((name, text.map_err(unreadable(&path))?))
        })
        .collect::<Result<_, _>>()?;
    if files.iter().all(|(name, _)| name == SCHEMA_FILE) {
        return Err(PolicyFolderError::Empty(folder.to_owned()));
    }
    Ok(files.into_iter().collect())
}

fn paths(folder: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let of_policies = path.extension().is_some_and(|extension| extension == "cedar") || name == SCHEMA_FILE;
        if of_policies && !name.starts_with('.') && !path.is_dir() {
            all.push((name, path));
        }
    }
    all.sort();
    Ok(all)
}

/// Reads and checks a folder.
///
/// # Errors
/// [`PolicyFolderError`].
pub fn open(folder: &Path) -> Result<Policies, PolicyFolderError> {
    check(folder, &read(folder)?)
}

fn check(folder: &Path, files: &PolicyFiles) -> Result<Policies, PolicyFolderError> {
    Policies::check(files).map_err(|source| PolicyFolderError::Refused { path: folder.to_owned(), source })
}

/// The policies that the configuration names; without a folder, those that come with Tillward.
///
/// # Errors
/// [`PolicyFolderError`].
pub fn configured(authorization: &Authorization) -> Result<Policies, PolicyFolderError> {
    authorization.policies.as_deref().map_or_else(|| Ok(Policies::built_in()), open)
}

/// The folder while the service runs.
#[derive(Debug)]
pub struct PolicyFolder {
    authz: Arc<Authz>,
    folder: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: UnixTime,
    replaced: u64,
    trouble: Option<String>,
}

/// How it stands with the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStanding {
    /// Since when those in force are.
    pub since: UnixTime,
    /// How often they were replaced since the start.
    pub replaced: u64,
    /// Why what is in the folder is not in force.
    pub trouble: Option<String>,
}

/// What tells one state of the folder from another without reading the files.
pub type Stamp = Vec<(String, Option<(u64, u64, Option<SystemTime>)>)>;

impl PolicyFolder {
    /// `authz` decides by the policies of `folder`, which were read at `now`.
    pub fn new(authz: Arc<Authz>, folder: Option<PathBuf>, now: UnixTime) -> Self {
        Self { authz, folder, state: Mutex::new(State { since: now, replaced: 0, trouble: None }) }
    }

    /// How it stands.
    pub fn standing(&self) -> PolicyStanding {
        let state = self.state();
        PolicyStanding { since: state.since, replaced: state.replaced, trouble: state.trouble.clone() }
    }

    /// The folder; none where the policies are those that come with Tillward.
    pub fn path(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// What the folder looks like now.
    pub fn stamp(&self) -> Stamp {
        use std::os::unix::fs::MetadataExt as _;
        let stamp = |path: PathBuf| std::fs::metadata(path).ok().map(|file| (file.ino(), file.len(), file.modified().ok()));
        let paths = self.folder.as_deref().and_then(|folder| paths(folder).ok()).unwrap_or_default();
        paths.into_iter().map(|(name, path)| (name, stamp(path))).collect()
    }

    /// Reads the folder, checks it, asks `may_replace` with the digests of the old set and the new, and puts the new set in force. Answers
    /// whether what is in the folder is in force now. If not, the old set is, and the reason is logged once and shown.
    pub async fn reload<Asked, E>(&self, now: UnixTime, may_replace: impl FnOnce([u8; 32], [u8; 32]) -> Asked) -> bool
    where
        Asked: Future<Output = Result<(), E>>,
        E: std::error::Error + 'static,
    {
        let Some(folder) = &self.folder else { return true };
        let old = self.authz.digest();
        let read = match read(folder) {
            // A deed that was undone by hand.
            Ok(files) if files.digest() == old => return self.note(None),
            Ok(files) => check(folder, &files),
            Err(error) => Err(error),
        };
        let new = match read {
            Ok(new) => new,
            Err(error) => return self.note(Some(chain(&error))),
        };
        if let Err(error) = may_replace(old, new.digest()).await {
            return self.note(Some(chain(&error)));
        }
        let hex = |digest: &[u8; 32]| data_encoding::HEXLOWER.encode(digest);
        tracing::info!(old = hex(&old), new = hex(&new.digest()), policies = new.texts().len(), "other policies are in force");
        self.authz.replace(new);
        let mut state = self.state();
        state.since = now;
        state.replaced += 1;
        state.trouble = None;
        true
    }

    fn note(&self, trouble: Option<String>) -> bool {
        let mut state = self.state();
        if let Some(trouble) = trouble.as_ref().filter(|trouble| state.trouble.as_ref() != Some(trouble)) {
            tracing::error!(error = trouble, "the policies have changed and are not taken: the old ones stay in force");
        }
        state.trouble = trouble;
        state.trouble.is_none()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{Action, Caller, Circumstances, Resource};
    use std::convert::Infallible;

    const NOW: UnixTime = UnixTime(1_795_608_000);

    #[derive(Debug, thiserror::Error)]
    #[error("nobody approved it")]
    struct NotApproved;

    /// A folder with the policies that come with Tillward, in force.
    fn in_force() -> (tempfile::TempDir, PolicyFolder) {
        let dir = tempfile::TempDir::new().expect("a folder");
        for (name, text) in PolicyFiles::built_in().iter() {
            std::fs::write(dir.path().join(name), text).expect("writes");
        }
        let authz = Arc::new(Authz::by([], open(dir.path()).expect("good policies")).expect("no principals"));
        let folder = PolicyFolder::new(authz, Some(dir.path().to_owned()), UnixTime(0));
        (dir, folder)
    }

    fn rotates(folder: &PolicyFolder) -> bool {
        let key = Resource::key("k", None);
        folder.authz.authorize(&Caller::System("test"), Action::RotateKey, &key, Circumstances::at(NOW)).is_ok()
    }

    fn without_rotation(dir: &Path) {
        let path = dir.join("system.cedar");
        let text = std::fs::read_to_string(&path).expect("reads");
        let at = text.find("// Keys are rotated").expect("it is there");
        let end = text.find("// A destruction").expect("it is there");
        std::fs::write(&path, format!("{}{}", &text[..at], &text[end..])).expect("writes");
    }

    async fn gladly(folder: &PolicyFolder) -> bool {
        folder.reload(NOW, async |_, _| Ok::<(), Infallible>(())).await
    }

    #[tokio::test]
    async fn a_changed_folder_is_in_force_after_the_reload() {
        let (dir, folder) = in_force();
        let before = (folder.stamp(), folder.authz.digest());
        assert!(rotates(&folder));
        without_rotation(dir.path());
        assert_ne!(folder.stamp(), before.0);
        assert!(gladly(&folder).await);
        assert!(!rotates(&folder));
        assert_ne!(folder.authz.digest(), before.1);
        assert_eq!(folder.standing(), PolicyStanding { since: NOW, replaced: 1, trouble: None });
    }

    #[tokio::test]
    async fn a_syntax_error_leaves_the_old_policies_in_force() {
        let (dir, folder) = in_force();
        let before = folder.authz.digest();
        std::fs::write(dir.path().join("more.cedar"), "permit (principal, action, resource").expect("writes");
        assert!(!gladly(&folder).await);
        assert!(rotates(&folder));
        assert_eq!(folder.authz.digest(), before);
        let standing = folder.standing();
        assert_eq!((standing.since, standing.replaced), (UnixTime(0), 0));
        assert!(standing.trouble.expect("a reason").contains("more.cedar:1"), "{:?}", folder.standing());
        // Put right by hand: nothing is wrong any more.
        std::fs::remove_file(dir.path().join("more.cedar")).expect("removes");
        assert!(gladly(&folder).await);
        assert_eq!(folder.standing().trouble, None);
    }

    #[tokio::test]
    async fn a_folder_that_is_empty_or_gone_leaves_the_old_policies_in_force() {
        let (dir, folder) = in_force();
        for (name, _) in PolicyFiles::built_in().iter().filter(|(name, _)| *name != SCHEMA_FILE) {
            std::fs::remove_file(dir.path().join(name)).expect("removes");
        }
        assert!(!gladly(&folder).await);
        assert!(rotates(&folder));
        drop(dir);
        assert!(!gladly(&folder).await);
        assert!(rotates(&folder));
    }

    #[tokio::test]
    async fn policies_that_nobody_approved_are_not_put_in_force() {
        let (dir, folder) = in_force();
        let before = folder.authz.digest();
        without_rotation(dir.path());
        let new = read(dir.path()).expect("reads").digest();
        let asked = folder
            .reload(NOW, async |old, wanted| {
                assert_eq!((old, wanted), (before, new));
                Err(NotApproved)
            })
            .await;
        assert!(!asked && rotates(&folder));
        assert_eq!(folder.standing().trouble.as_deref(), Some("nobody approved it"));
        assert!(gladly(&folder).await);
        assert_eq!(folder.authz.digest(), new);
    }

    #[test]
    fn folders_and_hidden_files_beside_the_policies_are_not_read() {
        let (dir, folder) = in_force();
        std::fs::create_dir(dir.path().join("examples.cedar")).expect("a folder");
        std::fs::write(dir.path().join(".approvals.cedar.swp"), "not text").expect("writes");
        std::fs::write(dir.path().join(".hidden.cedar"), "not a policy").expect("writes");
        std::fs::write(dir.path().join("README.md"), "not a policy").expect("writes");
        assert_eq!(read(dir.path()).expect("reads").digest(), folder.authz.digest());
        assert_eq!(folder.authz.digest(), PolicyFiles::built_in().digest());
    }
}
