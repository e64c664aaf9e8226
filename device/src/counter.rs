//! The phone's transaction counter: stored before it is used, so that no crash makes it repeat.

use data_encoding::HEXUPPER;

use crate::ksn::TransactionCounter;
use crate::store::{Store, StoreError};

/// The file that holds the next counter.
const FILE: &str = "counter";

/// What the file says after the last counter was taken.
const EXHAUSTED: &str = "exhausted";

/// Why there is no counter for a transaction.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// The last counter was taken: the phone needs new initial keys.
    #[error("every transaction counter of the initial key is used: enrol again")]
    Exhausted,
    /// The next counter could not be stored, so none was handed out.
    #[error("the transaction counter could not be stored")]
    Store(#[from] StoreError),
}

/// The counter of one phone. Both trees (PIN and data) share it.
#[derive(Debug, Default)]
pub struct Counter {
    last: Option<TransactionCounter>,
}

impl Counter {
    /// A counter that has not counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a counter. With a store, its successor is on disk, synchronised, before this returns: a counter that was
    /// taken and not used is lost, never used again.
    ///
    /// # Errors
    /// [`CounterError`]; nothing was taken then.
    pub fn take(&mut self, store: Option<&Store>) -> Result<TransactionCounter, CounterError> {
        let taken = next_after(self.last).ok_or(CounterError::Exhausted)?;
        if let Some(store) = store {
            write(store, Some(taken))?;
        }
        self.last = Some(taken);
        Ok(taken)
    }

    /// The counter that was taken last.
    pub fn last(&self) -> Option<TransactionCounter> {
        self.last
    }

    /// Stores the counter in a new directory.
    pub(crate) fn save(&self, store: &Store) -> Result<(), StoreError> {
        write(store, self.last)
    }

    /// Reads the counter of a directory. A missing file is damage: counting from 1 again would repeat.
    pub(crate) fn load(store: &Store) -> Result<Self, StoreError> {
        let content = store.require(FILE)?;
        if content.as_slice() == EXHAUSTED.as_bytes() {
            return Ok(Self { last: Some(TransactionCounter::LAST) });
        }
        let bytes: Option<[u8; 4]> = HEXUPPER.decode(&content).ok().and_then(|bytes| bytes.try_into().ok());
        let next =
            bytes.and_then(|bytes| TransactionCounter::try_from(u32::from_be_bytes(bytes)).ok()).ok_or_else(|| store.damaged(FILE))?;
        Ok(Self { last: next.previous() })
    }

    #[cfg(test)]
    pub(crate) fn after(value: u32) -> Self {
        Self { last: Some(value.try_into().expect("a counter")) }
    }
}

fn next_after(last: Option<TransactionCounter>) -> Option<TransactionCounter> {
    last.map_or(Some(TransactionCounter::FIRST), TransactionCounter::next)
}

fn write(store: &Store, last: Option<TransactionCounter>) -> Result<(), StoreError> {
    let content = next_after(last).map_or_else(|| EXHAUSTED.to_owned(), |next| format!("{:08X}", next.get()));
    store.write(FILE, content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &tempfile::TempDir) -> Store {
        Store::open(directory.path()).expect("free")
    }

    #[test]
    fn what_was_taken_is_never_taken_again_after_a_crash() {
        let directory = tempfile::tempdir().expect("directory");
        let mut taken = Vec::new();
        Counter::new().save(&open(&directory)).expect("saved");
        for _ in 0..3 {
            // Each round is a process that dies without saying goodbye.
            let store = open(&directory);
            let mut counter = Counter::load(&store).expect("loaded");
            taken.push(counter.take(Some(&store)).expect("taken").get());
            taken.push(counter.take(Some(&store)).expect("taken").get());
        }
        assert_eq!(taken, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_counter_that_cannot_be_stored_is_not_handed_out() {
        let directory = tempfile::tempdir().expect("directory");
        let store = open(&directory);
        let mut counter = Counter::new();
        std::fs::remove_dir_all(directory.path()).expect("removed");
        assert!(matches!(counter.take(Some(&store)), Err(CounterError::Store(_))));
        assert_eq!(counter.last(), None);
    }

    #[test]
    fn exhaustion_is_an_error_and_survives_a_restart() {
        let directory = tempfile::tempdir().expect("directory");
        let store = open(&directory);
        let mut counter = Counter::after(0xFFFE_8000);
        assert_eq!(counter.take(Some(&store)).expect("the last").get(), 0xFFFF_0000);
        assert!(matches!(counter.take(Some(&store)), Err(CounterError::Exhausted)));
        let mut counter = Counter::load(&store).expect("loaded");
        assert!(matches!(counter.take(Some(&store)), Err(CounterError::Exhausted)));
    }

    #[test]
    fn a_missing_or_damaged_file_stops_the_phone() {
        let directory = tempfile::tempdir().expect("directory");
        let store = open(&directory);
        assert!(matches!(Counter::load(&store), Err(StoreError::Damaged(_))));
        for content in ["", "1", "00000000", "0001FFFF", "+0000001", "00000001\n", "ffff0001"] {
            store.write(FILE, content.as_bytes()).expect("written");
            assert!(matches!(Counter::load(&store), Err(StoreError::Damaged(_))), "{content:?}");
        }
    }
}
