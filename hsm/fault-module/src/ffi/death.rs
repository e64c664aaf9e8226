//! The end of the process, in four ways.

use rustix::process::{Signal, getpid, kill_process};

use crate::rule::Death;

unsafe extern "C" {
    /// POSIX: ends the process at once, without what `atexit` and the libraries registered.
    safe fn _exit(status: core::ffi::c_int) -> !;
}

/// Ends the process.
pub(crate) fn die(death: Death) -> ! {
    match death {
        Death::Abort => std::process::abort(),
        Death::Exit(status) => _exit(status.into()),
        Death::Segfault => signal(Signal::SEGV),
        Death::Kill => signal(Signal::KILL),
    }
}

/// Again and again: the runtime's own handler lets the first `SIGSEGV` pass and stands back for the second.
fn signal(signal: Signal) -> ! {
    loop {
        if kill_process(getpid(), signal).is_err() {
            std::process::abort();
        }
        std::thread::yield_now();
    }
}
