//! Who may search the token or change it: one thread of all the hosts of a service. Find beside create loses one key in five in one process
//! (softhsm/SoftHSMv2#573), and a process of SoftHSM 2.6.1 that finds an object which another is just writing takes it for broken until it is
//! initialised anew.

use std::fs::{File, TryLockError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The way to the token's objects.
#[derive(Default)]
pub(super) struct Objects {
    /// Between the threads of this process.
    here: Mutex<()>,
    /// Between processes: a file that the hosts share.
    everywhere: Option<Arc<File>>,
}

/// Held while objects are searched, made or destroyed.
pub(super) struct Turn<'o> {
    _here: MutexGuard<'o, ()>,
    everywhere: Option<&'o File>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.everywhere.map(File::unlock) {
            tracing::error!(%error, "the lock on the token's objects was not given back");
        }
    }
}

impl Objects {
    /// Behind that file's lock, where there is one.
    pub(super) fn new(everywhere: Option<Arc<File>>) -> Self {
        Self { here: Mutex::default(), everywhere }
    }

    /// Waits. Who has the turn is inside the module, and is ended if it hangs there.
    pub(super) fn turn(&self) -> Turn<'_> {
        let here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the lock cannot be had, this process keeps to itself.
        let everywhere = self.everywhere.as_deref().filter(|file| file.lock().is_ok());
        Turn { _here: here, everywhere }
    }

    /// Does not wait: `None` while another has the turn.
    pub(super) fn try_turn(&self) -> Option<Turn<'_>> {
        let here = match self.here.try_lock() {
            Ok(here) => here,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        let everywhere = match self.everywhere.as_deref().map(|file| (file, file.try_lock())) {
            Some((_, Err(TryLockError::WouldBlock))) => return None,
            Some((file, Ok(()))) => Some(file),
            Some((_, Err(TryLockError::Error(_)))) | None => None,
        };
        Some(Turn { _here: here, everywhere })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_turn_in_this_process_and_in_all_that_share_the_file() {
        let path = std::env::temp_dir().join(format!("tillward-objects-{}", std::process::id()));
        let open = || Some(Arc::new(File::options().create(true).truncate(false).write(true).open(&path).expect("opens")));
        let (one, other) = (Objects::new(open()), Objects::new(open()));
        let turn = one.turn();
        assert!(one.try_turn().is_none() && other.try_turn().is_none());
        drop(turn);
        drop(other.try_turn().expect("given back"));
        let turn = other.turn();
        assert!(one.try_turn().is_none());
        drop(turn);
        drop(one.turn());
        std::fs::remove_file(&path).expect("removed");
    }
}
