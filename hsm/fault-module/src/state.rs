//! What outlives a process: an array of counters in a file that every process maps. Nothing in it is locked, so a process that is stopped
//! or killed in the middle of a call holds up no other.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::CK_SLOT_ID;

use crate::ffi;
use crate::function::Function;

/// "TILLFLT1" in the first word.
const MAGIC: u64 = u64::from_be_bytes(*b"TILLFLT1");
/// Hits of all rules.
const HITS: usize = 1;
/// Three words a function: calls, calls that failed, calls that reached the real module.
const CALLS: usize = 8;
/// Two words a slot: its number plus one, wrong PINs in a row.
const PINS: usize = 256;
const SLOTS: usize = 16;
/// Two words a process: who it is, sessions it has open.
const PROCESSES: usize = 512;
const MOST_PROCESSES: usize = 256;
/// Two words a rule that is counted over all processes: its key, its calls.
const RULES: usize = 1024;
const MOST_RULES: usize = 3 * 1024;
/// Words of the file.
pub(crate) const WORDS: usize = RULES + 2 * MOST_RULES;

const _: () = assert!(
    CALLS + 3 * Function::ALL.len() <= PINS && PINS + 2 * SLOTS <= PROCESSES && PROCESSES + 2 * MOST_PROCESSES <= RULES,
    "the parts of the file overlap"
);

/// The counters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State(&'static [AtomicU64]);

/// What is counted of a function.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    Called = 0,
    Failed = 1,
    Reached = 2,
}

impl State {
    /// Counters of this process alone.
    pub(crate) fn private() -> Self {
        Self(Vec::leak((0..WORDS).map(|_| AtomicU64::new(0)).collect()))
    }

    /// Counters in a file, made if there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let words = ffi::map::shared_words(path, WORDS)?;
        let state = Self(words);
        match state.0[0].compare_exchange(0, MAGIC, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) | Err(MAGIC) => Ok(state),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "not a state file of the fault module")),
        }
    }

    /// Hits of all rules.
    pub(crate) fn hits(&self) -> &'static AtomicU64 {
        &self.0[HITS]
    }

    /// Takes back that a call reached the real module: a limit stood in its way.
    pub(crate) fn held_back(&self, function: Function) {
        self.0[CALLS + 3 * function.index() + Count::Reached as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, function: Function, what: Count) {
        self.0[CALLS + 3 * function.index() + what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counted(&self, function: Function, what: Count) -> u64 {
        self.0[CALLS + 3 * function.index() + what as usize].load(Ordering::Relaxed)
    }

    /// Wrong PINs in a row at the slot.
    pub(crate) fn wrong_pins(&self, slot: CK_SLOT_ID) -> &'static AtomicU64 {
        // With more slots than places the last place is shared: a lock too many rather than one too few.
        self.entry(PINS, SLOTS, slot.wrapping_add(1), |_| false).unwrap_or(&self.0[PINS + 2 * SLOTS - 1])
    }

    /// The calls of a rule over all processes; nothing if the file is full.
    pub(crate) fn rule_counter(&self, key: u64) -> Option<&'static AtomicU64> {
        let found = self.entry(RULES, MOST_RULES, key.max(1), |_| false);
        if found.is_none() {
            crate::complain("the state file has no room for another shared rule: it counts alone");
        }
        found
    }

    /// Sessions that a process has open.
    pub(crate) fn sessions_of(&self, process: u64) -> Option<&'static AtomicU64> {
        self.entry(PROCESSES, MOST_PROCESSES, process, |other| !is_alive(other))
    }

    /// Sessions that all living processes have open.
    pub(crate) fn sessions(&self) -> u64 {
        let pairs = self.pairs(PROCESSES, MOST_PROCESSES).iter();
        let open = pairs.filter_map(|[process, open]| match [process, open].map(|word| word.load(Ordering::SeqCst)) {
            [0, _] | [_, 0] => None,
            [process, open] => is_alive(process).then_some(open),
        });
        open.sum()
    }

    fn pairs(&self, start: usize, places: usize) -> &'static [[AtomicU64; 2]] {
        self.0[start..start + 2 * places].as_chunks().0
    }

    /// The value of a key in a table of pairs; a free place, or one whose owner may be replaced, is taken for a new key.
    fn entry(&self, start: usize, places: usize, key: u64, replace: impl Fn(u64) -> bool) -> Option<&'static AtomicU64> {
        let pairs = self.pairs(start, places);
        if let Some([_, value]) = pairs.iter().find(|[owner, _]| owner.load(Ordering::SeqCst) == key) {
            return Some(value);
        }
        for [owner, value] in pairs {
            let before = owner.load(Ordering::SeqCst);
            if before == key {
                return Some(value);
            }
            if before != 0 && !replace(before) {
                continue;
            }
            match owner.compare_exchange(before, key, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(0) => return Some(value),
                Ok(_) => {
                    value.store(0, Ordering::SeqCst);
                    return Some(value);
                }
                // Another thread or process took the place for the same key.
                Err(winner) if winner == key => return Some(value),
                Err(_) => {}
            }
        }
        None
    }
}

