//! A file as an array of counters that processes share.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::ptr;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap};

/// Maps the file, made and lengthened with zeros where it has to be, for as long as the process lives.
pub(crate) fn shared_words(path: &Path, words: usize) -> io::Result<&'static [AtomicU64]> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let bytes = words.saturating_mul(size_of::<AtomicU64>());
    let (there, wanted) = (file.metadata()?.len(), u64::try_from(bytes).unwrap_or(u64::MAX));
    if there == 0 {
        file.set_len(wanted)?;
    } else if there != wanted {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a state file of the fault module"));
    }
    // SAFETY: the kernel chooses the place, so nothing that is mapped already is overlaid.
    let start = unsafe { mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0) }?;
    // SAFETY: the mapping has `bytes` bytes, begins at a page and is never unmapped; it is only ever seen as atomics, in every process. A
    // file that is cut short while it is mapped ends the process with SIGBUS: a test's own doing.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), words) })
}