/// A process by its number and the tick it began at, so that a number given again is not taken for the old process.
pub(crate) fn this_process() -> u64 {
    identity(std::process::id()).unwrap_or_else(|| u64::from(std::process::id()))
}

const PID_BITS: u32 = 22;

fn is_alive(process: u64) -> bool {
    let pid = u32::try_from(process & ((1 << PID_BITS) - 1)).unwrap_or_default();
    identity(pid) == Some(process)
}

fn identity(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; field 3 follows the last bracket and the start is field 22 (proc(5)).
    let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect::<Vec<_>>();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let started: u64 = fields.get(19)?.parse().ok()?;
    Some(started << PID_BITS | u64::from(pid))
}

/// How often functions were called, over all processes with one state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts(Vec<u64>);

impl Counts {
    /// Reads a state file.
    ///
    /// # Errors
    /// The file cannot be read, or is none of this module's.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let words: Vec<_> = bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect();
        if words.len() != WORDS || words.first() != Some(&MAGIC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a state file of the fault module"));
        }
        Ok(Self(words))
    }

    /// How often a rule hit a call, all rules together: a test waits for it to know that its fault has come.
    pub fn hits(&self) -> u64 {
        self.0[HITS]
    }

    fn of(&self, function: &str, what: Count) -> Option<u64> {
        Some(self.0[CALLS + 3 * Function::named(function)?.index() + what as usize])
    }

    /// Calls of a function (`"C_Login"`); nothing if there is no such function.
    pub fn called(&self, function: &str) -> Option<u64> {
        self.of(function, Count::Called)
    }

    /// Calls that did not answer `CKR_OK`, whoever said no.
    pub fn failed(&self, function: &str) -> Option<u64> {
        self.of(function, Count::Failed)
    }

    /// Calls that the real module was asked.
    pub fn reached(&self, function: &str) -> Option<u64> {
        self.of(function, Count::Reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_place_however_many_ask_for_it_at_once() {
        let state = State::private();
        let places = std::thread::scope(|scope| {
            let threads = [0; 8].map(|_| scope.spawn(|| std::ptr::from_ref(state.rule_counter(7).expect("room")) as usize));
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert!(places.iter().all(|place| *place == places[0]));
        assert_ne!(std::ptr::from_ref(state.rule_counter(8).expect("room")) as usize, places[0]);
    }

    #[test]
    fn sessions_of_the_living_count_and_a_place_of_the_dead_is_given_again() {
        let state = State::private();
        let me = this_process();
        assert!(is_alive(me));
        // Process 1 lives, but did not begin then.
        let dead = 1;
        state.sessions_of(dead).expect("room").store(5, Ordering::SeqCst);
        assert_eq!(state.sessions(), 0);
        let mine = state.sessions_of(me).expect("room");
        assert_eq!(mine.load(Ordering::SeqCst), 0, "nothing is left of the dead");
        mine.store(3, Ordering::SeqCst);
        assert_eq!(state.sessions(), 3);
    }

    #[test]
    fn a_file_is_shared_and_another_file_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state");
        let [one, two] = [(); 2].map(|()| State::open(&path).expect("opens"));
        one.count(Function::Login, Count::Called);
        two.count(Function::Login, Count::Called);
        assert_eq!(one.counted(Function::Login, Count::Called), 2);
        let read = Counts::read(&path).expect("reads");
        assert_eq!((read.called("C_Login"), read.failed("C_Login"), read.called("C_Log")), (Some(2), Some(0), None));
        for other in [vec![1; WORDS * 8], vec![0; 10]] {
            std::fs::write(directory.path().join("other"), other).expect("writes");
            assert!(State::open(&directory.path().join("other")).is_err());
            assert!(Counts::read(&directory.path().join("other")).is_err());
        }
    }
}
